"""The control loop's thread and what paces it: the monotonic clock, /clock, or the arrival of states (lockstep)."""

from __future__ import annotations

import gc
import os
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
    """

    missed: int

    def start(self) -> None:
        """The loop begins now."""
        ...

    def wait(self) -> float | None:
        """Returns at the next tick with its controller time [s]; None now and then while there is nothing to do."""
        ...


class MonotonicPacer:
    """Absolute deadlines on the monotonic clock: a late tick does not delay the next one, a missed one is skipped and counted.

    ``first`` says when to tick first after a given time [s, monotonic], or None for one period later.

    Attributes:
        deadline: when the tick under way was due [s, monotonic].
    """

    def __init__(self, period: float, first: Callable[[float], float | None] | None = None) -> None:
        self._period = round(period * 1e9)
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
            time.sleep((self._next - now) * 1e-9)
        self.deadline = self._next * 1e-9
        self._next += self._period
        return time.monotonic_ns() * 1e-9

    def shift(self, seconds: float) -> None:
        """Moves all deadlines to come, to bring the ticks in phase with the robot's states."""
        self._next += round(seconds * 1e9)


class ClockPacer:
    """Deadlines on a clock that someone else advances (/clock). When that clock jumps back, deadlines start anew."""

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


class Loop:
    """Calls ``tick(now)`` in a thread of its own whenever the pacer says so.

    Garbage collection costs spikes of 20 ms, so it is off in between: what exists is frozen at the start, and young objects
    are collected every few hundred ticks, after the tick's work.

    Args:
        tick: must be quick; an exception in it ends the loop.
        failed: called in the loop's thread with that exception.
        priority: SCHED_FIFO priority, 0 for none.
    """

    _COLLECT_EVERY = 500

    def __init__(
        self,
        pacer: Pacer,
        tick: Callable[[float], None],
        failed: Callable[[Exception], None],
        priority: int = 0,
    ) -> None:
        self._pacer = pacer
        self._tick = tick
        self._failed = failed
        self._priority = priority
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self.priority_refused = ""

    def start(self) -> None:
        """Begins to tick."""
        self._thread.start()

    def stop(self, timeout: float = 1.0) -> bool:
        """Ends the loop; False if its tick hangs for longer than ``timeout`` [s]. Also from within the loop."""
        self._ending.set()
        if threading.current_thread() is not self._thread and self._thread.ident is not None:
            self._thread.join(timeout)
        return not self._thread.is_alive()

    def _run(self) -> None:
        self.priority_refused = set_priority(0, self._priority)
        gc.collect()
        gc.freeze()
        gc.disable()
        try:
            self._pacer.start()
            ticks = 0
            while not self._ending.is_set():
                now = self._pacer.wait()
                if now is None or self._ending.is_set():
                    continue
                self._tick(now)
                ticks += 1
                if ticks % self._COLLECT_EVERY == 0:
                    gc.collect(1)
        except Exception as error:
            self._failed(error)
        finally:
            gc.enable()
            gc.unfreeze()


def reset_priority(thread_id: int) -> None:
    """Gives a thread (0: the calling one) the normal scheduling back."""
    os.sched_setscheduler(thread_id, os.SCHED_OTHER, os.sched_param(0))


def set_priority(thread_id: int, priority: int) -> str:
    """Gives a thread (0: the calling one) the SCHED_FIFO ``priority``; returns why not, or an empty text."""
    if priority <= 0:
        return ""
    try:
        os.sched_setscheduler(thread_id, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return f"SCHED_FIFO {priority} was refused ({error.strerror}); allow it with 'ulimit -r {priority}' or CAP_SYS_NICE"
    return ""
