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
        self._numbers: list[list[float]] = []
        self._used = 0
        self._silent = [0.0] * (4 * len(self._joints) + 7)
        self._random = False
        self._scales = (0.0, 0.0)
        self._quanta = (0.0, 0.0)
        self._bias: list[float] = []
        self._drift = 0.0
        self._lost = -math.inf

    def reset(self, parameters: Parameters, rng: np.random.Generator, rows: Sequence[JointRow], gravity: Vector) -> None:
        """Begins an episode in the state ``rows``, in which the plant stood for as long as the delay asks. ``gravity`` [m/s^2] in
        the world frame."""
        self._rng, self._numbers, self._used = rng, [], 0
        self._scales = (parameters.position_noise, parameters.velocity_noise)
        self._quanta = (parameters.position_quantum, parameters.velocity_quantum)
        self._bias = [parameters.position_bias[name] for name in self._joints]
        self._drift, dropout = parameters.position_drift, parameters.dropout
        if not any(self._bias) and not self._drift:
            self._bias = []
        self._lost = NormalDist().inv_cdf(dropout) if 0 < dropout < 1 else math.copysign(math.inf, dropout - 0.5)
        self._random = any(self._scales) or self._drift > 0 or dropout > 0 or self._imu is not None
        self._back = parameters.observation_delay / self._step
        backs = [self._back] + ([self._back + self._span / self._step] if self._span else [])
        self._history.reset(backs, rows)
        self._before = None
        if self._imu is not None:
            self._imu.reset(parameters, gravity)

    def read(self, step: int, certain: bool = False) -> Reading | None:
        """What is reported after physics step ``step``, or None where the reading is lost; a ``certain`` one never is."""
        size, time = len(self._joints), step * self._step
        numbers = self._draw() if self._random else self._silent
        position, velocity, effort = self._history.at(step - self._back)
        if self._drift and self._before is not None:
            wander = self._drift * math.sqrt(max(time - self._before[0], 0.0))
            self._bias = [bias + wander * error for bias, error in zip(self._bias, numbers[3 * size :], strict=False)]
        measured = self._measured(position, numbers[:size])
        speed = velocity
        if self._span:
            earlier = self._measured(
                self._history.at(step - self._back - self._span / self._step)[0], numbers[2 * size : 3 * size]
            )
            speed = [(new - old) / self._span for new, old in zip(measured, earlier, strict=True)]
        elif self._difference and self._before is not None and time > self._before[0]:
            passed = time - self._before[0]
            speed = [(new - old) / passed for new, old in zip(measured, self._before[1], strict=True)]
        self._before = (time, measured)
        scale, quantum = self._scales[1], self._quanta[1]
        if scale:
            speed = [value + scale * error for value, error in zip(speed, numbers[size : 2 * size], strict=True)]
        if quantum:
            speed = _quantised(speed, quantum)
        imu = self._imu.read(time, position, velocity, numbers[-6:]) if self._imu is not None else None
        if numbers[4 * size] < self._lost and not certain:
            return None
        return Reading(time, *np.array([measured, speed, effort]), imu)

    def _measured(self, position: list[float], noise: list[float]) -> list[float]:
        scale, quantum = self._scales[0], self._quanta[0]
        if scale:
            position = [value + scale * error for value, error in zip(position, noise, strict=True)]
        if self._bias:
            position = [value + bias for value, bias in zip(position, self._bias, strict=True)]
        return _quantised(position, quantum) if quantum else position

    def _draw(self) -> list[float]:
        """Standard normal numbers for one reading: of positions, velocities, earlier positions and drift [J each], of the loss
        [1] and of the inertial measurement unit [6]. All of them, needed or not, so that one changes none of the others; in
        blocks, because single draws are slow."""
        if self._used >= len(self._numbers):
            block = min(4 * max(len(self._numbers), 1), _BLOCK)  # small at first: a reset needs one
            self._numbers, self._used = self._rng.standard_normal((block, len(self._silent))).tolist(), 0
        self._used += 1
        return self._numbers[self._used - 1]


def _quantised(values: list[float], quantum: float) -> list[float]:
    """``values`` in whole quanta. Beyond 1e15 quanta a float has no finer steps anyway, and infinities stay what they are."""
    return [math.floor(value / quantum + 0.5) * quantum if abs(value) < 1e15 * quantum else value for value in values]
