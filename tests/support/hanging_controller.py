"""A controller whose loop hangs half a second after its first command: a driver call that never returns, say."""

from __future__ import annotations

import sys
import time

from forerun.control.controller import Controller
from forerun.control.ticks import Tick, Verdict
from forerun.nodes.controller import main

_sound = Controller.tick
_ticks = 0


def _tick(self: Controller, now: float, spent: float = 0.0) -> Tick:
    global _ticks
    tick = _sound(self, now, spent)
    _ticks += tick.verdict is Verdict.PLAN
    if _ticks > 25:
        time.sleep(3600.0)
    return tick


Controller.tick = _tick  # type: ignore[method-assign]
sys.exit(main())
