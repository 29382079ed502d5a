"""What a planner asks of a model: where particles go under sequences of actions."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from forerun_models.planners.scan import scan

Propagation = Literal["stay", "switch", "mean"]
"""Where a particle's next state comes from: always the same member (TS-infinity), another one at each step (TS1; both Chua et al.
2018), or the mean of all members."""


class ParticleRollout(nn.Module, ABC):
    """``members`` members of a model that reads ``history`` rows of states of ``state_size`` numbers.

    Args:
        propagation: where particles go.
        aleatoric: whether the members' own noise may be drawn.
    """

    def __init__(self, members: int, history: int, state_size: int, propagation: Propagation, aleatoric: bool):
        super().__init__()
        self.members, self.history, self.state_size = members, history, state_size
        self.propagation, self.aleatoric = propagation, aleatoric

    @abstractmethod
    def begin(self, states: Sequence[Tensor], past: Sequence[Tensor], count: int) -> Any:
        """``count`` particles a member that share one past: K ``states`` [S] and the K-1 commands [A] between them. What it
        returns has the newest states [1, M, S, N] as ``newest``."""

    @abstractmethod
    def step(self, particles: Any, action: Tensor, kick: Tensor | None = None) -> tuple[Tensor, Any]:
        """What each member predicts [1, M, S, N] when ``action`` [1, M, A, N] is given, and where the particles go from there."""

    def _blocks(self, count: int) -> int:
        """Into how many equal blocks of particles a rollout of ``count`` of them falls."""
        return 1

    def forward(self, states: Sequence[Tensor], past: Sequence[Tensor], actions: Tensor, noise: Tensor | None = None) -> Tensor:
        """What every member predicts, open loop.

        Args:
            states: K tensors [S], oldest first.
            past: K-1 tensors [A], the commands between them.
            actions: [H, A, N] to come, physical units.
            noise: [H, M, S, N] standard normal, where aleatoric; without it the means go on.

        Returns:
            [H, M, S, N].
        """
        blocks = self._blocks(actions.shape[2])
        kicks: Sequence[Tensor | None] = noise.chunk(blocks, dim=3) if noise is not None else [None] * blocks
        parts = [self._follow(states, past, *part) for part in zip(actions.chunk(blocks, dim=2), kicks, strict=True)]
        return torch.cat(parts, dim=3) if blocks > 1 else parts[0]

    def _follow(self, states: Sequence[Tensor], past: Sequence[Tensor], actions: Tensor, noise: Tensor | None) -> Tensor:
        horizon, size, count = actions.shape
        wide = actions[:, None].expand(horizon, self.members, size, count)
        return scan(self, self.begin(states, past, count), [wide] if noise is None else [wide, noise])

    def by_particle(self, rows: Tensor) -> Tensor:
        """[H, M, ...] as ``forward`` gives it, by member, as [H, M, ...] by particle: the same but for TS1."""
        if self.propagation != "switch":
            return rows
        turned = []
        for number, row in enumerate(torch.split(rows, 1)):
            back = number % self.members
            turned += [row[:, self.members - back :], row[:, : self.members - back]] if back else [row]
        return torch.cat(turned, dim=1).reshape(rows.shape)


def turned(rows: Tensor, dim: int = 1) -> Tensor:
    """``rows`` of each member, given to the one before it."""
    first = rows.narrow(dim, 0, 1)
    return torch.cat([rows.narrow(dim, 1, rows.shape[dim] - 1), first], dim=dim)
