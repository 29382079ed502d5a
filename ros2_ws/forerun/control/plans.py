"""The plans that a controller asks for: the newest usable one, what the agent carries between them, and the row for now."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from forerun.control.delay import Compensation
from forerun.control.limits import Limits
from forerun.control.memory import Memory
from forerun.control.planning import Planner, Reply, Request, disagrees, unusable
from forerun.control.sight import Picture
from forerun.control.thresholds import Thresholds
from forerun_models.bundle import Bundle, Carry, Decision


class Plans:
    """Asks the running bundle for plans, and keeps the newest that can be used.

    Args:
        planner: computes them.
        timing: when a command acts, and how long a plan is expected to take.
        thresholds: told of plans that disagree, and of those that came.
        budget: the part of a tick for which a plan is waited for.
    """

    newest: Decision | None
    """What commands come from until the next plan; may be of the bundle before."""
    request: Request | None
    """What ``newest`` answers."""
    _asked: Request | None
    _forgotten: Request | None
    _fresh: Request | None

    def __init__(self, planner: Planner, timing: Compensation, thresholds: Thresholds, budget: float) -> None:
        self._planner = planner
        self._timing = timing
        self._thresholds = thresholds
        self._budget = budget
        self._acts = math.nan
        self._asked = None

    def forget(self, bundle: Bundle) -> None:
        """Begins anew with ``bundle``; a plan still under way does not count any more."""
        self.newest = self.request = self._fresh = None
        self._forgotten = self._asked
        self.carry_on(bundle.start(), math.nan)

    def carry_on(self, carry: Carry, carried_at: float) -> None:
        """The running bundle's carry, and the moment [s] at which the plan that left it acts (NaN: none did)."""
        self._carry, self._carried_at = carry, carried_at

    def sent(self, time: float) -> None:
        """A command was sent at ``time`` [s]: the first one after a plan came tells how long that takes."""
        if self._fresh is not None:
            self._timing.send_delay.add(time - self._fresh.time)
            self._fresh = None

    @property
    def answered(self) -> Request | None:
        """The newest request if its plan has come, or failed to."""
        return self._asked if self._asked is not self._forgotten and not self._planner.busy else None

    def hear(self, bundle: Bundle, limits: Limits, now: float) -> None:
        """Takes a plan that came after its tick's time."""
        late = self._planner.reply(0.0)
        if late is not None:
            self._accept(late, bundle, limits, now)

    def ask(
        self,
        bundle: Bundle,
        limits: Limits,
        memory: Memory,
        *,
        now: float,
        spent: float,
        goal: NDArray[np.float32],
        random: np.random.Generator,
        image: Picture | None,
    ) -> str:
        """Asks for a plan if it is time, and accepts it if it comes in time; returns what went wrong, or nothing."""
        self._acts = self._timing.acting(now)
        if self._planner.busy:
            return self._overdue(limits, "the planner is still at an earlier tick")
        if not self._due(bundle, limits, now):
            return ""
        start = self._timing.start(memory.grid, now, bundle)
        self._asked = Request(
            bundle=bundle,
            time=now,
            start=start,
            goal=goal,
            noise=random.standard_normal(bundle.manifest.noise_size, dtype=np.float32),
            elapsed=0.0 if math.isnan(self._carried_at) else max(start.acts - self._carried_at, 0.0),
            carry=self._carry,
            image=image,
        )
        self._planner.submit(self._asked)
        patience = self._budget * limits.period
        if self._timing.expected > patience:
            # It will not be there in this tick: waiting would only make the command late.
            patience = 0.0
        else:
            self._acts = start.acts
        reply = self._planner.reply(max(patience - spent, 0.0))
        return self._overdue(limits, "the plan is late") if reply is None else self._accept(reply, bundle, limits, now)

    def row(self, limits: Limits) -> int:
        """The newest plan's row for the moment at which this tick's command acts."""
        if self.request is None:
            return 0
        return max(round((self._acts - self.request.start.acts) / limits.period), 0)

    def _due(self, bundle: Bundle, limits: Limits, now: float) -> bool:
        """Whether it is time for another plan: at every tick, or once a control period where commands come more often."""
        if limits.ticks_per_period == 1 or self._asked is None or self._asked is self._forgotten:
            return True
        return now - self._asked.time > bundle.manifest.period - limits.period / 2

    def _overdue(self, limits: Limits, problem: str) -> str:
        """``problem``, unless commands come more often than plans and the last plan still has some for this control period."""
        ticks = limits.ticks_per_period
        return "" if ticks > 1 and self.newest is not None and self.row(limits) < ticks else problem

    def _accept(self, reply: Reply, bundle: Bundle, limits: Limits, now: float) -> str:
        """Keeps the plan of a reply if it can be used; returns what is wrong with it."""
        if reply.request is self._forgotten:
            return "the plan is from before the reset"
        own = reply.request.bundle is bundle
        problem = reply.error or unusable(reply.decision, reply.request.bundle.manifest)
        if problem:
            if own:
                self.carry_on(bundle.start(), math.nan)
            return f"the planner failed: {problem}"
        assert reply.decision is not None
        if own:
            self.carry_on(reply.decision.carry, reply.request.start.acts)
        if odd := disagrees(reply.decision, reply.request.bundle, limits.allowed_disagreement):
            self._thresholds.disagreed(f"the plan's {odd}", limits)
            return f"the plan's {odd}"
        if own or self.newest is None:
            self.newest, self.request = reply.decision, reply.request
            self._fresh = reply.request if own else None
            if self._timing.acting(now) < reply.request.start.acts + len(reply.decision.plan) * limits.period:
                self._thresholds.planned()
        return ""
