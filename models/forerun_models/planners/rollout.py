"""Rollouts of an ensemble for planning: the same predictions in fewer, larger operators.

Standardisation, differences of older rows and the linear path are folded into the weights. Sine and cosine are taken of the
whole state, with weight zero where the model does not look at them, because that needs no gather.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forerun_models.dynamics.ensemble import Ensemble


class Rollout(nn.Module):
    """The first ``members`` elites of ``ensemble``, for particles [M, N, ...]."""

    def __init__(self, ensemble: Ensemble, members: int | None = None):
        super().__init__()
        chosen = ensemble.elites[: members or len(ensemble.elites)]
        self.members, self.history = len(chosen), ensemble.features.history
        first, bias, linear = _fold(ensemble, chosen)
        std, mean = ensemble.features.target_std, ensemble.features.target_mean
        size = ensemble.state_size
        self.first: Tensor = nn.Buffer(first)
        self.first_bias: Tensor = nn.Buffer(bias)
        self.deeper = len(ensemble.weights) - 2
        for number in range(self.deeper):
            self.register_buffer(f"weight_{number}", ensemble.weights[number + 1].detach()[chosen])
            self.register_buffer(f"bias_{number}", ensemble.biases[number + 1].detach()[chosen])
        self.last: Tensor = nn.Buffer(ensemble.weights[-1].detach()[chosen][..., :size] * std)
        linear_weight, linear_bias = linear
        self.linear: Tensor = nn.Buffer(linear_weight * std)
        self.last_bias: Tensor = nn.Buffer((ensemble.biases[-1].detach()[chosen][..., :size] + linear_bias) * std + mean)

    def forward(self, states: Sequence[Tensor], past: Sequence[Tensor], actions: Tensor) -> Tensor:
        """Mean states of every member, open loop.

        Args:
            states: K tensors [S], oldest first.
            past: K-1 tensors [A], the commands between them.
            actions: [N, H, A] to come, physical units.

        Returns:
            [H, M, N, S].
        """
        shape = (self.members, actions.shape[0])
        window = [state.expand(*shape, -1) for state in states]
        given = [action.expand(*shape, -1) for action in past]
        predicted = []
        for action in actions.unbind(1):
            given = [*given, action.expand(self.members, -1, -1)]
            newest = window[-1]
            inputs = torch.cat([torch.sin(newest), torch.cos(newest), *window, *given], dim=-1)
            hidden = nn.functional.silu(inputs @ self.first + self.first_bias)
            for number in range(self.deeper):
                weight, bias = getattr(self, f"weight_{number}"), getattr(self, f"bias_{number}")
                hidden = nn.functional.silu(hidden @ weight + bias)
            newest = newest + (hidden @ self.last + (inputs @ self.linear + self.last_bias))
            window, given = [*window[1:], newest], given[1:]
            predicted.append(newest)
        return torch.stack(predicted)


@torch.no_grad()
def _fold(ensemble: Ensemble, chosen: Tensor) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor]]:
    """First-layer and linear weights on [sin(s), cos(s), K rows of states, K actions] instead of on standardised features."""
    features = ensemble.features
    size, history = ensemble.state_size, features.history
    columns = (2 + history) * size + history * features.actions
    fold = torch.zeros(columns, features.size)
    newest = (1 + history) * size
    at = 0
    for block in (0, size):
        for joint in features.turning:
            fold[block + joint, at] = 1.0
            at += 1
    for index in [*features.sliding, *range(features.joints, size)]:
        fold[newest + index, at] = 1.0
        at += 1
    for row in range(history - 1):
        for index in range(size):
            fold[(2 + row) * size + index, at] = 1.0
            fold[newest + index, at] = -1.0
            at += 1
    for index in range(history * features.actions):
        fold[(2 + history) * size + index, at] = 1.0
        at += 1
    fold = fold / features.input_std
    shift = -features.input_mean / features.input_std
    weight, linear = ensemble.weights[0].detach()[chosen], ensemble.linear.detach()[chosen]
    bias = ensemble.biases[0].detach()[chosen] + (shift @ weight)[:, None, :]
    return fold @ weight, bias, (fold @ linear, (shift @ linear)[:, None, :])
