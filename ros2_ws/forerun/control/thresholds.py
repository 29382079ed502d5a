"""Thresholds: how much may go wrong in a row before the robot stops, and how it moves again.

Three things are watched: ticks without a usable state (``stale``), ticks without a plan in time (``misses``), and plans about
which the model's members disagree too much (``disagreement``). The first two share one count, of ticks in a row without a plan:
neither hides the other, and what happens in the tick that exceeds the threshold is the cause. Below its threshold each is
passed over: the safe action for as long as there is no state, a slice of the last plan where there is no good one. Above it the
robot stands by its safe action, either until ``~/reset`` (``latch``) or until ``recover_after`` ticks in a row were good
(``resume``).
"""

from __future__ import annotations

from forerun.control.limits import Limits

STALE, MISSES, DISAGREEMENT = "stale", "misses", "disagreement"


class Thresholds:
    """Counts and remembers; all in the loop's thread.

    Attributes:
        latched: why the robot stands until ``~/reset``; empty while it may move.
        halted: why it stands until enough ticks in a row were good; empty while it may move.
        cause: which of the three made it stand, empty where none did.
    """

    def __init__(self) -> None:
        self.cause = ""
        self.reset()

    def reset(self) -> None:
        """Begins anew, also after a latched stop."""
        self.latched = ""
        self.begin()

    def begin(self) -> None:
        """Begins to count anew; a latched stop stays."""
        self.halted = ""
        self.cause = self.cause if self.latched else ""
        self._misses = self._disagreeing = self._good = self._odd = 0

    @property
    def misses(self) -> int:
        """Ticks in a row without a plan."""
        return self._misses

    def latch(self, reason: str) -> None:
        """The robot stands until ``~/reset``; the first reason stays."""
        self.latched = self.latched or reason

    def no_state(self, reason: str, limits: Limits) -> None:
        """A tick without a usable state."""
        self._good = 0
        self._misses += 1
        if self._misses > limits.max_misses * limits.ticks_per_period:
            self._exceeded(STALE, reason, limits)

    def no_plan(self, reason: str, limits: Limits) -> None:
        """A tick without a plan of its own; those whose plan disagreed are counted as that alone."""
        self._good = 0
        if self._odd:
            self._odd -= 1
            return
        self._misses += 1
        if self._misses > limits.max_misses * limits.ticks_per_period:
            self._exceeded(MISSES, f"{self._misses} ticks in a row without a plan: {reason}", limits)

    def disagreed(self, reason: str, limits: Limits) -> None:
        """A plan that must not be executed for its disagreement."""
        # A plan is for a control period: as many ticks would have been its.
        self._good, self._odd = 0, limits.ticks_per_period
        self._disagreeing += 1
        if self._disagreeing > limits.max_disagreeing:
            self._exceeded(DISAGREEMENT, f"{self._disagreeing} plans in a row disagree: {reason}", limits)

    def planned(self) -> None:
        """A plan that can be used, in time or not."""
        self._misses = self._disagreeing = self._odd = 0

    def good(self, limits: Limits) -> None:
        """A tick with a state and with a plan in time: enough of them in a row end a stop that may end by itself."""
        self._good += 1
        if self.halted and self._good >= limits.recover_after * limits.ticks_per_period:
            self.halted = self.cause = ""

    def _exceeded(self, cause: str, reason: str, limits: Limits) -> None:
        if cause in limits.latching:
            self.cause = self.cause if self.latched else cause
            self.latch(reason)
        elif not self.halted:
            self.cause = cause
            self.halted = f"{reason}; the robot moves again after {limits.recover_after} good ticks in a row"
