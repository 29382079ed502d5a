"""From the true state to what the robot reports: delay, noise, quantisation, dropout, and how velocity is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.randomization import Parameters
from forerun_sim.spec import Sensors

Array = NDArray[np.float64]
State = tuple[Sequence[float], Sequence[float], Sequence[float]]
"""Positions, velocities and efforts of all joints at one moment."""

_BLOCK = 256


@dataclass(frozen=True, slots=True)
class Reading:
    """What the joints report at ``time`` [s], the stamp of the message: position, velocity, effort [J], SI. With a sensor delay
    the values are older than their stamp, as they are on a robot."""

    time: float
    position: Array
    velocity: Array
    effort: Array


class SensorModel:
    """The sensors of one episode.

    ``difference`` velocities are backward differences of measured positions: over one period of the sensors' ``rate`` where that
    is given, else over the time since the reading before (the first one then reports the true velocity). Positions are
    quantised after the noise, as an encoder counts. A reading that drops out is lost on the way, not unmeasured: the one after
    it differs from none of the others.
    """

    def __init__(self, sensors: Sensors, joints: int, step: float) -> None:
        """``step`` is the physics step [s]."""
        self._sensors = sensors
        self._joints = joints
        self._step = step
        self._back = 0.0
        self._past: deque[State] = deque(maxlen=1)
        self.record: Callable[[State], None] = self._past.append
        """Takes the true state after one physics step."""
        self._difference = sensors.velocity_source == "difference"
        self._span = 1.0 / sensors.rate if sensors.rate is not None and self._difference else 0.0
        self._before: tuple[float, Array] | None = None
        self._rng = np.random.default_rng(0)
        self._noise = np.zeros((0, 3, joints))
        self._used = 0
        self._scales = (0.0, 0.0)

    def reset(self, parameters: Parameters, rng: np.random.Generator, state: State) -> None:
        """Begins an episode in ``state``; the plant stood still in it for as long as the delay asks."""
        self._rng = rng
        self._noise, self._used = self._noise[:0], 0
        self._scales = (parameters.position_noise, parameters.velocity_noise)
        self._back = parameters.observation_delay / self._step
        length = int(self._back + self._span / self._step + 1e-9) + 2
        self._past = deque([state] * length, maxlen=length)
        self.record = self._past.append
        self._before = None

    def read(self, time: float) -> Reading | None:
        """What is reported now, at ``time``, or None where the reading is lost."""
        noise = self._draw()
        position, velocity, effort = self._at(self._back)
        measured = self._measured(position, noise[0])
        if not self._difference:
            speed = velocity + self._scales[1] * noise[1]
        elif self._span:
            earlier = self._measured(self._at(self._back + self._span / self._step)[0], noise[2])
            speed = (measured - earlier) / self._span
        elif self._before is not None and time > self._before[0]:
            speed = (measured - self._before[1]) / (time - self._before[0])
        else:
            speed = velocity
        self._before = (time, measured)
        if self._difference and self._scales[1]:
            speed = speed + self._scales[1] * noise[1]
        if self._sensors.velocity_quantum:
            speed = np.round(speed / self._sensors.velocity_quantum) * self._sensors.velocity_quantum
        if self._sensors.dropout and self._rng.random() < self._sensors.dropout:
            return None
        return Reading(time, measured, speed, effort)

    def _measured(self, position: Array, noise: Array) -> Array:
        noisy = position + self._scales[0] * noise
        quantum = self._sensors.position_quantum
        return np.round(noisy / quantum) * quantum if quantum else noisy

    def _at(self, steps: float) -> tuple[Array, Array, Array]:
        """The true state ``steps`` physics steps ago, interpolated."""
        whole = int(steps + 1e-9)
        part = steps - whole
        newer = np.array(self._past[-1 - whole])
        if part > 1e-9:
            newer = (1.0 - part) * newer + part * np.array(self._past[-2 - whole])
        return newer[0], newer[1], newer[2]

    def _draw(self) -> Array:
        if self._used >= len(self._noise):
            self._noise, self._used = self._rng.standard_normal((_BLOCK, 3, self._joints)), 0
        self._used += 1
        row: Array = self._noise[self._used - 1]
        return row
