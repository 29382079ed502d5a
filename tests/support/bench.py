"""A controller on a bench, for tests of the control core."""

from __future__ import annotations

import numpy as np

from forerun.control.controller import Controller
from forerun.control.limits import SafetySettings
from forerun.control.planning import InlinePlanner, Planner
from forerun.control.settings import Settings
from forerun.control.shadow import SwapSettings
from forerun.control.states import State
from forerun.control.ticks import Tick
from forerun_models.bundle import Bundle

PERIOD = 0.02


class Bench:
    """A controller on a bench: time and states are what the test says."""

    def __init__(
        self,
        bundle: Bundle,
        safety: SafetySettings | None = None,
        planner: Planner | None = None,
        swap: SwapSettings | None = None,
    ) -> None:
        settings = Settings(safety=safety or SafetySettings(), swap=swap or SwapSettings(shadow_ticks=0))
        self.controller = Controller(bundle, settings, planner or InlinePlanner())
        self.now = 10.0
        self.sent: list[float] = []

    def state(self, *values: float, age: float = 0.001) -> None:
        """A state (positions, velocities) that was measured ``age`` before the next tick."""
        half = len(values) // 2
        time = self.now + PERIOD - age
        self.controller.observe(State(time, np.array(values[:half]), np.array(values[half:]), round(time * 1e9)))

    def tick(self) -> Tick:
        """The next tick; its command is sent."""
        self.now += PERIOD
        tick = self.controller.tick(self.now)
        if tick.command is not None:
            self.controller.sent(self.now, tick.command)
            self.sent.append(float(tick.command[0]))
        self.controller.rehearse(tick)
        return tick

    def run(self, ticks: int, *values: float) -> Tick:
        """That many ticks with the same state, by default at rest."""
        for _ in range(ticks):
            self.state(*(values or (0.0, 0.0, 0.0, 0.0)))
            last = self.tick()
        return last
