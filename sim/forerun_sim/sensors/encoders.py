"""What encoders make of true positions and velocities, on plain floats and in one loop.

``_encoders.c`` is the same, to the last bit, and takes a tenth of the time. It is used where a compiler built it (``compiled``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_sim.actuators import JointRow

Moment = tuple[int, Sequence[JointRow], Sequence[float]]
"""A physics step, states of the joints after it, and efforts of the motors in it [J]."""


class Encoders:
    """The encoders of all joints [J] in one episode; ``SensorModel`` says what they report.

    Args:
        bias: of positions [J].
        fine, rough: quanta of positions and velocities, 0 where they are not rounded.
        own: where the noise of velocities begins.
    """

    def __init__(self, bias: Sequence[float], fine: float, rough: float, own: int) -> None:
        self._bias = list(bias)
        self._fine, self._rough, self._own = fine, rough, own
        self._reported = [0.0] * len(self._bias)

    def read(
        self,
        values: NDArray[np.float64],
        old: Moment,
        new: Moment,
        part: float,
        slip: float,
        noise: Sequence[float],
        wander: float,
        past: Sequence[float] | None,
        passed: float,
    ) -> None:
        """Writes positions, velocities and efforts [J each] to ``values`` [3 J].

        Args:
            values: contiguous.
            old, new: the truth before and after the moment of the reading.
            part: how far the moment is from the former to the latter.
            slip: for how long [s] the joints have still to move from the moment until ``old``.
            noise: of positions, earlier positions where there are such, velocities, drift [J each].
            wander: how much of the drift's noise the biases change by.
            past: true positions [J] ``passed`` before, which are encoded beside those of now; None where the reading before has
                them.
            passed: the time [s] over which positions are differenced; 0 where velocities are measured.
        """
        fine, rough, bias, own, size = self._fine, self._rough, self._bias, self._own, len(self._bias)
        reported, position, motion = self._reported, [], []
        for place, (row, following) in enumerate(zip(old[1], new[1], strict=True)):
            off = bias[place] = bias[place] + wander * noise[3 * size + place]
            speed = row[1]
            where = row[0] - slip * speed
            if part:
                where += part * (following[0] - where)
                speed += part * (following[1] - speed)
            where += noise[place] + off
            if fine:
                where = round(where / fine) * fine
            if passed > 0:
                if past is None:
                    before = reported[place]
                else:
                    before = past[place] + (noise[size + place] + off)
                    before = round(before / fine) * fine if fine else before
                speed = (where - before) / passed
            speed += noise[own + place]
            position.append(where)
            motion.append(round(speed / rough) * rough if rough else speed)
        self._reported = position
        effort = old[2]
        if part:
            effort = [given + part * (then - given) for given, then in zip(effort, new[2], strict=True)]
        values[:] = [*position, *motion, *effort]
