"""An agent and environments to try the learning loop with; run as a module it learns, and dies where it is told to.

python -m support.small_learner OUT [STEP]     kill -9 at its STEP-th update
"""

from __future__ import annotations

import copy
import os
import signal
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary

from forerun_models.agents.base import Actor, Agent, EnvSpec, Observation, PolicyGraph, Step
from forerun_models.agents.buffer import Buffer
from forerun_models.agents.learn import learn
from forerun_models.agents.registry import AGENTS
from forerun_sim.spec import Strict

NAME = "small"
AGENTS[NAME] = "support.small_learner:SmallLearner"
deadly_update = -1


class SmallActor(Actor):
    """A linear law and noise."""

    def __init__(self, law: torch.nn.Linear, noise: float) -> None:
        self._law, self._noise = law, noise

    def reset(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    @torch.no_grad()
    def act(self, observation: Observation) -> np.ndarray:
        drawn = self._random.standard_normal(self._law.out_features)
        return np.asarray(self._law(torch.as_tensor(observation)).numpy() + self._noise * drawn, np.float32)


class LinearPolicy(PolicyGraph):
    """The law as it is now."""

    def __init__(self, law: torch.nn.Linear) -> None:
        super().__init__()
        self.law = copy.deepcopy(law)

    def forward(self, observation: torch.Tensor) -> tuple[torch.Tensor]:
        return (self.law(observation),)


class SmallLearner(Agent):
    """Moves its law towards rewarded actions; it holds what a real agent does: weights, optimizer, buffer, generator."""

    class Settings(Strict):
        rate: float = 0.01

    def __init__(self, env: EnvSpec, settings: Any, seed: int, device: str = "cpu") -> None:
        super().__init__(env, settings, seed, device)
        self._law = torch.nn.Linear(env.observation_shape[0], env.action_size)
        self._optimizer = torch.optim.Adam(self._law.parameters(), settings.rate)
        self._buffer = Buffer(150, env.observation_shape, np.float32, env.action_size)
        self._random = np.random.default_rng(seed)
        self._updates = 0

    def actor(self, explore: bool) -> Actor:
        return SmallActor(self._law, 0.5 if explore else 0.0)

    def observe(self, step: Step) -> None:
        self._buffer.add(step)

    def update(self) -> dict[str, float]:
        self._updates += 1
        if self._updates == deadly_update:
            os.kill(os.getpid(), signal.SIGKILL)
        batch = {name: torch.as_tensor(column) for name, column in self._buffer.sample(8, self._random).items()}
        error = (self._law(batch["observation"]) - batch["action"]).square().mean(-1)
        loss = (error * batch["reward"].exp()).mean()
        self._optimizer.zero_grad()
        loss.backward()
        self._optimizer.step()
        return {"loss/law": loss.item(), "model_error": error.mean().item()}

    def state_dict(self) -> dict[str, Any]:
        return {
            "law": self._law.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "buffer": self._buffer.state_dict(),
            "random": self._random.bit_generator.state,
            "updates": self._updates,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._law.load_state_dict(state["law"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._buffer.load_state_dict(state["buffer"])
        self._random.bit_generator.state = state["random"]
        self._updates = state["updates"]

    def policy_graph(self) -> PolicyGraph:
        return LinearPolicy(self._law)

    def advice(self) -> list[str]:
        return ["this agent is for tests"]


class Line(gymnasium.Env[Any, Any]):
    """A point on a line is pushed by actions in [-2, 6]; each step is rewarded by the push, as it arrives."""

    action_space: gymnasium.Space[Any] = Box(-2.0, 6.0, (1,))
    observation_space: gymnasium.Space[Any] = Box(-np.inf, np.inf, (2,), np.float64)

    def __init__(self, spaces: dict[str, gymnasium.Space[Any]] | None = None) -> None:
        for name, space in (spaces or {}).items():
            setattr(self, name, space)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[Any, dict[str, Any]]:
        super().reset(seed=seed)
        self._at = self.np_random.standard_normal(2)
        self._steps = 0
        return self._at.copy(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        self._steps += 1
        self._at = 0.9 * self._at + 0.1 * self.np_random.standard_normal(2)
        return self._at.copy(), float(action[0]), bool(self._at[0] > 1.5), False, {}


class Exploding(Line):
    """Its physics explodes in the fourth step of each episode."""

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        observation, reward, _, _, _ = super().step(action)
        return observation, reward, False, self._steps == 4, {"unstable": True} if self._steps == 4 else {}


gymnasium.register("test/exploding-v0", entry_point=Exploding)


def _with(**spaces: gymnasium.Space[Any]) -> dict[str, Any]:
    return {"spaces": spaces}


LINES: dict[str, dict[str, Any]] = {
    "test/line-v0": {},
    "test/unbounded-v0": _with(action_space=Box(-np.inf, np.inf, (1,))),
    "test/choices-v0": _with(action_space=Discrete(3)),
    "test/switches-v0": _with(action_space=MultiBinary(3)),
    "test/dict-v0": _with(observation_space=Dict({"a": Box(0, 1)})),
    "test/numbered-v0": _with(observation_space=Discrete(5)),
    "test/pictures-v0": _with(observation_space=Box(0, 255, (8, 8, 3), np.uint8)),
    "test/table-v0": _with(observation_space=Box(0, 1, (2, 2))),
}
for name, keywords in LINES.items():
    gymnasium.register(name, entry_point=Line, max_episode_steps=20, kwargs=keywords)


def main(out: str, update: int = -1) -> None:
    """Learns into ``out``, or goes on there; kill -9 at update number ``update``."""
    global deadly_update
    deadly_update = update
    learn(
        "test/line-v0",
        NAME,
        400,
        3,
        Path(out),
        eval_every=70,
        eval_episodes=2,
        resume=True,
        tensorboard=False,
        checkpoint_seconds=0,
    )
