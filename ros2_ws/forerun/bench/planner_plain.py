"""The planner in torch as one would write it: the same decisions, rolled out by the ensemble as it was trained.

The module that is exported has the ensemble's standardisation, biases and linear path folded into few large products. Eager torch
gains from that too, so a comparison with torch needs both: the folded module, and this one.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from forerun_models.dynamics.ensemble import Ensemble

if TYPE_CHECKING:
    from forerun_models.planners.sampling import SamplingPlanner


class PlainRollout(nn.Module):
    """Rolls out the members themselves; particles stay with their member and draw no noise."""

    aleatoric = False
    propagation = "stay"

    def __init__(self, ensemble: Ensemble, members: int):
        super().__init__()
        self.ensemble = copy.deepcopy(ensemble)
        chosen = ensemble.elites[:members]
        for parameter in (*self.ensemble.weights, *self.ensemble.biases, self.ensemble.linear):
            parameter.data = parameter.data[chosen].clone()
        self.members, self.history, self.state_size = members, ensemble.features.history, ensemble.state_size

    def forward(self, states: Sequence[Tensor], past: Sequence[Tensor], actions: Tensor, noise: None = None) -> Tensor:
        """As the planner's rollout: states [S], past commands [A] and actions [H, A, N] to predictions [H, M, S, N]."""
        wide = (self.members, actions.shape[2], -1)
        window, given = [state.expand(wide) for state in states], [action.expand(wide) for action in past]
        future = [action.transpose(0, 1).expand(wide) for action in actions]
        return torch.stack(self.ensemble.rollout(window, given, future)).transpose(2, 3)

    def by_particle(self, predicted: Tensor) -> Tensor:
        """Particles and members are the same here."""
        return predicted


def plain_planner(planner: SamplingPlanner, ensemble: Ensemble) -> SamplingPlanner | None:
    """``planner`` with the plain rollout; None where its particles switch or draw noise."""
    rollout = planner.rollout
    if rollout.propagation != "stay" or rollout.aleatoric:
        return None
    plain = copy.deepcopy(planner)
    plain.rollout = PlainRollout(ensemble, rollout.members)  # type: ignore[assignment]
    return plain.eval()
