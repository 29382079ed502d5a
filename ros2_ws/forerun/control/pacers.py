"""What paces the control loop: the monotonic clock, /clock, or the arrival of states."""

from __future__ import annotations

import math
import queue
import threading
import time
from collections.abc import Callable
from typing import Protocol

_POLL = 0.05
"""A loop that waits for others looks this often whether it should end [s]."""


class Pacer(Protocol):
    """Says when to tick.

    Attributes:
        missed: deadlines that were skipped because the tick before them took too long, since the start.
        real_time: whether ticks follow the monotonic clock; else time is what others say.
    """

    missed: int
    real_time: bool

    def start(self) -> None:
        """The loop begins now."""
        ...

    def wait(self) -> float | None:
        """Returns at the next tick with its controller time [s]; None now and then while there is nothing to do."""
        ...


class MonotonicPacer:
    """Absolute deadlines on the monotonic clock: a late tick does not delay the next one, a missed one is skipped and counted.

    Args:
        first: says when to tick first after a given time [s, monotonic], or None for one period later.
        spin: the last seconds before a deadline are spent looking at the clock instead of asleep; costs that much of a core.

    Attributes:
        deadline: when the tick under way was due [s, monotonic].
    """

    real_time = True

    def __init__(self, period: float, first: Callable[[float], float | None] | None = None, spin: float = 0.0) -> None:
        self._period = round(period * 1e9)
        self._spin = round(spin * 1e9)
        self._first = first
        self._next = 0
        self.deadline = 0.0
        self.missed = 0

    def start(self) -> None:
        now = time.monotonic_ns()
        first = self._first(now * 1e-9) if self._first is not None else None
        self._next = now + self._period if first is None else round(first * 1e9)
        self.missed = 0

    def wait(self) -> float | None:
        now = time.monotonic_ns()
        if now >= self._next + self._period:
            late = (now - self._next) // self._period
            self.missed += late
            self._next += late * self._period
        if self._next > now:
            time.sleep(max(self._next - now - self._spin, 0) * 1e-9)
            if self._spin:
                while time.monotonic_ns() < self._next:
                    pass
        self.deadline = self._next * 1e-9
        self._next += self._period
        return time.monotonic_ns() * 1e-9

    def shift(self, seconds: float) -> None:
        """Moves all deadlines to come, to bring the ticks in phase with the robot's states."""
        self._next += round(seconds * 1e9)


class Arrivals:
    """Which states a tick answers: about one a period, in phase with them, and when to tick without one. Times in s.

    The next state is due one period after the one before; what comes a quarter of a period earlier than that is passed over,
    so a robot that publishes at twice the rate does not make the loop tick twice as often. The expectation follows the arrivals
    slowly, so their jitter does not add up and a robot whose clock runs a little faster or slower is followed.
    """

    _EARLY, _GRACE, _APART, _GAIN = 0.25, 0.5, 0.4, 0.2

    def __init__(self, period: float) -> None:
        self._period = period
        self.start(0.0)

    def start(self, now: float) -> None:
        """Begins to wait."""
        self._due, self._alone, self._waiting = now + self._period, -math.inf, True
        self._before = -math.inf

    @property
    def patience(self) -> float:
        """When to tick without a state."""
        return self._due + self._GRACE * self._period

    def arrived(self, now: float) -> bool:
        """Whether the state that arrived at ``now`` is to be answered by a tick."""
        # Of a faster stream the first that is not too early is always early: following it would raise the rate.
        gain = self._GAIN if now - self._before > (1 - self._EARLY) * self._period else 0.0
        self._before = now
        if self._waiting:
            # After a tick without a state the first one sets the phase; so close to that tick it does not get one of its own.
            self._waiting, self._due = False, now + self._period
            return now - self._alone >= self._APART * self._period
        error = now - self._due
        if error < -self._EARLY * self._period:
            return False
        self._due += self._period + gain * error
        return True

    def silent(self, now: float) -> int:
        """A tick without a state; returns how many periods before it had none."""
        skipped = max(int((now - self.patience) / self._period), 0)
        self._due += (1 + skipped) * self._period
        self._alone, self._waiting = now, True
        return skipped


class StatePacer:
    """A tick when a state arrives, at most about one a period, and one without when none comes in time: staleness is noticed."""

    real_time = True

    def __init__(self, period: float) -> None:
        self._arrivals = Arrivals(period)
        self._changed = threading.Condition()
        self._wanted = False
        self.missed = 0

    def push(self, now: float) -> None:
        """A state arrived at ``now`` [s, monotonic]. From any thread."""
        with self._changed:
            if self._arrivals.arrived(now):
                self.missed += self._wanted
                self._wanted = True
                self._changed.notify_all()

    def start(self) -> None:
        with self._changed:
            self._arrivals.start(time.monotonic())
            self._wanted, self.missed = False, 0

    def wait(self) -> float | None:
        with self._changed:
            patience = min(self._arrivals.patience - time.monotonic(), _POLL)
            if self._changed.wait_for(lambda: self._wanted, timeout=max(patience, 0.0)):
                self._wanted = False
                return time.monotonic()
            now = time.monotonic()
            if now < self._arrivals.patience:
                return None
            self.missed += self._arrivals.silent(now)
            return now


class ClockPacer:
    """Deadlines on a clock that someone else advances (/clock). When that clock jumps back, deadlines start anew."""

    real_time = False

    def __init__(self, period: float) -> None:
        self._period = period
        self._changed = threading.Condition()
        self._now: float | None = None
        self._next: float | None = None
        self.missed = 0

    def set(self, now: float) -> None:
        """The clock says ``now`` [s]. From any thread."""
        with self._changed:
            if self._now is not None and now < self._now:
                self._next = None
            self._now = now
            self._changed.notify_all()

    @property
    def now(self) -> float | None:
        """What the clock said last [s]."""
        return self._now

    def start(self) -> None:
        with self._changed:
            self._next = None
            self.missed = 0

    def wait(self) -> float | None:
        with self._changed:
            if self._now is not None and self._next is None:
                self._next = self._now + self._period
            if not self._changed.wait_for(self._due, timeout=_POLL):
                return None
            assert self._now is not None and self._next is not None
            late = int((self._now - self._next) / self._period + 1e-6)
            self.missed += late
            self._next += (late + 1) * self._period
            return self._now

    def _due(self) -> bool:
        return self._now is not None and self._next is not None and self._now >= self._next - 1e-9


class StepPacer:
    """A tick for every state that arrives: lockstep with a simulator that waits for the command."""

    real_time = False

    def __init__(self) -> None:
        self._times: queue.SimpleQueue[float] = queue.SimpleQueue()
        self.missed = 0

    def push(self, now: float) -> None:
        """A state of the time ``now`` [s] has arrived. From any thread."""
        self._times.put(now)

    def start(self) -> None:
        """Nothing to anchor."""

    def wait(self) -> float | None:
        try:
            return self._times.get(timeout=_POLL)
        except queue.Empty:
            return None
