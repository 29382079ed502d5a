"""Brings the ticks in phase with the robot's states.

Two clocks of the same rate may stand in any phase: a tick just before the state's arrival plans from a state that is a whole
period old. Where states come about once a period, the ticks are moved, a little at a time, to shortly after their arrival.
"""

from __future__ import annotations

import statistics
from collections import deque

_SEEN = 16


class PhaseLock:
    """Watches arrivals and says by how much the next tick should move.

    Args:
        period: control period [s].
        margin: how long after a state's arrival to tick [s]; the arrivals' jitter must fit into it.
    """

    def __init__(self, period: float, margin: float | None = None) -> None:
        self._period = period
        self._margin = min(0.1 * period, 0.002) if margin is None else margin
        self._arrivals: deque[float] = deque(maxlen=_SEEN)
        self._errors: deque[float] = deque(maxlen=_SEEN)

    def arrived(self, time: float) -> None:
        """A state arrived at ``time`` [s, monotonic]. From any thread."""
        self._arrivals.append(time)

    def first(self, now: float) -> float | None:
        """When to tick first after ``now`` [s, monotonic]; None where states do not come once a period."""
        arrivals = list(self._arrivals)
        if not self._once_a_period(arrivals):
            return None
        return now + (arrivals[-1] + self._margin - now) % self._period

    def correction(self, now: float) -> float:
        """By how much to move the ticks to come [s], given that one happened at ``now``; at most 1 % of the period."""
        arrivals = list(self._arrivals)
        if not self._once_a_period(arrivals):
            self._errors.clear()
            return 0.0
        half = self._period / 2
        self._errors.append((arrivals[-1] + self._margin - now + half) % self._period - half)
        if len(self._errors) < _SEEN:
            return 0.0
        bound = 0.01 * self._period
        return max(-bound, min(bound, 0.1 * statistics.median(self._errors)))

    def _once_a_period(self, arrivals: list[float]) -> bool:
        if len(arrivals) < _SEEN // 2:
            return False
        mean = (arrivals[-1] - arrivals[0]) / (len(arrivals) - 1)
        return abs(mean - self._period) < 0.1 * self._period
