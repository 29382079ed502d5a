"""The agent that learns nothing: what a return is worth is seen beside its own."""

from __future__ import annotations

from typing import Any

import numpy as np

from forerun_models.agents.base import Action, Actor, Agent, EnvSpec, Observation, Step
from forerun_sim.spec import Strict


class RandomActor(Actor):
    """Draws every action uniformly."""

    def __init__(self, env: EnvSpec) -> None:
        self._env = env
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def act(self, observation: Observation) -> Action:
        if self._env.discrete is not None:
            return int(self._random.integers(self._env.discrete))
        return self._random.uniform(-1, 1, self._env.action_size).astype(np.float32)


class RandomAgent(Agent):
    """Acts at random, in any environment."""

    class Settings(Strict):
        """None."""

    discrete = pictures = numbered_states = True

    def actor(self, explore: bool) -> Actor:
        return RandomActor(self.env)

    def observe(self, step: Step) -> None:
        pass

    def update(self) -> dict[str, float]:
        return {}

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass
