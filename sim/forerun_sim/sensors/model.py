"""The sensors of a robot, put together: encoders of all joints, and an inertial measurement unit where it has one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from forerun_sim.actuators import JointRow
from forerun_sim.kinematics import Vector
from forerun_sim.randomization import Parameters
from forerun_sim.sensors.history import History
from forerun_sim.sensors.imu import Imu, ImuModel
from forerun_sim.spec import Sensors

Array = NDArray[np.float64]
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
        self._imu = ImuModel(joints) if sensors.imu is not None else None
        self._back = 0.0
        self._before: tuple[float, list[float]] | None = None
        self._rng = np.random.default_rng(0)
        self._silent = [0.0] * (4 * len(self._joints) + 7)
        self._scale = np.array(self._silent)
        self._noise: list[list[float]] = []
        """Of the readings to come, the next one last."""
        self._block = 1
        self._random = False
        self._position_quantum = self._velocity_quantum = 0.0
        self._bias: list[float] = []
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
        self._position_quantum, self._velocity_quantum = parameters.position_quantum, parameters.velocity_quantum
        self._bias = [parameters.position_bias[name] for name in self._joints]
        self._drifts = drift > 0
        self._lost = -math.inf if dropout <= 0 else math.inf if dropout >= 1 else NormalDist().inv_cdf(dropout)
        self._back = parameters.observation_delay / self._step
        backs = [self._back] + ([self._back + self._span / self._step] if self._span else [])
        self._history.reset(backs, rows)
        self._before = None
        if self._imu is not None:
            self._imu.reset(parameters, gravity)

    def read(self, step: int, certain: bool = False) -> Reading | None:
        """What is reported after physics step ``step``, or None where the reading is lost; a ``certain`` one never is."""
        # On plain floats: for a few joints half the time that arrays take.
        size, time = self._size, step * self._step
        noise = self._draw() if self._random else self._silent
        true, speed, effort = self._history.at(step - self._back)
        seen, motion = true, speed
        if self._span:  # an earlier position is encoded beside the one of now
            seen = true + self._history.positions(step - self._back - self._span / self._step)
        if self._drifts and self._before is not None:
            wander = math.sqrt(max(time - self._before[0], 0.0))
            walk = noise[3 * size : 4 * size]
            self._bias = [value + wander * error for value, error in zip(self._bias, walk, strict=True)]
        off = self._bias + self._bias if self._span else self._bias
        position = [value + error + bias for value, error, bias in zip(seen, noise, off, strict=False)]
        if self._position_quantum:
            position = _quantised(position, self._position_quantum)
        if self._span:
            motion = [(new - old) / self._span for new, old in zip(position, position[size:], strict=False)]
        elif self._difference and self._before is not None and time > self._before[0]:
            passed = time - self._before[0]
            motion = [(new - old) / passed for new, old in zip(position, self._before[1], strict=True)]
        motion = [value + error for value, error in zip(motion, noise[len(seen) :], strict=False)]
        if self._velocity_quantum:
            motion = _quantised(motion, self._velocity_quantum)
        imu = self._imu.read(time, true, speed, noise[-6:]) if self._imu is not None else None
        if self._span:
            del position[size:]
        self._before = (time, position)
        if noise[4 * size] < self._lost and not certain:
            return None
        values = np.array((position, motion, effort))
        return Reading(time, values[0], values[1], values[2], imu)

    def _draw(self) -> list[float]:
        """Noise of one reading, of everything, needed or not, so that one kind changes none of the others; drawn in blocks,
        because single draws are slow."""
        if not self._noise:
            self._noise = (self._rng.standard_normal((self._block, len(self._scale))) * self._scale)[::-1].tolist()
            self._block = min(4 * self._block, _BLOCK)
        return self._noise.pop()


def _quantised(values: list[float], quantum: float) -> list[float]:
    """``values`` in whole quanta."""
    return [round(value / quantum) * quantum for value in values]
