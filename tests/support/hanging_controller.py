"""A controller whose loop hangs from SIGUSR1 on: a driver call that never returns, say."""

from __future__ import annotations

import signal
import sys
import threading
import time

from forerun.control.controller import Controller
from forerun.control.ticks import Tick
from forerun.nodes.controller import main

_sound = Controller.tick
_told = threading.Event()
signal.signal(signal.SIGUSR1, lambda number, frame: _told.set())


def _tick(self: Controller, now: float, spent: float = 0.0) -> Tick:
    tick = _sound(self, now, spent)
    if _told.is_set():
        time.sleep(3600.0)
    return tick


Controller.tick = _tick  # type: ignore[method-assign]
sys.exit(main())
