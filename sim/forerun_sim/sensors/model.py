"""The sensors of a robot, put together: encoders of all joints, and an inertial measurement unit where it has one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forerun_sim.actuators import JointRow
from forerun_sim.compiled import compiled
from forerun_sim.kinematics import Vector
from forerun_sim.randomization import Parameters
from forerun_sim.sensors import encoders
from forerun_sim.sensors.history import History
from forerun_sim.sensors.imu import Imu, ImuModel
from forerun_sim.spec import Sensors

Array = NDArray[np.float64]
_Encoders = compiled("forerun_sim.sensors._encoders", encoders.Encoders)
_NORMAL = NormalDist()
_BLOCK = 64
"""Readings whose random numbers are drawn at once, at most."""


class Reading(NamedTuple):
    """What the joints report at ``time`` [s], the stamp of the message: position, velocity, effort [J], SI, and ``imu`` where the
    robot has one. With a sensor delay the values are older than their stamp, as they are on a robot."""

    time: float
    position: Array
    velocity: Array
    effort: Array
    imu: Imu | None = None


class SensorModel:
    """The sensors of one episode.

    A position is the truth, plus the encoder's bias, plus how far that has wandered (a random walk, which begins at 0), plus
    white noise, then in whole quanta, as an encoder counts. ``measured`` velocities are the truth plus white noise;
    ``difference`` velocities are backward differences of measured positions: over one period of the sensors' ``rate`` where that
    is given, else over the time since the reading before (the first one then reports the true velocity). Efforts are those of
    the motors.

    All of it is what was true ``observation_delay`` before the reading, linearly interpolated between physics steps. A reading
    that drops out is lost on the way, not unmeasured: the one after it differs from none of the others.

    ``looks`` says after which physics steps ``record`` has to be told the truth.
    """

    def __init__(self, sensors: Sensors, joints: Sequence[str], step: float) -> None:
        """``joints`` are their names, ``step`` is the physics step [s]."""
        self._joints = tuple(joints)
        self._size = len(self._joints)
        self._step = step
        self._history = History()
        self.looks = self._history.looks
        self.record = self._history.add
        self._difference = sensors.velocity_source == "difference"
        self._span = 1.0 / sensors.rate if sensors.rate is not None and self._difference else 0.0
        self._own = self._size * (2 if self._span else 1)  # where the noise of velocities begins
        self._imu = ImuModel(joints) if sensors.imu is not None else None
        self._positions = bool(self._span) and self._imu is None
        """Whether nothing looks at true velocities."""
        self._back = 0.0
        self._before: float | None = None
        self._encoders = _Encoders((), 0.0, 0.0, 0)
        self._rng = np.random.default_rng(0)
        self._silent = [0.0] * (4 * len(self._joints) + 7)
        self._scale = np.array(self._silent)
        self._noise: list[list[float]] = []
        """Of the readings to come, the next one last."""
        self._block = 1
        self._random = False
        self._drifts = False
        self._lost = -math.inf

    def reset(self, parameters: Parameters, rng: np.random.Generator, rows: Sequence[JointRow], gravity: Vector) -> None:
        """Begins an episode in the state ``rows``, in which the plant stood for as long as the delay asks. ``gravity`` [m/s^2] in
        the world frame."""
        size, dropout, drift = len(self._joints), parameters.dropout, parameters.position_drift
        position, velocity = [parameters.position_noise] * size, [parameters.velocity_noise] * size
        # Of positions, earlier positions, velocities and drift [J each], of the loss [1] and the inertial measurement unit [6].
        parts = position + position + velocity if self._span else position + velocity + position
        self._scale = np.array(parts + [drift] * size + [1.0] * 7)
        self._rng, self._noise, self._block = rng, [], 4  # small at first: a reset needs one
        self._random = max(position[0], velocity[0], drift, dropout) > 0 or self._imu is not None
        bias = [parameters.position_bias[name] for name in self._joints]
        self._encoders = _Encoders(bias, parameters.position_quantum, parameters.velocity_quantum, self._own)
        self._drifts = drift > 0
        self._lost = -math.inf if dropout <= 0 else math.inf if dropout >= 1 else _NORMAL.inv_cdf(dropout)
        self._back = parameters.observation_delay / self._step
        backs = [self._back] + ([self._back + self._span / self._step] if self._span else [])
        self._history.reset(backs, rows, self._positions)
        self._before = None
        if self._imu is not None:
            self._imu.reset(parameters, gravity)

    def read(self, step: int, certain: bool = False) -> Reading | None:
        """What is reported after physics step ``step``, or None where the reading is lost; a ``certain`` one never is."""
        time, size, span, before = step * self._step, self._size, self._span, self._before
        noise = self._draw() if self._random else self._silent
        history, then = self._history, step - self._back
        if self._positions:  # half as many states to ask the engine for
            newer, lead = history.after(then)
            older, part, slip = newer, 0.0, lead * self._step
        else:
            newer, older, part = history.about(then)
            slip = 0.0
        passed = time - before if before is not None else 0.0
        wander = math.sqrt(passed) if self._drifts and passed > 0 else 0.0
        past = self._earlier(then - span / self._step) if span else None
        over = span or (passed if self._difference else 0.0)
        values = np.empty(3 * size)
        self._encoders.read(values, older, newer, part, slip, noise, wander, past, over)
        self._before = time
        imu = None
        if self._imu is not None:
            imu = self._imu.read(time, *history.at(then), noise[-6:])
        if noise[4 * size] < self._lost and not certain:
            return None
        return Reading(time, values[:size], values[size : 2 * size], values[2 * size :], imu)

    def _earlier(self, step: float) -> list[float]:
        """The positions of all joints [J], ``step`` physics steps after the beginning."""
        if not self._positions:
            return self._history.at(step)[0]
        (_, rows, _), lead = self._history.after(step)
        return [row[0] - lead * self._step * row[1] for row in rows]

    def _draw(self) -> list[float]:
        """Noise of one reading, of everything, needed or not, so that one kind changes none of the others; drawn in blocks,
        because single draws are slow."""
        if not self._noise:
            self._noise = (self._rng.standard_normal((self._block, len(self._scale))) * self._scale)[::-1].tolist()
            self._block = min(4 * self._block, _BLOCK)
        return self._noise.pop()
