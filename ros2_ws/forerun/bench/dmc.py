"""dm_control's suite for ``forerun learn --import forerun.bench.dmc``: ``dm_control/cartpole-swingup-v0`` and the other tasks.

Action repeat 2, flat observations, episodes of 1000 environment steps, which are 500 of the agent's: as TD-MPC2 is measured. Its
counts of environment steps are twice the agent's steps. dm_control is installed apart (``pip install dm_control``, mujoco < 4).
"""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
from dm_control import suite
from gymnasium.spaces import Box
from numpy.typing import NDArray

REPEAT = 2
STEPS = 500
"""The agent's steps of an episode, the same for all tasks."""


class SuiteEnv(gymnasium.Env[NDArray[np.float32], NDArray[np.float64]]):
    """One task of the suite.

    Args:
        domain, task: as ``dm_control.suite.load`` takes them.

    Attributes:
        dt: seconds of an agent's step.
    """

    def __init__(self, domain: str, task: str) -> None:
        self._env = suite.load(domain, task, task_kwargs={"random": 0})
        actions = self._env.action_spec()
        self.action_space = Box(actions.minimum, actions.maximum, dtype=np.float64)
        size = sum(int(np.prod(spec.shape)) for spec in self._env.observation_spec().values())
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float32)
        self.dt = REPEAT * self._env.control_timestep()

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], dict[str, Any]]:
        super().reset(seed=seed)
        if seed is not None:
            self._env.task.random.seed(seed)
        return _flat(self._env.reset().observation), {}

    def step(self, action: NDArray[np.float64]) -> tuple[NDArray[np.float32], float, bool, bool, dict[str, Any]]:
        """The action twice; the reward of both steps."""
        total = 0.0
        for _ in range(REPEAT):
            now = self._env.step(action)
            total += now.reward
            if now.last():
                break
        # The suite says by its discount whether an episode came to an end of its own.
        ended = bool(now.last())
        return _flat(now.observation), total, ended and now.discount == 0.0, ended and now.discount != 0.0, {}


def _flat(observation: dict[str, Any]) -> NDArray[np.float32]:
    return np.concatenate([np.ravel(part) for part in observation.values()]).astype(np.float32)


for _domain, _task in suite.BENCHMARKING:
    gymnasium.register(
        f"dm_control/{_domain}-{_task}-v0",
        entry_point="forerun.bench.dmc:SuiteEnv",
        kwargs={"domain": _domain, "task": _task},
        max_episode_steps=STEPS,
        order_enforce=False,
    )
