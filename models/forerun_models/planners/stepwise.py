"""Rollouts of any world model for planning: its own ``begin`` and ``advance``, with sequences along the last axis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from forerun_models.dynamics.model import Memory, WorldModel
from forerun_models.planners.particles import ParticleRollout, Propagation, turned


class Followed(NamedTuple):
    """Where particles are: newest states [1, M, S, N], and the memories of the members."""

    newest: Tensor
    memory: Memory


class StepwiseRollout(ParticleRollout):
    """The first ``members`` elites of ``model``, which has a memory of its own (``memory_sizes``).

    Args:
        model: trained.
        members: how many of its elites, all if None.
        propagation: where particles go. What only its own member can read stays with that member.
        aleatoric: whether the members' own noise may be drawn.
    """

    def __init__(self, model: WorldModel, members: int | None = None, propagation: Propagation = "stay", aleatoric: bool = False):
        chosen = model.elites[: members or len(model.elites)]
        super().__init__(len(chosen), model.features.history, model.state_size, propagation, aleatoric)
        self.model = model.chosen(chosen).requires_grad_(False)

    def begin(self, states: Sequence[Tensor], past: Sequence[Tensor], count: int) -> Followed:
        """See ``ParticleRollout``: the history is read once for all particles."""
        rows, commands = ([row.expand(self.members, 1, -1) for row in rows] for rows in (states, past))
        memory, changing = self.model.begin(rows, commands), len(self.model.memory_sizes)
        wide = [part.expand(-1, count, -1) for part in memory[:changing]]
        return Followed(states[-1][:, None].expand(1, self.members, -1, count), (*wide, *memory[changing:]))

    def step(self, particles: Followed, action: Tensor, kick: Tensor | None = None) -> tuple[Tensor, Followed]:
        """See ``ParticleRollout``."""
        noise = None if kick is None else kick[0].transpose(1, 2)
        following, _, memory = self.model.advance(particles.memory, action[0].transpose(1, 2), noise)
        newest = following.transpose(1, 2)[None]
        shared, own = memory[: self.model.shared], memory[self.model.shared :]
        if self.propagation == "mean":
            shared = tuple(part.mean(dim=0, keepdim=True).expand(part.shape) for part in shared)
        elif self.propagation == "switch":
            shared = tuple(turned(part, dim=0) for part in shared)
        return newest, Followed(newest, (*shared, *own))
