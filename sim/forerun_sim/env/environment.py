"""A robot and one of its tasks as a Gymnasium environment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from numpy.typing import ArrayLike, NDArray

from forerun_sim.env.episodes import Episodes, Outcome
from forerun_sim.env.settings import env_settings
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import Camera, RobotSpec

Observation = NDArray[Any]
"""float32 [O], or a picture, uint8 [H, W, 3]."""
Picture = Callable[[], NDArray[np.uint8]]


class RobotEnv(gymnasium.Env[Any, Any]):
    """One simulated robot at one of its tasks.

    Action: commands [A] in [-1, 1] of the task's limits (``actions="physical"``: SI units), cut to limits and slew as the robot's
    controller cuts them. Observation: a flat float32 Box, see ``forerun_sim.env.interface.Interface`` and ``observation_names``.
    Reward and termination come from the task and the true state, not from its noisy measurement; truncation after the task's
    duration.

    (seed, episode) decides everything random: ``reset(seed=s)`` begins episode 0 of ``s``, every further ``reset()`` the next.

    ``info`` of ``reset``: ``seed``, ``episode_number``, ``parameters`` (the plant that was drawn, by name), ``goal`` [G]. That
    of an episode's last step: ``success`` and ``is_success`` (the same, as Stable-Baselines3 calls it) where the task says what
    success is, and ``unstable``. Where the physics exploded, the episode is truncated with ``unstable`` true and ``reason``: it
    is nothing to train on; ``unstable_episodes`` counts them.

    Args:
        robot, task, settings: as ``forerun_sim.env.settings.env_settings`` takes them (``engine``, ``randomize``, ``actions``,
            ``angles``, ``history``, ``duration``, ``goal``).
        render_mode: None, or ``rgb_array``: ``render()`` then gives a picture of the robot (engine ``bullet``).
        camera: one of the robot's cameras: its pictures, uint8 [H, W, 3], are then the observations (engine ``bullet``).

    Raises:
        InputError: a setting is wrong, or the robot cannot be simulated; the message names the file and the key.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 50}  # noqa: RUF012 (as Gymnasium declares it)

    def __init__(
        self,
        robot: str | Path | RobotSpec,
        task: str | None = None,
        *,
        render_mode: str | None = None,
        camera: str | None = None,
        **settings: Any,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise InputError(f"render_mode '{render_mode}' is not available; allowed: None, rgb_array")
        self.render_mode = render_mode
        chosen = env_settings(robot, task, **settings)
        self._episodes = Episodes(chosen if render_mode is None else replace(chosen, robot=_with_camera(chosen.robot)))
        self._view: Picture | None = None
        self.robot = chosen.robot
        self.task = chosen.task
        self.settings = chosen
        self.metadata = {**type(self).metadata, "render_fps": self.robot.control.rate}
        self.camera = camera
        self.observation_space = self._episodes.interface.observation_space()
        if camera is not None:
            shape = self.plant.picture_shape(camera)
            self.observation_space = Box(0, 255, shape, np.uint8)
        self.action_space = self._episodes.interface.action_space()
        self.observation_names = self._episodes.interface.observation_names()
        self._seeded = False

    @property
    def unstable_episodes(self) -> int:
        """Episodes so far whose physics exploded."""
        return self._episodes.unstable_episodes

    @property
    def plant(self) -> Plant:
        """The simulated robot; its ``randomization`` may be exchanged between episodes."""
        return self._episodes.plant

    @property
    def state(self) -> NDArray[np.float64]:
        """The true state [S] now, which no sensor shows: all positions, then all velocities, SI."""
        return self.plant.true_state()

    @property
    def command(self) -> NDArray[np.float64]:
        """The command [A] under way, physical units."""
        return np.array(self._episodes.interface.command)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Observation, dict[str, Any]]:
        """Begins an episode: number 0 of ``seed``, or the next one.

        Args:
            seed: of everything random from here on; drawn by chance at the very first reset without one.
            options: ``episode`` (its number), ``goal`` [G], ``initial`` (positions [J], velocities [J]), ``parameters`` (by name,
                as ``info["parameters"]`` has them; they replace what was drawn).
        """
        super().reset(seed=seed)
        if seed is None and not self._seeded:
            seed = int(self.np_random.integers(2**31))
        if seed is not None:
            self._episodes.reseed(seed)
            self._seeded = True
        observation = self._episodes.begin(options)
        info = {
            "seed": self._episodes.seed,
            "episode_number": self._episodes.episode,
            "parameters": self.plant.parameters,
            "goal": np.array(self._episodes.goal),
        }
        return self._seen(observation), info

    def step(self, action: ArrayLike) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """One control period under ``action`` [A].

        Raises:
            InputError: the action has another size, or is not finite.
            ResetNeeded: the episode is over.
        """
        if self._episodes.over:
            raise ResetNeeded("the episode is over, or none has begun: call reset() first")
        numbers = np.asarray(action, dtype=float)
        if numbers.shape != self.action_space.shape:
            names = list(self.robot.action_names)
            raise InputError(f"action of shape {numbers.shape}: needs {len(names)} numbers: {names}")
        observation, outcome = self._episodes.step(numbers.tolist())
        info = ending(outcome) if outcome.over else {}
        return self._seen(observation), outcome.reward, outcome.terminated, outcome.truncated, info

    def _seen(self, numbers: Sequence[float]) -> Observation:
        """The observation: numbers, or the newest picture."""
        return np.array(numbers, dtype=np.float32) if self.camera is None else self.plant.camera(self.camera).rgb

    def render(self) -> NDArray[np.uint8] | None:
        """The robot now, uint8 [H, W, 3], with ``render_mode="rgb_array"``; else None.

        Raises:
            InputError: the engine draws no pictures.
        """
        if self.render_mode is None:
            return None
        if self._view is None:
            self._view = _picture_of(self.plant)
        return self._view()

    def close(self) -> None:
        """Gives the simulator's memory back. May be called twice."""
        self._episodes.close()


def _with_camera(robot: RobotSpec) -> RobotSpec:
    """``robot`` with a camera where its simulator would else leave out what can only be seen."""
    return robot if robot.cameras else robot.model_copy(update={"cameras": {"render": Camera()}})


def _picture_of(plant: Plant) -> Picture:
    """What takes pictures of the robot in ``plant``."""
    from forerun_sim.engines.bullet import BulletEngine
    from forerun_sim.engines.bullet_view import BulletView

    if not isinstance(plant.engine, BulletEngine):
        raise InputError(f"robot '{plant.spec.name}': this engine draws no pictures: make the environment with engine='bullet'")
    return BulletView(plant.engine, plant.spec).picture


def ending(outcome: Outcome) -> dict[str, Any]:
    """``info`` of an episode's last step."""
    info: dict[str, Any] = {"unstable": bool(outcome.unstable)}
    if outcome.unstable:
        info["reason"] = outcome.unstable
    if outcome.success is not None:
        info |= {"success": outcome.success, "is_success": outcome.success}
    return info
