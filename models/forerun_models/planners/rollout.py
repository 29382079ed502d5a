"""Rollouts of an ensemble for planning: the same predictions in fewer, larger operators.

Standardisation, differences of older rows and the linear path are folded into the weights. Sine, cosine and square are taken of
all mixtures of the state, with weight zero where the model does not look at them, because that needs no gather.
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
        features = ensemble.features
        self.mixture: Tensor = nn.Buffer(torch.cat([features.angle_map, features.speed_map], dim=1))
        left, right = _factors(ensemble)
        self.left: Tensor = nn.Buffer(left)
        self.right: Tensor = nn.Buffer(right)
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
            mixed = newest @ self.mixture
            simple = [torch.sin(mixed), torch.cos(mixed), mixed * mixed]
            factors = torch.cat([*simple, given[-1]], dim=-1)
            inputs = torch.cat([*simple, *window, *given, (factors @ self.left) * (factors @ self.right)], dim=-1)
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
    """First-layer and linear weights on the columns [sin z, cos z, z^2, K states, K actions, products], z the mixtures."""
    features = ensemble.features
    size, history = ensemble.state_size, features.history
    angles, speeds = features.angle_map.shape[1], features.speed_map.shape[1]
    mixtures = angles + speeds
    oldest = 3 * mixtures
    newest = oldest + (history - 1) * size
    rows = [*range(angles), *range(mixtures, mixtures + angles), *range(2 * mixtures + angles, 3 * mixtures)]
    rows += [newest + index for index in (*features.sliding, *range(features.joints, size))]
    rows += list(range(oldest, newest))
    rows += list(range(newest + size, newest + size + history * features.actions + features.products))
    fold = torch.zeros(newest + size + history * features.actions + features.products, features.size)
    fold[rows, torch.arange(features.size)] = 1.0
    # Older rows enter as differences to the newest one.
    first = 2 * angles + speeds + len(features.sliding) + features.joints
    for column in range((history - 1) * size):
        fold[newest + column % size, first + column] = -1.0
    fold = fold / features.input_std
    shift = -features.input_mean / features.input_std
    weight, linear = ensemble.weights[0].detach()[chosen], ensemble.linear.detach()[chosen]
    bias = ensemble.biases[0].detach()[chosen] + (shift @ weight)[:, None, :]
    return fold @ weight, bias, (fold @ linear, (shift @ linear)[:, None, :])


def _factors(ensemble: Ensemble) -> tuple[Tensor, Tensor]:
    """Matrices [columns, products] that pick each product's wave and drive from [sin z, cos z, z^2, action]."""
    features = ensemble.features
    angles, speeds = features.angle_map.shape[1], features.speed_map.shape[1]
    mixtures = angles + speeds
    waves = [*range(angles), *range(mixtures, mixtures + angles)]
    drives = [*range(2 * mixtures + angles, 3 * mixtures), *range(3 * mixtures, 3 * mixtures + features.actions)]
    left, right = (torch.zeros(3 * mixtures + features.actions, features.products) for _ in range(2))
    for number, (wave, drive) in enumerate((wave, drive) for wave in waves for drive in drives):
        left[wave, number] = right[drive, number] = 1.0
    return left, right
