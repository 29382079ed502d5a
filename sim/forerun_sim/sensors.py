"""From the true state to what the robot reports: delay, noise, quantisation, dropout, and how velocity is made."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.actuators import JointRow
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Sensors

Array = NDArray[np.float64]
State = tuple[Sequence[JointRow], Sequence[float]]
"""States of all joints at one moment (position, velocity, and whatever the engine adds), and efforts of their motors."""

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

    def __init__(self, sensors: Sensors, joints: Sequence[str], step: float) -> None:
        """``joints`` are their names, ``step`` is the physics step [s]."""
        self._joints = tuple(joints)
        self._step = step
        self._back = 0.0
        self._past: deque[State] = deque(maxlen=1)
        self.record: Callable[[State], None] = self._past.append
        """Takes the true state after one physics step."""
        self._difference = sensors.velocity_source == "difference"
        self._span = 1.0 / sensors.rate if sensors.rate is not None and self._difference else 0.0
        self._before: tuple[float, list[float]] | None = None
        self._rng = np.random.default_rng(0)
        self._noise: list[list[list[float]]] = []
        self._used = 0
        self._scales = (0.0, 0.0)
        self._quanta = (0.0, 0.0)
        self._bias: list[float] = []
        self._dropout = 0.0

    def reset(self, parameters: Parameters, rng: np.random.Generator, state: State) -> None:
        """Begins an episode in ``state``; the plant stood still in it for as long as the delay asks."""
        self._rng = rng
        self._noise, self._used = [], 0
        self._scales = (parameters.position_noise, parameters.velocity_noise)
        self._quanta = (parameters.position_quantum, parameters.velocity_quantum)
        bias = [parameters.position_bias[name] for name in self._joints]
        self._bias = bias if any(bias) else []
        self._dropout = parameters.dropout
        self._back = parameters.observation_delay / self._step
        length = int(self._back + self._span / self._step + 1e-9) + 2
        self._past = deque([state] * length, maxlen=length)
        self.record = self._past.append
        self._before = None

    def read(self, time: float) -> Reading | None:
        """What is reported now, at ``time``, or None where the reading is lost."""
        noise = self._draw()
        velocity_noise = self._scales[1]
        position, velocity, effort = self._at(self._back)
        measured = self._measured(position, noise[0])
        speed: list[float] = velocity
        if self._span:
            earlier = self._measured(self._at(self._back + self._span / self._step)[0], noise[2])
            speed = [(new - old) / self._span for new, old in zip(measured, earlier, strict=True)]
        elif self._difference and self._before is not None and time > self._before[0]:
            passed = time - self._before[0]
            speed = [(new - old) / passed for new, old in zip(measured, self._before[1], strict=True)]
        self._before = (time, measured)
        if velocity_noise:
            speed = [value + velocity_noise * error for value, error in zip(speed, noise[1], strict=True)]
        if self._quanta[1]:
            speed = _quantised(speed, self._quanta[1])
        if self._dropout and self._rng.random() < self._dropout:
            return None
        return Reading(time, np.array(measured), np.array(speed), np.array(effort))

    def _measured(self, position: list[float], noise: list[float]) -> list[float]:
        scale, quantum = self._scales[0], self._quanta[0]
        noisy = [value + scale * error for value, error in zip(position, noise, strict=True)] if scale else position
        if self._bias:
            noisy = [value + bias for value, bias in zip(noisy, self._bias, strict=True)]
        return _quantised(noisy, quantum) if quantum else noisy

    def _at(self, steps: float) -> tuple[list[float], list[float], Sequence[float]]:
        """The true state ``steps`` physics steps ago, interpolated."""
        whole = int(steps + 1e-9)
        part = steps - whole
        rows, effort = self._past[-1 - whole]
        if part < 1e-9:
            return [row[0] for row in rows], [row[1] for row in rows], effort
        older, past_effort = self._past[-2 - whole]
        pairs = list(zip(rows, older, strict=True))
        position = [new[0] + part * (old[0] - new[0]) for new, old in pairs]
        velocity = [new[1] + part * (old[1] - new[1]) for new, old in pairs]
        return position, velocity, [new + part * (old - new) for new, old in zip(effort, past_effort, strict=True)]

    def _draw(self) -> list[list[float]]:
        """Standard normal numbers for one reading, [3][J]; drawn in blocks, because single draws are slow."""
        if self._used >= len(self._noise):
            self._noise, self._used = self._rng.standard_normal((_BLOCK, 3, len(self._joints))).tolist(), 0
        self._used += 1
        return self._noise[self._used - 1]


def _quantised(values: list[float], quantum: float) -> list[float]:
    """``values`` in whole quanta. Beyond 1e15 quanta a float has no finer steps anyway, and infinities stay what they are."""
    return [round(value / quantum) * quantum if abs(value) < 1e15 * quantum else value for value in values]
