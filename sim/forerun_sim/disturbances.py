"""What happens to a robot from outside, and to the clock of its control loop: pushes at random, periods that vary."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from forerun_sim.errors import InputError
from forerun_sim.kinematics import Vector
from forerun_sim.randomization import Parameters

_NEVER = sys.maxsize
_BLOCK = 64


@dataclass(frozen=True, slots=True)
class Push:
    """``force`` [N] at the centre of mass of ``link`` and ``torque`` [N m], world frame, constant for ``duration`` [s] from
    ``time`` on [s since the episode began]."""

    time: float
    duration: float
    link: str
    force: Vector
    torque: Vector


class Pushes:
    """The pushes of one episode, one after the other.

    From the beginning of one push to that of the next it is an exponentially distributed time (as after a Poisson process; the
    next one waits where the one before still lasts), mean ``push_interval``, and so is the time of the first. The sizes are those
    of the episode, the directions of force and torque are uniform on the sphere, the links equally likely. Times are whole
    physics steps. All of it follows from the stream alone, not from what the robot does.
    """

    def __init__(self, links: Sequence[str], step: float) -> None:
        """``links`` to be pushed, ``step``: physics step [s]."""
        self._links = tuple(links)
        self._step = step
        self._rng: np.random.Generator | None = None
        self._force = self._torque = self._interval = 0.0
        self._steps = 1
        self._end = 0
        self._push: Push | None = None
        self.begin = _NEVER
        """Physics step in which the push under way has begun, or the next one will."""
        self.happened: list[Push] = []
        """Those that have begun."""

    def reset(self, parameters: Parameters, stream: Callable[[], np.random.Generator]) -> None:
        """Begins an episode; ``stream`` is asked for where there will be pushes.

        Raises:
            InputError: there is no link to push.
        """
        self._force, self._torque, self._interval = parameters.push_force, parameters.push_torque, parameters.push_interval
        self._steps = max(1, round(parameters.push_duration / self._step))
        self.happened = []
        self.begin, self._end, self._push = _NEVER, 0, None
        if self._interval <= 0 or parameters.push_duration <= 0 or (self._force <= 0 and self._torque <= 0):
            return
        if not self._links:
            raise InputError("disturbances: there is no link with mass to push")
        self._rng = stream()
        self._plan(self._rng, 0)

    def _plan(self, rng: np.random.Generator, last: int) -> None:
        self.begin = max(last + max(1, round(rng.exponential(self._interval) / self._step)), self._end)
        self._end = self.begin + self._steps
        link = self._links[int(rng.integers(len(self._links))) if len(self._links) > 1 else 0]
        directions = rng.standard_normal(6).tolist()
        force, torque = _along(directions[:3], self._force), _along(directions[3:], self._torque)
        self._push = Push(self.begin * self._step, self._steps * self._step, link, force, torque)

    def apply(self, step: int, push: Callable[[str, Vector, Vector], None]) -> None:
        """Calls ``push`` before physics step ``step`` where one lasts. Steps come in turn, but for those before
        ``begin``, which may be left out."""
        if step >= self._end and self._rng is not None:
            self._plan(self._rng, self.begin)
        if self._push is not None and step >= self.begin:
            if step == self.begin:
                self.happened.append(self._push)
            push(self._push.link, self._push.force, self._push.torque)


def _along(direction: Sequence[float], size: float) -> Vector:
    """A vector of that size along ``direction`` [3]."""
    x, y, z = direction
    scale = size / max(math.sqrt(x * x + y * y + z * z), 1e-12)
    return x * scale, y * scale, z * scale


class Periods:
    """The control periods of one episode, in physics steps: the nominal one, plus white noise of ``period_jitter``, rounded to
    whole physics steps and at least one; the time of a reading is that of the physics."""

    def __init__(self, substeps: int, step: float) -> None:
        """``substeps``: physics steps of a nominal period, ``step``: physics step [s]."""
        self._substeps = substeps
        self._step = step
        self._rng: np.random.Generator | None = None
        self._scale = 0.0
        self._noise: list[float] = []
        self.following = substeps
        """Physics steps of the period after the one that ``next`` gave last."""

    def reset(self, parameters: Parameters, stream: Callable[[], np.random.Generator]) -> None:
        """Begins an episode; ``stream`` is asked for where periods vary."""
        self._scale = parameters.period_jitter / self._step
        self._rng = stream() if self._scale > 0 else None
        self._noise = []
        self.following = self._substeps
        self.next()

    def next(self) -> int:
        """Physics steps of the next period."""
        count = self.following
        if self._rng is not None:
            if not self._noise:
                self._noise = self._rng.standard_normal(_BLOCK).tolist()
            self.following = max(round(self._substeps + self._noise.pop() * self._scale), 1)
        return count

    @property
    def regular(self) -> bool:
        """Whether all periods are as long as ``following``."""
        return self._rng is None
