"""Episodes of a task on a plant, one after another, on plain floats: what the environments and their workers run."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from forerun_sim.env.interface import Interface
from forerun_sim.env.scalar import ScalarTask
from forerun_sim.env.settings import EnvSettings, checked_goal
from forerun_sim.errors import InputError, UnstablePhysics
from forerun_sim.plant import Plant
from forerun_sim.randomization import sample_goal

OPTIONS = ("episode", "goal", "initial", "parameters")
"""What ``reset(options=...)`` takes."""


class Outcome(NamedTuple):
    """What a control step led to.

    Attributes:
        reward: of the true state that was reached; 0 where the physics exploded.
        terminated: the task's termination holds for the true state.
        truncated: the episode's time is over, or the physics exploded.
        success: whether the episode ends with the goal held; None before its end and for tasks without ``success``.
        unstable: what exploded, empty where nothing did. Such an episode is no experience to train on.
    """

    reward: float
    terminated: bool
    truncated: bool
    success: bool | None = None
    unstable: str = ""

    @property
    def over(self) -> bool:
        """Whether the episode ends here."""
        return self.terminated or self.truncated


class Episodes:
    """A plant, a task and an agent's interface. (seed, episode) and the actions decide everything.

    ``unstable_episodes`` counts those whose physics exploded.
    """

    def __init__(self, settings: EnvSettings) -> None:
        self.settings = settings
        self.plant = Plant(settings.robot, engine=settings.engine, task=settings.task, randomize=settings.randomize)
        self.interface = Interface(settings)
        self.unstable_episodes = 0
        self.over = True
        self._task = ScalarTask(settings.robot, settings.task)
        self._goal: tuple[float, ...] = settings.goal
        self._count = 0
        task, period = settings.robot.task(settings.task), settings.robot.control.period
        self._recent: deque[list[float]] | None = deque(maxlen=round(task.hold / period) + 1) if task.success else None

    @property
    def episode(self) -> int:
        """Number of the episode, -1 before the first."""
        return self.plant.episode

    @property
    def goal(self) -> tuple[float, ...]:
        """Of the episode [G]."""
        return self._goal

    @property
    def seed(self) -> int:
        return self.plant.seed

    def reseed(self, seed: int) -> None:
        """The next episode is number 0 of ``seed``."""
        self.plant.seed, self.plant.episode = seed, -1

    def begin(self, options: Mapping[str, Any] | None = None) -> list[float]:
        """Begins the next episode.

        Args:
            options: ``episode`` (its number), ``goal`` [G], ``initial`` (positions [J], velocities [J]) and ``parameters`` (as
                ``Plant.reset`` takes them); all may be absent.

        Returns:
            The first observation.

        Raises:
            InputError: an option is unknown or wrong.
        """
        chosen = dict(options or {})
        if unknown := sorted(set(chosen) - set(OPTIONS)):
            raise InputError(f"reset takes no options named {unknown}; there are: {', '.join(OPTIONS)}")
        settings = self.settings
        given = checked_goal(settings.robot, settings.task, chosen["goal"]) if "goal" in chosen else settings.goal
        reading = self.plant.reset(chosen.get("episode"), initial=chosen.get("initial"), parameters=chosen.get("parameters"))
        drawn = settings.goals_vary and "goal" not in chosen
        self._goal = sample_goal(settings.robot.task(settings.task), self.seed, self.episode) if drawn else given
        state = self.plant.true_state().tolist()
        self.interface.begin(reading, state[: len(settings.robot.joints)])
        if self._recent is not None:
            self._recent.clear()
            self._recent.append(state)
        self._count = 0
        self.over = False
        return self.interface.observation(self._goal)

    def step(self, action: Sequence[float]) -> tuple[list[float], Outcome]:
        """One control period under ``action`` [A]: the observation after it, and what it led to.

        Raises:
            InputError: the action has another size, or is not finite.
        """
        interface = self.interface
        previous = interface.command
        command = interface.order(action)
        self._count += 1
        try:
            reading = self.plant.step(command)
        except UnstablePhysics as error:
            return self._exploded(str(error))
        state: list[float] = self.plant.true_state().tolist()
        if not math.isfinite(sum(state)):  # since the last physics step that a sensor looked at
            return self._exploded(f"robot '{self.settings.robot.name}': the physics exploded at {self.plant.time:.3f} s")
        interface.take(reading)
        reward, terminated = self._task.judge(state, command, previous, self._goal)
        truncated = self._count >= self.settings.steps
        if self._recent is not None:
            self._recent.append(state)
        self.over = terminated or truncated
        return interface.observation(self._goal), Outcome(reward, terminated, truncated, self._success() if self.over else None)

    def _exploded(self, reason: str) -> tuple[list[float], Outcome]:
        self.unstable_episodes += 1
        self.over = True
        return self.interface.observation(self._goal), Outcome(0.0, False, True, unstable=reason)

    def _success(self) -> bool | None:
        return None if self._recent is None else self._task.success(self._recent, self._goal)

    def close(self) -> None:
        """Gives the engine's memory back. May be called twice."""
        self.plant.close()
