"""What can still be earned after a plan's end, and what a policy would try: soft actor-critic in imagination beside a planner.

A planner that looks H steps ahead maximises

    sum over t < H of gamma^t r_t  +  gamma^H V(s_H)

(POLO, Lowrey et al. 2019; LOOP, Sikchi et al. 2021; TD-MPC, Hansen et al. 2022). V is the lesser critic's value of what the
policy would do; critics and policy are those of ``mbpo``, learned from what was seen and from short rollouts in the planner's own
model. The policy's sequences are among those that the planner tries first.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from forerun_models.agents.buffer import Buffer
from forerun_models.agents.environment_model import EnvironmentModel
from forerun_models.agents.mbpo.imagination import Imagination, policy_of
from forerun_models.agents.mbpo.settings import ImaginationSettings, Ramp
from forerun_models.agents.sac.learner import SacLearner
from forerun_models.agents.sac.settings import SacLearning
from forerun_models.planners.networks import Networks, reordered
from forerun_models.recipe import Count, Positive

_MEASURE_EVERY = 500
"""Updates between those whose losses are looked at."""


class ValueSettings(SacLearning, ImaginationSettings):
    """Of soft actor-critic and of what it imagines. ``updates_per_step`` updates belong to each step of the environment; those of
    the steps before the model's first fit are made up for after it."""

    hidden: tuple[Count, ...] = Field(default=(128, 128), min_length=1)
    learning_rate: Positive = 1e-3
    target_rate: Positive = 0.01
    initial_temperature: Positive = 0.1
    updates_per_step: Count = 4
    length: Ramp = Ramp(start=5, end=5, begin=0, finish=0)
    real_ratio: Ramp = Ramp(start=0.2, end=0.2, begin=0, finish=0)


class TerminalValue:
    """Value and policy of an agent that plans; both are those of its newest update.

    Args:
        observations: O; what a model and a buffer have behind them is not seen.
        actions: A.
        settings: how they learn.
        seed: of weights, batches and noise.
    """

    def __init__(self, observations: int, actions: int, settings: ValueSettings, seed: int) -> None:
        self.settings, self.observations = settings, observations
        self.learner = SacLearner(observations, actions, settings, seed)
        self.imagination = Imagination(settings, settings.discount)
        self._numbers = np.random.default_rng(seed)
        self._draws = torch.Generator().manual_seed(seed)
        self._updates = 0

    def value(self, observation: Tensor, goal: Tensor | None = None) -> Tensor:
        """What can still be earned [...] from ``observation`` [..., O]; a goal is part of it."""
        rows = self._seen(observation)
        return self.learner.value(rows, self.learner.act(rows, None)).reshape(observation.shape[:-1])

    def policy(self, observation: Tensor, goal: Tensor | None = None) -> Tensor:
        """Actions [..., A] in [-1, 1] at ``observation`` [..., O]."""
        return self.learner.act(self._seen(observation), None).reshape(*observation.shape[:-1], -1)

    def _seen(self, observation: Tensor) -> Tensor:
        """[N, O]."""
        return observation.reshape(-1, observation.shape[-1])[:, : self.observations]

    def networks(self, order: Sequence[int] = (), turning: Sequence[int] = ()) -> Networks:
        """Both as they are now, as modules for a robot's planner.

        Args:
            order: [O] which number of an observation is each number that the planner shows; the same ones in the same places if
                absent.
            turning: as ``Networks`` takes it.
        """
        learner = self.learner
        policy, *critics = learner.policy.module(0), *(learner.critics.module(one) for one in range(learner.critics.members))
        for network in (policy, *critics) if order else ():
            reordered(network, order)  # critics see the action behind them
        return Networks(policy, critics, turning).eval()

    def imagine(self, model: EnvironmentModel, buffer: Buffer, steps: int) -> dict[str, float]:
        """Begins rollouts in the newest ``model``, ``steps`` after the first one."""
        length = round(self.settings.length.at(steps))
        rewards, lasting = buffer.all()["reward"], 1.0 / (1.0 - self.settings.discount)
        # Where no data say otherwise, critics that learn from each other drift to what no rewards could ever sum up to.
        self.learner.possible = (min(float(rewards.min()), 0.0) * lasting, max(float(rewards.max()), 0.0) * lasting)
        policy = policy_of(self.learner, self._draws)
        numbers, draws = self._numbers, self._draws
        self.imagination.imagine(model, lambda rows: policy(self._seen(rows)), buffer, length, numbers, draws)
        return {"rollout/length": float(length), "rollout/cut": self.imagination.cut}

    def update(self, model: EnvironmentModel, buffer: Buffer, steps: int) -> dict[str, float]:
        """Makes the updates that are due after so many ``steps``; metrics, often none. Learned from is what was imagined last in
        ``model``."""
        settings, metrics = self.settings, dict[str, float]()
        while self._updates < steps * settings.updates_per_step:
            batch = self.imagination.batch(buffer, settings.batch, settings.real_ratio.at(steps), self._numbers, "cpu")
            seen = {name: self._seen(batch[name]) for name in ("observation", "following")}
            metrics |= self.learner.update(batch | seen, measure=self._updates % _MEASURE_EVERY == 0)
            self._updates += 1
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """All that decides what it learns from here on."""
        return {
            "learner": self.learner.state_dict(),
            "imagination": self.imagination.state_dict(),
            "numbers": self._numbers.bit_generator.state,
            "draws": self._draws.get_state(),
            "updates": self._updates,
            "possible": self.learner.possible,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The counterpart of ``state_dict``."""
        self.learner.load_state_dict(state["learner"])
        self.imagination.load_state_dict(state["imagination"])
        self._numbers.bit_generator.state = state["numbers"]
        self._draws.set_state(state["draws"])
        self._updates = state["updates"]
        self.learner.possible = tuple(state["possible"])
