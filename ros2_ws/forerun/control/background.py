"""Work beside the loop: one job at a time, its result collected later, its errors and its hanging kept away from the loop."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from forerun.control.rights import reset_priority, set_affinity, set_priority

Job = Callable[[], Any]

_HANGS = 5.0
"""A job that takes longer [s] hangs; a busy machine alone does not delay one for so long."""
_ABANDONED = 3
"""Hanging threads that are left behind before no further job is taken: each holds a core and the job's memory."""


class Background(Protocol):
    """Takes one job at a time, from one thread."""

    @property
    def busy(self) -> bool:
        """Whether a job is still at work, so that no other can be submitted."""
        ...

    @property
    def hangs(self) -> bool:
        """Whether the job at work hangs; ``abandon`` gives it up."""
        ...

    def submit(self, job: Job) -> None:
        """Starts ``job``; only while not ``busy``. It must not raise."""
        ...

    def result(self) -> Any:
        """What the last job returned, once; None while there is nothing (yet)."""
        ...

    def abandon(self) -> None:
        """Gives the job at work up; its result will never be seen."""
        ...

    def close(self) -> None:
        """Ends it; does not wait for the job at work."""
        ...


class InlineBackground:
    """Works in ``submit``: for lockstep, where the same run must give the same ticks."""

    busy = False
    hangs = False

    def __init__(self) -> None:
        self._result: Any = None

    def submit(self, job: Job) -> None:
        self._result = job()

    def result(self) -> Any:
        result, self._result = self._result, None
        return result

    def abandon(self) -> None:
        """Nothing is ever at work."""

    def close(self) -> None:
        """Nothing to end."""


class BackgroundThread:
    """Works in a thread of its own.

    Where the loop runs with real-time priority the thread has the lowest one: above all ordinary processes, one of which could
    otherwise suspend it while it holds the interpreter, and below everything else that asked for priority. It runs on the cores
    of the thread that makes the object.

    Args:
        priority: SCHED_FIFO priority of the loop, 0 for none.
    """

    _since: float | None

    def __init__(self, priority: int = 0) -> None:
        self._priority = priority
        self._abandoned = 0
        self._cores = sorted(os.sched_getaffinity(0))
        self._start()

    @property
    def busy(self) -> bool:
        return self._since is not None or self._abandoned >= _ABANDONED

    @property
    def hangs(self) -> bool:
        return self._since is not None and time.monotonic() - self._since > _HANGS

    def submit(self, job: Job) -> None:
        self._since = time.monotonic()
        self._jobs.put(job)

    def result(self) -> Any:
        try:
            result = self._results.get_nowait()
        except queue.Empty:
            return None
        self._since = None
        return result

    def abandon(self) -> None:
        # A thread cannot be killed. It keeps its queues, so that what it says one day reaches nobody.
        self._jobs.put(None)
        self._abandoned += 1
        self._start()

    def close(self) -> None:
        self._jobs.put(None)

    def _start(self) -> None:
        self._since = None
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._results: queue.SimpleQueue[Any] = queue.SimpleQueue()
        threading.Thread(target=self._work, args=(self._jobs, self._results), name="shadow", daemon=True).start()

    def _work(self, jobs: queue.SimpleQueue[Job | None], results: queue.SimpleQueue[Any]) -> None:
        # A thread begins with the priority and the cores of the one that made it, which may be the loop's. A refusal is the
        # loop's to report: it asks for more.
        reset_priority(0)
        set_affinity(0, self._cores)
        set_priority(0, min(self._priority, 1))
        while (job := jobs.get()) is not None:
            results.put(job())
