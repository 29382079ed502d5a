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
        features, size = ensemble.features, ensemble.state_size
        self.members, self.history = len(chosen), features.history
        self.state_size = size
        columns = _Columns(ensemble)
        std, mean = features.target_std, features.target_mean
        fold, constant = columns.fold()
        weight, linear = ensemble.weights[0].detach()[chosen], ensemble.linear.detach()[chosen]
        first = fold @ weight
        first[:, columns.one] += constant @ weight + ensemble.biases[0].detach()[chosen][:, 0]
        last_bias = ensemble.biases[-1].detach()[chosen][:, 0, :size]
        straight = (fold @ linear) * std
        straight[:, columns.one] += (constant @ linear + last_bias) * std + mean
        straight[:, columns.newest : columns.newest + size] += torch.eye(size)
        left, right = columns.factors()
        self.mixture: Tensor = nn.Buffer(columns.mixture)
        self.left: Tensor = nn.Buffer(left)
        self.right: Tensor = nn.Buffer(right)
        self.first: Tensor = nn.Buffer(first)
        self.deeper = len(ensemble.weights) - 2
        for number in range(self.deeper):
            self.register_buffer(f"weight_{number}", ensemble.weights[number + 1].detach()[chosen])
            self.register_buffer(f"bias_{number}", ensemble.biases[number + 1].detach()[chosen])
        self.last: Tensor = nn.Buffer(ensemble.weights[-1].detach()[chosen][..., :size] * std)
        self.straight: Tensor = nn.Buffer(straight)
        self.fastest: Tensor = nn.Buffer(features.fastest.clone())

    def forward(self, states: Sequence[Tensor], past: Sequence[Tensor], actions: Tensor) -> Tensor:
        """Mean states of every member, open loop.

        Args:
            states: K tensors [S], oldest first.
            past: K-1 tensors [A], the commands between them.
            actions: [N, H, A] to come, physical units.

        Returns:
            [H, M, N, S].
        """
        count, horizon = actions.shape[0], actions.shape[1]
        # All tensors keep a leading dimension of time, so that cutting and joining them costs one operator each.
        shape = (1, self.members, count, -1)
        window = [state.expand(*shape) for state in states]
        given = [action.expand(*shape) for action in past]
        future = actions.transpose(0, 1)[:, None].expand(horizon, self.members, count, -1)
        predicted = []
        for action in torch.split(future, 1):
            given = [*given, action]
            mixed = window[-1] @ self.mixture
            simple = torch.cat([torch.sin(mixed), torch.cos(mixed), mixed * mixed, action], dim=-1)
            inputs = torch.cat([simple, *window, *given[:-1], (simple @ self.left) * (simple @ self.right)], dim=-1)
            hidden = nn.functional.silu(inputs @ self.first)
            for number in range(self.deeper):
                weight, bias = getattr(self, f"weight_{number}"), getattr(self, f"bias_{number}")
                hidden = nn.functional.silu(hidden @ weight + bias)
            newest = torch.clamp(hidden @ self.last + inputs @ self.straight, min=-self.fastest, max=self.fastest)
            window, given = [*window[1:], newest], given[1:]
            predicted.append(newest)
        return torch.cat(predicted)


class _Columns:
    """What the columns [sin z, cos z, z^2, action, K rows of states, K-1 past actions, products] mean to the ensemble.

    z are the mixtures of the newest state, the last of them always 0, so that its cosine is the constant 1.
    """

    def __init__(self, ensemble: Ensemble):
        features = self._features = ensemble.features
        size, history, actions = ensemble.state_size, features.history, features.actions
        self._size = size
        self._angles, self._speeds = features.angle_map.shape[1], features.speed_map.shape[1]
        self._mixtures = self._angles + self._speeds + 1
        self.mixture = torch.cat([features.angle_map, features.speed_map, torch.zeros(size, 1)], dim=1)
        self.one = 2 * self._mixtures - 1
        self._action = 3 * self._mixtures
        self._oldest = self._action + actions
        self.newest = self._oldest + (history - 1) * size
        self._past = self.newest + size
        self._products = self._past + (history - 1) * actions

    @torch.no_grad()
    def fold(self) -> tuple[Tensor, Tensor]:
        """Matrix [columns, size] and constant [size] that make the ensemble's standardised inputs of the columns."""
        features, mixtures, angles = self._features, self._mixtures, self._angles
        rows = [*range(angles), *range(mixtures, mixtures + angles)]
        rows += range(2 * mixtures + angles, 2 * mixtures + angles + self._speeds)
        rows += [self.newest + index for index in (*features.sliding, *range(features.joints, self._size))]
        first_old = len(rows)
        rows += range(self._oldest, self.newest)
        rows += [*range(self._past, self._products), *range(self._action, self._oldest)]
        rows += range(self._products, self._products + features.products)
        fold = torch.zeros(self._products + features.products, features.size)
        fold[rows, torch.arange(features.size)] = 1.0
        # Older rows enter as differences to the newest one.
        for column in range(self.newest - self._oldest):
            fold[self.newest + column % self._size, first_old + column] = -1.0
        return fold / features.input_std, -features.input_mean / features.input_std

    def factors(self) -> tuple[Tensor, Tensor]:
        """Matrices [columns, products] that pick each product's wave and drive from [sin z, cos z, z^2, action]."""
        mixtures, angles = self._mixtures, self._angles
        waves = [*range(angles), *range(mixtures, mixtures + angles)]
        drives = [*range(2 * mixtures + angles, 2 * mixtures + angles + self._speeds), *range(self._action, self._oldest)]
        left, right = (torch.zeros(self._oldest, self._features.products) for _ in range(2))
        for number, (wave, drive) in enumerate((wave, drive) for wave in waves for drive in drives):
            left[wave, number] = right[drive, number] = 1.0
        return left, right
