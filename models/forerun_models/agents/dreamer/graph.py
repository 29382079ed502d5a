"""Dreamer's policy as a module for act.onnx: what it remembers of an episode is handed from call to call."""

from __future__ import annotations

import copy

from torch import Tensor

from forerun_models.agents.base import PolicyGraph
from forerun_models.agents.dreamer.behaviour import Behaviour
from forerun_models.latent.rssm import State
from forerun_models.latent.world_model import WorldModel


class DreamerGraph(PolicyGraph):
    """The likeliest latent state given all that was seen, and the likeliest action in it. It carries h [1, D], z [1, Z] and the
    action [1, A] that was chosen last."""

    def __init__(self, model: WorldModel, behaviour: Behaviour) -> None:
        rssm = model.rssm
        super().__init__({"carry_h": (1, rssm.deter), "carry_z": (1, rssm.latent.size), "carry_action": (1, rssm.actions)})
        self.encoder = copy.deepcopy(model.encoder)
        self.rssm = copy.deepcopy(rssm)
        self.behaviour = copy.deepcopy(behaviour.policy)

    def forward(self, observation: Tensor, h: Tensor, z: Tensor, last: Tensor) -> tuple[Tensor, ...]:
        """observation [1, *shape], h [1, D], z [1, Z] and the last action [1, A] -> action [1, A], and the next three."""
        state = self.rssm.step(State(h, z), last, self.encoder(observation))
        action = self.behaviour.law.mode(self.behaviour(state.features))
        return action, state.h, state.z, action
