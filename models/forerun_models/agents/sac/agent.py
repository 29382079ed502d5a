"""The agent ``sac``: soft actor-critic on a replay buffer, without a model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forerun_models.agents.base import Action, Actor, Agent, EnvSpec, Observation, PolicyGraph, Step
from forerun_models.agents.buffer import Arrays, Buffer
from forerun_models.agents.sac.learner import SacLearner
from forerun_models.agents.sac.settings import SacSettings

_MEASURE_EVERY = 100
"""Updates between those whose losses are looked at: a look costs a tenth of an update."""


class SacAgent(Agent):
    """Learns from transitions drawn uniformly from all that it has seen."""

    Settings = SacSettings
    settings: SacSettings

    def __init__(self, env: EnvSpec, settings: SacSettings, seed: int, device: str = "cpu") -> None:
        super().__init__(env, settings, seed, device)
        self.learner = SacLearner(int(np.prod(env.observation_shape)), env.action_size, settings, seed, device)
        self.buffer = Buffer(settings.capacity, env.observation_shape, np.float32, env.action_size)
        self.generator = np.random.default_rng(seed)
        self.updates = 0

    def actor(self, explore: bool) -> Actor:
        return PolicyActor(self.learner, self.warming_up if explore else None)

    def warming_up(self) -> bool:
        """Whether actions are still drawn blindly."""
        return len(self.buffer) < self.settings.warm_up

    def observe(self, step: Step) -> None:
        self.buffer.add(step)

    def update(self) -> dict[str, float]:
        if self.warming_up():
            return {}
        metrics: dict[str, float] = {}
        for _ in range(self.settings.updates_per_step):
            metrics |= self.learner.update(self.batch(), measure=self.updates % _MEASURE_EVERY == 0)
            self.updates += 1
        return metrics

    def batch(self) -> dict[str, Tensor]:
        """What the next update learns from."""
        return as_tensors(self.buffer.sample(self.settings.batch, self.generator), self.device)

    def policy_graph(self) -> PolicyGraph:
        return MeanPolicy(self.learner)

    def state_dict(self) -> dict[str, Any]:
        return {
            "learner": self.learner.state_dict(),
            "buffer": self.buffer.state_dict(),
            "generator": self.generator.bit_generator.state,
            "updates": self.updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.learner.load_state_dict(state["learner"])
        self.buffer.load_state_dict(state["buffer"])
        self.generator.bit_generator.state = state["generator"]
        self.updates = state["updates"]


class PolicyActor(Actor):
    """Acts by a learner's policy.

    Args:
        learner: whose newest weights are used.
        blindly: tells whether to draw actions uniformly; None for an actor that does not explore at all.
    """

    def __init__(self, learner: SacLearner, blindly: Callable[[], bool] | None) -> None:
        self._learner, self._blindly = learner, blindly
        self._generator = np.random.default_rng(0)

    def reset(self, seed: int) -> None:
        self._generator = np.random.default_rng(seed)

    def act(self, observation: Observation) -> Action:
        size, device = self._learner.action_size, self._learner.device
        if self._blindly is not None and self._blindly():
            return self._generator.uniform(-1.0, 1.0, size).astype(np.float32)
        noise = None
        if self._blindly is not None:
            noise = torch.from_numpy(self._generator.standard_normal((1, size), dtype=np.float32)).to(device)
        row = torch.from_numpy(np.asarray(observation, dtype=np.float32).reshape(1, -1)).to(device)
        action: Action = self._learner.act(row, noise)[0].cpu().numpy()
        return action


class MeanPolicy(PolicyGraph):
    """What a learner's policy does without exploring, with the weights that it has now."""

    def __init__(self, learner: SacLearner) -> None:
        super().__init__()
        self.layers = learner.policy.module(0)
        self.action_size = learner.action_size

    def forward(self, observation: Tensor) -> tuple[Tensor]:
        """Observation [1, O] -> action [1, A]."""
        return (torch.tanh(self.layers(observation)[:, : self.action_size]),)


def as_tensors(batch: Arrays, device: str | torch.device) -> dict[str, Tensor]:
    """A buffer's batch as the learner takes it: observations as rows, everything float32."""
    rows = {name: torch.from_numpy(column).to(device, torch.float32) for name, column in batch.items()}
    return {name: column.flatten(1) if column.ndim > 2 else column for name, column in rows.items()}
