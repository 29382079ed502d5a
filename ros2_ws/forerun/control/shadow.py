"""A candidate runs beside the running bundle: it plans for the same ticks, and nothing of it reaches the robot.

What is checked, over ``shadow_ticks`` ticks in which the running bundle planned as well:

- every plan is finite and of the right shape (one that is not refuses the candidate);
- 95 % of the plans fit into the tick's budget. What counts is the processor time of the thread that computed the plan (a
  bundle computes in one thread): the shadow gives way to the running bundle, so its time on the clock would be unfair;
- what the controller would not have executed (a predicted breach of limits, too much disagreement) is no more frequent than
  with the running bundle, give or take 2 % of the ticks;
- the prediction error on the live stream is not worse: at most ``tolerance`` times the running one's, and a floor of 0.01
  standard deviations so that two near perfect models, or a robot at rest, tell nobody apart.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, replace

import numpy as np

from forerun.control.limits import Limits
from forerun.control.live_error import Comparison, LiveRows, incomparable
from forerun.control.planning import Request, decide, disagrees, unusable
from forerun.control.safety import predicted_breach
from forerun.grid import LiveGrid
from forerun_models.bundle import Bundle, Decision

FLOOR = 0.01
"""Prediction errors that are this near, in standard deviations of the training states, are not told apart."""
_SLOW = 0.05
_ODD = 0.02


@dataclass(frozen=True)
class SwapSettings:
    """How a bundle takes over while the robot moves.

    Attributes:
        shadow_ticks: ticks that a candidate runs as a shadow; 0 for none, it takes over at once.
        watch_ticks: ticks after the take-over in which the bundle before is still compared with; 0 for none.
        tolerance: prediction error that a candidate may have, as a multiple of the running bundle's.
        patience: seconds in which the shadow ticks must come together while the robot is not stopped.
    """

    shadow_ticks: int = 100
    watch_ticks: int = 500
    tolerance: float = 1.1
    patience: float = 30.0


@dataclass(frozen=True)
class Rehearsal:
    """One tick of the shadow: the plan for ``request`` took ``seconds`` of processor time.

    ``failed`` says what refuses the candidate at once, ``odd`` why its plan would not have been executed, ``running_odd``
    whether that of the running bundle was not either.
    """

    request: Request
    decision: Decision | None
    seconds: float
    failed: str
    odd: str
    running_odd: bool


class Shadow:
    """The trial of one candidate. Everything but ``rehearse`` belongs to the loop.

    Args:
        candidate, running: bundles.
        limits: that would hold for the candidate.
        settings: of the swap.
        budget: seconds that a plan may take.
        seed: of the candidate's noise.
        rows: the live stream.
    """

    def __init__(
        self,
        candidate: Bundle,
        running: Bundle,
        limits: Limits,
        settings: SwapSettings,
        budget: float,
        seed: int,
        rows: LiveRows,
    ) -> None:
        self.candidate = candidate
        self.running = running
        self.limits = limits
        self.incomparable = incomparable(candidate, running)
        self.comparison = None if self.incomparable else Comparison(candidate, running, rows, settings.shadow_ticks)
        self.ticks = 0
        self.waited = 0.0
        self._settings = settings
        self._budget = budget
        self._random = np.random.default_rng(seed)
        self._seconds: list[float] = []
        self._odd = self._running_odd = self._slow = 0
        self._last_odd = ""
        self._failed = ""
        self.forget()

    def forget(self) -> None:
        """The history begins anew, and with it the candidate's carry."""
        self.carry, self.carried_at = self.candidate.start(), math.nan

    @property
    def rehearsed(self) -> bool:
        """Whether enough ticks came together."""
        return self.ticks >= self._settings.shadow_ticks

    def request(self, asked: Request, grid: LiveGrid) -> Request:
        """What the candidate is asked, given what the running bundle was."""
        manifest, start = self.candidate.manifest, asked.start
        history, missing = start.history[-manifest.history :], manifest.history - len(start.history)
        if missing > 0:
            history = np.concatenate([grid.history(grid.newest)[-manifest.history :][:missing], history])
        start = replace(start, history=history)
        if len(start.commands) and not self.candidate.has_model:
            # It cannot be predicted forward (forerun.control.delay), as little as if it were running.
            start = replace(start, commands=start.commands[:0], delay=manifest.period)
        return replace(
            asked,
            bundle=self.candidate,
            start=start,
            noise=self._random.standard_normal(manifest.noise_size, dtype=np.float32),
            elapsed=0.0 if math.isnan(self.carried_at) else max(start.acts - self.carried_at, 0.0),
            carry=self.carry,
        )

    def rehearse(self, request: Request, running_odd: bool) -> Rehearsal:
        """Plans, and looks at the plan. For another thread."""
        begin = time.thread_time()
        reply = decide(request)
        seconds = time.thread_time() - begin
        decision = reply.decision
        if decision is None:
            return Rehearsal(request, None, seconds, f"the planner failed: {reply.error}", "", running_odd)
        failed = unusable(decision, self.candidate.manifest)
        return Rehearsal(request, decision, seconds, failed, "" if failed else self._odd_about(decision), running_odd)

    def _odd_about(self, decision: Decision) -> str:
        if odd := disagrees(decision, self.candidate, self.limits.allowed_disagreement):
            return f"its {odd}"
        if not decision.predicted.size:
            return ""
        found = predicted_breach(self.limits, decision.predicted[: self.limits.max_misses + 1])
        return found.reason if found is not None else ""

    def take(self, rehearsal: Rehearsal) -> None:
        """Counts one tick."""
        self.ticks += 1
        self._seconds.append(rehearsal.seconds)
        self._slow += rehearsal.seconds > self._budget
        self._failed = self._failed or rehearsal.failed
        self._odd += bool(rehearsal.odd)
        self._running_odd += rehearsal.running_odd
        self._last_odd = rehearsal.odd or self._last_odd
        if rehearsal.decision is not None:
            self.carry, self.carried_at = rehearsal.decision.carry, rehearsal.request.start.acts

    @property
    def refused(self) -> str:
        """Why the candidate may not take over, with figures; empty as long as nothing speaks against it."""
        wanted = self._settings.shadow_ticks
        if self._failed:
            return f"shadow tick {self.ticks} of {wanted}: {self._failed}"
        if self._slow > _SLOW * wanted:
            return (
                f"too slow: {self._slow} of {self.ticks} plans took more than the {1e3 * self._budget:.3g} ms that a tick has "
                f"for them (95 of 100 must fit; median {1e3 * float(np.median(self._seconds)):.3g} ms)"
            )
        if self._odd - self._running_odd > _ODD * wanted:
            return (
                f"{self._odd} of {self.ticks} plans would not have been executed, {self._running_odd} of the running bundle's; "
                f"the last one: {self._last_odd}"
            )
        if self.waited > self._settings.patience:
            return f"only {self.progress} came together in {self._settings.patience:g} s"
        if self.comparison is not None and self._compared and self.comparison.errors.worse(self._settings.tolerance, FLOOR):
            return (
                f"its prediction error is worse: {self.comparison.errors}, the first figure may be {self._settings.tolerance:g} "
                f"times the second plus {FLOOR:g} (in standard deviations of the training states)"
            )
        return ""

    @property
    def passed(self) -> bool:
        """Whether it may take over: all ticks are there and ``refused`` is empty."""
        return self.rehearsed and self._compared and not self.refused

    @property
    def progress(self) -> str:
        """How far the trial is."""
        text = f"{self.ticks} of {self._settings.shadow_ticks} shadow ticks"
        return text if self.comparison is None else f"{text} and {self.comparison.seen} of {self._needed} windows"

    @property
    def findings(self) -> str:
        """What was measured."""
        slowest = 1e3 * float(np.percentile(self._seconds, 95))
        timing = f"95 % of {self.ticks} plans took at most {slowest:.3g} of {1e3 * self._budget:.3g} ms"
        if self.comparison is None:
            return f"{timing}; prediction error not compared: {self.incomparable}"
        return f"{timing}; prediction error {self.comparison.errors}"

    @property
    def _needed(self) -> int:
        # Interrupted streams have fewer windows than ticks.
        return max(self._settings.shadow_ticks // 2, 1)

    @property
    def _compared(self) -> bool:
        return self.comparison is None or (self.rehearsed and self.comparison.seen >= self._needed)
