"""The control loop's thread."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable

from forerun.control.pacers import Pacer
from forerun.control.rights import Rights, wake_precisely


class Loop:
    """Calls ``tick(now)`` in a thread of its own whenever the pacer says so.

    Garbage collection costs spikes of 20 ms, so it is off in between: what exists is frozen at the start, and young objects
    are collected every few hundred ticks, after the tick's work.

    Args:
        tick: must be quick; an exception in it ends the loop.
        failed: called in the loop's thread with that exception.
        rights: what the thread asks the operating system for.
        refused: called in the loop's thread with each right that was not given, and what to do about it.
    """

    _COLLECT_EVERY = 500

    def __init__(
        self,
        pacer: Pacer,
        tick: Callable[[float], None],
        failed: Callable[[Exception], None],
        rights: Rights | None = None,
        refused: Callable[[str], None] = lambda reason: None,
    ) -> None:
        self._pacer = pacer
        self._tick = tick
        self._failed = failed
        self._rights = rights or Rights()
        self._refused = refused
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)

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
        try:
            for reason in self._rights.claim(0):
                self._refused(reason)
            wake_precisely()
            gc.collect()
            gc.freeze()
            gc.disable()
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
