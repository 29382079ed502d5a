"""Which bundle decides next: candidates become shadows, shadows take over, and the bundle before is kept to go back to.

- A candidate (``propose``) is tried as a shadow first (forerun.control.shadow). Of several in a row the newest counts; the
  shadow of the one before ends unfinished. The shadow counts ticks in which the running bundle planned: it waits while the
  controller is inactive or the robot stopped, for as long as that lasts, and otherwise for ``patience`` seconds at most.
- After the take-over the model before is asked about the same live stream for ``watch_ticks`` more windows. Where the new one
  is clearly worse over the newest of them (its error above the old one's by twice what a candidate may have) the old one
  takes over again by itself, and the new one is not accepted again until ``~/reset``.
- ``return_to`` (``~/rollback``) goes back at the next tick, without shadow or watch: it is the operator's word.

All changes happen between two ticks. The planning of shadows and the predictions happen in a ``Background``, which is given
work only once the tick's command has been sent.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass
from typing import Any

from forerun.control.background import Background
from forerun.control.limits import Limits
from forerun.control.live_error import Comparison, LiveRows, incomparable
from forerun.control.planning import Request
from forerun.control.shadow import FLOOR, Rehearsal, Shadow, SwapSettings
from forerun.grid import Floats, LiveGrid
from forerun_models.bundle import Bundle, Carry
from forerun_sim.errors import InputError

_BATCH = 25
"""Windows that are predicted in one go: one call of the model takes as many."""


@dataclass(frozen=True)
class Heir:
    """The bundle that takes over now, its limits, and the carry that it plans on with (``carried_at`` nan: it begins anew)."""

    bundle: Bundle
    limits: Limits
    carry: Carry
    carried_at: float


@dataclass(frozen=True)
class _Return:
    bundle: Bundle


@dataclass
class _Next:
    bundle: Bundle
    carry: Carry
    carried_at: float


@dataclass(frozen=True)
class _Outcome:
    shadow: Shadow | None
    rehearsal: Rehearsal | None
    errors: tuple[tuple[Comparison, Floats], ...]


def refuse_other_kind(running: Bundle, candidate: Bundle) -> None:
    """Raises InputError where the candidate is for another robot, other joints, another rate, other goals or another camera."""
    ours, theirs = running.manifest, candidate.manifest
    for key in ("robot", "joints", "actions", "interfaces", "rate", "command_rate", "goal_names"):
        if getattr(ours, key) != getattr(theirs, key):
            raise InputError(f"{candidate.path}: has {key} {getattr(theirs, key)}, the running bundle has {getattr(ours, key)}")
    if candidate.picture_shape is not None and (running.picture_shape, ours.camera) != (candidate.picture_shape, theirs.camera):
        raise InputError(
            f"{candidate.path}: acts by pictures of camera '{theirs.camera}', which the running bundle does not look at; "
            "configure the controller with it"
        )


class Succession:
    """``propose``, ``return_to``, ``refuse``, ``withdraw``, ``pardon`` and ``describe`` may be called from any thread; the rest
    belongs to the loop.

    Args:
        settings: of the swap.
        background: where shadows plan.
        share: of a period that a plan may take.
        seed: of the candidates' noise.

    Attributes:
        events: (kind, text) of what happened: shadow, swap, refused, rollback, dropped (a candidate that is no longer wanted).
            Whoever records them takes them out.
        retired: bundles that are no longer needed. Whoever has time empties it: to free one takes tens of milliseconds.
    """

    def __init__(self, settings: SwapSettings, background: Background, share: float, seed: int) -> None:
        self._settings = settings
        self._background = background
        self._share = share
        self._seed = seed
        self._inbox: deque[Bundle | _Return | str] = deque(maxlen=64)
        self._barred: deque[str] = deque(maxlen=64)
        self._candidate: Bundle | None = None
        self._shadow: Shadow | None = None
        self._watch: Comparison | None = None
        self._replaced: Bundle | None = None
        self._next: _Next | None = None
        self._rows: LiveRows | None = None
        self._answered: Request | None = None
        self.events: deque[tuple[str, str]] = deque(maxlen=1000)
        self.retired: deque[Bundle] = deque(maxlen=16)

    # From any thread ---------------------------------------------------------------------------------------------------

    def propose(self, bundle: Bundle) -> None:
        """A candidate.

        Raises:
            InputError: it was rolled back before.
        """
        if bundle.digest in self._barred:
            raise InputError(
                f"{bundle.path}: was rolled back because it predicted worse than the bundle before; ~/reset lets it in again"
            )
        self._inbox.append(bundle)

    def return_to(self, bundle: Bundle) -> None:
        """The operator wants the bundle before, at the next tick."""
        self._inbox.append(_Return(bundle))

    def withdraw(self, reason: str) -> None:
        """The candidate, if there is one, is no longer wanted."""
        self._inbox.append(reason)

    def refuse(self, reason: str) -> None:
        """A bundle was refused before it could become a candidate."""
        self.events.append(("refused", reason))

    def pardon(self) -> None:
        """Bundles that were rolled back may be proposed again."""
        self._barred.clear()

    def describe(self) -> dict[str, object]:
        """For diagnostics: the candidate and what is known about the prediction error."""
        shadow, candidate, watch = self._shadow, self._candidate, self._watch
        text = "none"
        if candidate is not None:
            text = f"{candidate.digest[:12]}: {shadow.progress if shadow is not None else 'waits for the robot to move'}"
        values: dict[str, object] = {"candidate": text}
        if shadow is not None and shadow.comparison is not None and shadow.comparison.seen:
            values["prediction error, candidate against running"] = str(shadow.comparison.errors)
        if watch is not None and watch.seen:
            values["prediction error since the swap, new against old"] = str(watch.errors)
        return values

    # In the loop -------------------------------------------------------------------------------------------------------

    def due(self, running: Bundle, outer: Limits) -> Heir | None:
        """The bundle that takes over between the last tick and the one to come, or None; ``outer`` limits hold for all."""
        while self._inbox:
            self._hear(self._inbox.popleft(), running)
        following, self._next = self._next, None
        if following is None or following.bundle is running:
            return None
        try:
            limits = Limits.of(following.bundle.manifest).within(outer)
        except InputError as error:
            # The outer ones have been tightened since the bundle was accepted.
            self._end_watch()
            self.events.append(("refused", f"{following.bundle.path}: {error}"))
            return None
        return Heir(following.bundle, limits, following.carry, following.carried_at)

    def after(
        self, now: float, asked: Request | None, *, planned: bool, stopped: bool, grid: LiveGrid, running: Bundle, outer: Limits
    ) -> None:
        """Uses the time until the next tick, once the command of the one at ``now`` [s] has been sent.

        Args:
            asked: what the running bundle was asked last and has answered; None if it has not.
            planned: whether its plan was executed.
            stopped: whether the robot stands until a reset.
            grid: the live stream, with ``rows_needed`` rows.
            running: the bundle that decides.
            outer: limits that hold for every bundle.
        """
        if self._candidate is None and self._watch is None:
            return
        self._collect(running)
        if self._rows is None:
            self._rows = LiveRows(running.manifest.period, running.manifest.state_size + running.manifest.action_size)
        self._rows.take(grid, now)
        self._keep_shadow(running, outer)
        if self._shadow is not None and not stopped:
            self._shadow.waited += running.manifest.tick_period
        asked, self._answered = asked if asked is not self._answered else None, asked or self._answered
        if not self._background.busy:
            self._submit(asked, grid, planned)
        elif self._background.hangs:
            self._background.abandon()
            if self._shadow is not None:
                self._refuse("its planner hangs")
        if self._shadow is not None and self._next is None:
            self._judge(self._shadow)

    def rows_needed(self, running: Bundle) -> int:
        """Rows of history that the running bundle, and the candidate, read."""
        candidate = self._candidate
        return max(running.manifest.history, candidate.manifest.history if candidate is not None else 0)

    def forget(self) -> None:
        """The history begins anew."""
        if self._rows is not None:
            self._rows.clear()
        if self._shadow is not None:
            self._shadow.forget()
        if self._next is not None:
            self._next.carry, self._next.carried_at = self._next.bundle.start(), math.nan

    def close(self) -> None:
        """Ends the background."""
        self._background.close()

    # Candidates --------------------------------------------------------------------------------------------------------

    def _hear(self, item: Bundle | _Return | str, running: Bundle) -> None:
        if isinstance(item, str):
            self._drop(item)
        elif isinstance(item, _Return):
            self._drop("the operator rolled back")
            self._end_watch()
            self._next = _Next(item.bundle, item.bundle.start(), math.nan)
            self.events.append(("rollback", f"{item.bundle.digest}: the operator returned to it"))
        elif item.digest == (self._next.bundle if self._next is not None else running).digest:
            self._drop("the running bundle was announced again")
        elif self._candidate is None or item.digest != self._candidate.digest:
            self._drop("a newer one was announced")
            if self._settings.shadow_ticks:
                self._candidate = item
                self.events.append(("shadow", f"{item.digest}: for {self._settings.shadow_ticks} ticks"))
            else:
                self._pass_on(item, running, item.start(), math.nan, "without a shadow")

    def _keep_shadow(self, running: Bundle, outer: Limits) -> None:
        """A candidate's shadow is compared with the bundle that runs, also where another has taken over meanwhile."""
        if self._candidate is None or (self._shadow is not None and self._shadow.running is running):
            return
        assert self._rows is not None
        try:
            limits = Limits.of(self._candidate.manifest).within(outer)
        except InputError as error:
            self._refuse(str(error))
            return
        budget = self._share * running.manifest.period
        self._shadow = Shadow(self._candidate, running, limits, self._settings, budget, self._seed, self._rows)

    def _judge(self, shadow: Shadow) -> None:
        if reason := shadow.refused:
            self._refuse(reason)
        elif shadow.passed:
            self._candidate = self._shadow = None
            self._pass_on(shadow.candidate, shadow.running, shadow.carry, shadow.carried_at, shadow.findings)

    def _refuse(self, reason: str) -> None:
        assert self._candidate is not None
        self._end_shadow("refused", f"{self._candidate.path} ({self._candidate.digest[:12]}): {reason}")

    def _drop(self, reason: str) -> None:
        if self._candidate is not None:
            self._end_shadow("dropped", f"{self._candidate.digest}: {reason}")

    def _end_shadow(self, kind: str, text: str) -> None:
        assert self._candidate is not None
        self.events.append((kind, text))
        self.retired.append(self._candidate)
        self._candidate = self._shadow = None

    def _pass_on(self, heir: Bundle, running: Bundle, carry: Carry, carried_at: float, findings: str) -> None:
        self._end_watch()
        self._next = _Next(heir, carry, carried_at)
        reason = "no watch is wanted" if not self._settings.watch_ticks else incomparable(heir, running)
        if not reason:
            self._rows = self._rows or LiveRows(heir.manifest.period, heir.manifest.state_size + heir.manifest.action_size)
            self._watch, self._replaced = Comparison(heir, running, self._rows, self._span), running
        watched = f"not watched: {reason}" if reason else f"watched for {self._settings.watch_ticks} ticks"
        self.events.append(("swap", f"{heir.digest}: {findings}; {watched}"))

    # Watch -------------------------------------------------------------------------------------------------------------

    @property
    def _span(self) -> int:
        return min(max(self._settings.shadow_ticks, _BATCH), self._settings.watch_ticks)

    def _look_back(self, running: Bundle) -> None:
        """Rolls back where the newest windows say so; ends the watch at its end."""
        watch, replaced = self._watch, self._replaced
        if watch is None or replaced is None or watch.errors.windows < self._span:
            return
        tolerance = 2 * self._settings.tolerance - 1
        if watch.errors.worse(tolerance, 2 * FLOOR):
            text = (
                f"{running.digest[:12]} predicts worse since it took over: {watch.errors}; allowed are {tolerance:g} times the "
                f"second figure plus {2 * FLOOR:g} (in standard deviations of the training states)"
            )
            self._barred.append(running.digest)
            self._next = _Next(replaced, replaced.start(), math.nan)
            self.events.append(("rollback", f"{replaced.digest}: {text}"))
            self.events.append(("refused", f"rolled back: {text}; ~/reset lets it in again"))
            self._end_watch()
        elif watch.seen >= self._settings.watch_ticks:
            self._end_watch()

    def _end_watch(self) -> None:
        self._watch = self._replaced = None

    # Work --------------------------------------------------------------------------------------------------------------

    def _submit(self, asked: Request | None, grid: LiveGrid, planned: bool) -> None:
        assert self._rows is not None
        shadow, request = self._shadow, None
        if shadow is not None and asked is not None and not shadow.rehearsed:
            request = shadow.request(asked, grid)
        batches: list[tuple[Comparison, Any]] = []
        if shadow is not None and shadow.comparison is not None:
            windows = shadow.comparison.cut(self._rows, 1 if shadow.rehearsed else _BATCH)
            batches += [] if windows is None else [(shadow.comparison, windows)]
        if self._watch is not None:
            windows = self._watch.cut(self._rows, min(_BATCH, self._span))
            batches += [] if windows is None else [(self._watch, windows)]
        if request is not None or batches:
            self._background.submit(lambda: _work(shadow, request, not planned, batches))

    def _collect(self, running: Bundle) -> None:
        outcome: _Outcome | None = self._background.result()
        if outcome is None:
            return
        if outcome.rehearsal is not None and outcome.shadow is not None:
            outcome.shadow.take(outcome.rehearsal)
        for comparison, errors in outcome.errors:
            comparison.add(errors)
        if any(comparison is self._watch for comparison, _ in outcome.errors):
            self._look_back(running)


def _work(shadow: Shadow | None, request: Request | None, running_odd: bool, batches: list[tuple[Comparison, Any]]) -> _Outcome:
    rehearsal = shadow.rehearse(request, running_odd) if shadow is not None and request is not None else None
    return _Outcome(shadow, rehearsal, tuple((comparison, comparison.evaluate(windows)) for comparison, windows in batches))
