"""The agent ``mbpo``: model-based policy optimisation (Janner et al. 2019, "When to trust your model").

Once there is some experience, and after every so many updates from then on,

    fit the ensemble to all real transitions
    from states of the buffer follow the policy for a few steps in the model
    at each step of the environment: several updates of soft actor-critic on batches of mostly imagined transitions

Short rollouts from real states keep the model's errors small; a share of real transitions and the members' disagreement keep the
policy from living on them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from forerun_models.agents import advice
from forerun_models.agents.base import EnvSpec
from forerun_models.agents.environment_model import EnvironmentModel
from forerun_models.agents.known_rewards import reward_for
from forerun_models.agents.mbpo.imagination import Imagination, drift, policy_of
from forerun_models.agents.mbpo.settings import MbpoSettings
from forerun_models.agents.model_fit import fit
from forerun_models.agents.sac.agent import SacAgent

_MANY_CUT = 0.5


class MbpoAgent(SacAgent):
    """Soft actor-critic whose batches are mostly imagined."""

    Settings = MbpoSettings
    settings: MbpoSettings

    def __init__(self, env: EnvSpec, settings: MbpoSettings, seed: int, device: str = "cpu") -> None:
        super().__init__(env, settings, seed, device)
        observations = int(np.prod(env.observation_shape))
        reward = reward_for(env.id, settings.reward)
        self.model = EnvironmentModel(observations, env.action_size, settings.model, seed, reward)
        self.imagination = Imagination(settings, settings.discount)
        self.draws = torch.Generator().manual_seed(seed)
        self.steps = 0
        self._calls = self._fitted_at = 0
        self._error = self._drift = 0.0

    def observe(self, step: Any) -> None:
        super().observe(step)
        self.steps += 1

    def update(self) -> dict[str, float]:
        if self.warming_up():
            return {}
        metrics: dict[str, float] = {}
        if self._calls % self.settings.fit_every == 0:
            metrics |= self._learn_model()
        self._calls += 1
        return metrics | super().update()

    def batch(self) -> dict[str, Tensor]:
        ratio = self.settings.real_ratio.at(self.steps)
        return self.imagination.batch(self.buffer, self.settings.batch, ratio, self.generator, self.device)

    def _learn_model(self) -> dict[str, float]:
        """Imagines anew, after a fit if there is new experience: there is none while learning from old trials alone."""
        metrics: dict[str, float] = {}
        if self.steps > self._fitted_at:
            if self.model.fitted:
                self._drift = drift(self.model, self.buffer, self.steps - self._fitted_at)
            metrics = fit(self.model, self.buffer.all(), self.draws)
            self._error, self._fitted_at = metrics["model_error"], self.steps
        length = round(self.settings.length.at(self.steps))
        policy = policy_of(self.learner, self.draws)
        self.imagination.imagine(self.model, policy, self.buffer, length, self.generator, self.draws)
        return metrics | {"rollout/length": float(length), "rollout/cut": self.imagination.cut}

    def state_dict(self) -> dict[str, Any]:
        return super().state_dict() | {
            "model": self.model.state_dict(),
            "imagination": self.imagination.state_dict(),
            "draws": self.draws.get_state(),
            "steps": self.steps,
            "calls": self._calls,
            "fitted_at": self._fitted_at,
            "error": self._error,
            "drift": self._drift,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.model.load_state_dict(state["model"])
        self.imagination.load_state_dict(state["imagination"])
        self.draws.set_state(state["draws"])
        self.steps, self._error, self._drift = state["steps"], state["error"], state["drift"]
        self._calls, self._fitted_at = state["calls"], state["fitted_at"]

    def advice(self) -> list[str]:
        settings, cut = self.settings, self.imagination.cut
        return advice.told(
            *super().advice(),
            advice.one_model(settings.model.members, "model.members"),
            advice.rollouts_too_long(settings.length.at(self.steps), self._error, "length.end"),
            advice.stale_model(self._drift, 1.0, "fit_every"),
            advice.imagined_dominates(settings.real_ratio.at(self.steps), self._error, "real_ratio.begin, or more model.updates"),
            f"{cut:.0%} of the imagined steps were cut for disagreement: rollouts are too long for this model; lower length.end, "
            "or let it rise later"
            if cut > _MANY_CUT
            else None,
        )
