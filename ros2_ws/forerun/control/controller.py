"""One tick of control: prepare, plan, validate, fall back.

- **Prepare**: take the states that arrived; is the newest one fresh, finite, within the robot's limits?
- **Plan**: ask the bundle for a decision that starts when its first command will act (plans.py, delay.py), once a control
  period; where commands are sent more often than that, the ticks in between go on in the plan.
- **Validate**: apart from planning; is the plan finite, its disagreement allowed, what it predicts within the limits?
- **Fall back**: a tick without a plan uses the right slice of the last one, up to the thresholds (thresholds.py); then, and
  whenever the state cannot be trusted, the safe action. Whatever is sent passes the command and slew limits.

Every tick's verdict and its reason are in its ``Tick``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forerun.control import safety
from forerun.control.background import Background, InlineBackground
from forerun.control.bounds import Bounds
from forerun.control.delay import Compensation
from forerun.control.limits import Limits, SafetySettings, Vector
from forerun.control.live_error import SPARE_ROWS
from forerun.control.memory import Memory
from forerun.control.planning import Planner
from forerun.control.plans import Plans
from forerun.control.settings import Settings
from forerun.control.sight import Sight
from forerun.control.states import Overheard, Refusal, State
from forerun.control.succession import Succession, refuse_other_kind
from forerun.control.thresholds import Thresholds
from forerun.control.ticks import Tick, Verdict
from forerun.control.watch import StateWatch
from forerun_models.bundle import Bundle
from forerun_sim.errors import InputError


class Controller:
    """Decides; knows neither threads, clocks nor ROS.

    ``observe``, ``refuse``, ``overhear``, ``set_goal``, ``offer``, ``offer_limits``, ``request_reset`` and the emergency stop may
    be used from any thread; everything else belongs to the loop.

    Args:
        bundle: what decides. Its limits, tightened by ``settings.safety``, hold for every bundle that follows.
        planner: computes the decisions.
        stop: outlives the controller where it is given.
        background: where candidates are tried; within ``rehearse`` if it is not given.

    Raises:
        InputError: the settings do not fit the bundle.
    """

    _last: Vector | None

    def __init__(
        self,
        bundle: Bundle,
        settings: Settings,
        planner: Planner,
        stop: safety.EmergencyStop | None = None,
        background: Background | None = None,
    ) -> None:
        self._settings = settings
        self._bounds = Bounds(bundle.manifest, settings.safety)
        self._inbox: deque[State | Refusal | Overheard] = deque(maxlen=4096)
        self.sight = Sight()
        self._goal: NDArray[np.float32] = bundle.manifest.goal_default.astype(np.float32)
        self._reset_wanted = False
        self.bundle = bundle
        self.previous: Bundle | None = None
        self.limits = self._bounds.present
        self.swaps = 0
        self.stop = stop or safety.EmergencyStop()
        self._thresholds = Thresholds()
        self.succession = Succession(settings.swap, background or InlineBackground(), settings.budget, settings.seed)
        manifest = bundle.manifest
        self.states = StateWatch(self._bounds.widest, manifest.velocity_limit, manifest.period)
        self._memory = Memory(manifest.period, self.limits, manifest.history + SPARE_ROWS)
        self.timing = Compensation(settings.compensate_delay, self._command_delay, settings.budget * manifest.period)
        self._plans = Plans(planner, self.timing, self._thresholds, settings.budget)
        self.begin()

    # From any thread ---------------------------------------------------------------------------------------------------

    def observe(self, state: State) -> None:
        """A state has arrived."""
        self._inbox.append(state)

    def refuse(self, reason: str) -> None:
        """A message arrived that cannot be used as a state: the robot stops until one that can."""
        self._inbox.append(Refusal(reason))

    def overhear(self, time: float, command: Vector) -> None:
        """In a dry run somebody else commands the robot; the history needs what they sent."""
        self._inbox.append(Overheard(time, command))

    def set_goal(self, goal: Sequence[float]) -> None:
        """The goal [G] from the next tick on.

        Raises:
            InputError: wrong length, or not finite.
        """
        names = self.bundle.manifest.goal_names
        values = np.asarray(goal, dtype=np.float32).reshape(-1)
        if len(values) != len(names):
            raise InputError(
                f"a goal of {len(values)} numbers; task '{self.bundle.manifest.task}' takes: {', '.join(names) or 'none'}"
            )
        if not np.isfinite(values).all():
            raise InputError(f"goal '{names[int(np.argmin(np.isfinite(values)))]}' is not finite")
        self._goal = values

    def offer(self, bundle: Bundle) -> None:
        """A loaded bundle that takes over between two ticks, once it has proven itself as a shadow.

        Raises:
            InputError: it does not fit the running one, or was rolled back; the running one goes on.
        """
        refuse_other_kind(self.bundle, bundle)
        Limits.of(bundle.manifest).within(self._bounds.wanted)
        self.succession.propose(bundle)

    def rollback(self) -> Bundle:
        """The bundle before the running one, which takes over again at the next tick.

        Raises:
            InputError: there is none.
        """
        if self.previous is None:
            raise InputError("there is no earlier bundle to go back to")
        self.succession.return_to(self.previous)
        return self.previous

    def offer_limits(self, settings: SafetySettings) -> None:
        """Other safety parameters, from the next tick on; they tighten the first bundle's limits, as those at the start did.

        Raises:
            InputError: they are looser than that bundle's, or leave the running one no room; the present ones stay.
        """
        self._bounds.offer(settings, self.bundle.manifest)

    def check_limits(self, settings: SafetySettings) -> None:
        """Raises as ``offer_limits`` would."""
        self._bounds.check(settings, self.bundle.manifest)

    def request_reset(self) -> str:
        """Starts anew from the next tick on: stop released, history, plan and carry forgotten. Returns why not, or nothing."""
        if not self.stop.reset():
            return "the emergency stop is pressed; release it first"
        self._reset_wanted = True
        self.succession.pardon()
        return ""

    # In the loop -------------------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> str:
        """Why the robot stands until ``~/reset``; empty while it may move."""
        return "emergency stop" if self.stop.latched else self._thresholds.latched

    @property
    def misses(self) -> int:
        """Ticks in a row without a plan."""
        return self._thresholds.misses

    def begin(self) -> None:
        """Forgets everything but the bundle and a latched stop, as when the robot was elsewhere in the meantime."""
        self._inbox.clear()
        self._last = None
        self._now, self._sent_at, self._ticked = -math.inf, math.nan, math.nan
        self._thresholds.begin()
        self._start_anew(math.nan)

    def sent(self, time: float, command: Vector) -> None:
        """The command that was sent, and when; from when it acts on it is the history's command under way."""
        self.withheld(time, command)
        self._memory.add_command(self.timing.acting(time), command)

    def withheld(self, time: float, command: Vector) -> None:
        """The command that would have been sent, and when, had this not been a dry run."""
        self._last, self._sent_at, self._ticked = command, time, self._now
        self._plans.sent(time)

    def tick(self, now: float, spent: float = 0.0) -> Tick:
        """The command for ``now`` [s], of whose budget ``spent`` [s] are gone already."""
        if self._reset_wanted:
            self._reset_wanted = False
            self._forget(now)
        self._let_go(now)
        self._take_limits()
        self._take_over()
        self._plans.hear(self.bundle, self.limits, now)
        fault = self._prepare(now)
        if fault:
            return self._fall_back(now, fault)
        problem = self._plans.ask(
            self.bundle,
            self.limits,
            self._memory,
            now=now,
            spent=spent,
            goal=self._goal,
            random=self._random,
            image=self.sight.picture,
        )
        return self._validate(now, problem)

    def rehearse(self, tick: Tick) -> None:
        """Uses the time that ``tick`` left, once its command has been sent: a candidate plans for the same tick."""
        self._widen_grid()
        self.succession.after(
            tick.time,
            self._plans.answered,
            planned=tick.verdict is Verdict.PLAN,
            stopped=bool(self.stopped),
            grid=self._memory.grid,
            running=self.bundle,
            outer=self._bounds.present,
        )

    def wind_down(self, now: float) -> tuple[Vector | None, bool]:
        """The next command on the way to standing still for good, and whether it is the last.

        Ends at zero effort or velocity and at the last position: nobody will be there to damp any more. Takes no further
        states, so that damping ends, too; for any thread once the loop has ended.
        """
        self._now = now
        if self._last is None:
            self._last = safety.start_command(self.limits, None)
        target = safety.safe_target(self.limits, self._last, self.states.velocity(now, self.limits.stale_after))
        if target is None or self._last is None:
            return None, True
        command = self._limited(now, target, self._last)
        rest = np.where(self.limits.position_commanded, command, 0.0)
        rest = np.clip(rest, self.limits.command_lower, self.limits.command_upper)
        return command, bool((command == rest).all())

    # Prepare -----------------------------------------------------------------------------------------------------------

    def _prepare(self, now: float) -> str:
        """Why the state cannot be planned from, or nothing."""
        self._take_states(now)
        state = self.states.newest
        if state is None:
            return self.states.refused or "no state has arrived yet"
        if self._last is None:
            self._last = safety.start_command(self.limits, state.position)
            if self._last is not None:
                self._memory.add_command(now, self._last)
        fault, age = self.states.refused, now - state.time
        if not fault and age > self.limits.stale_after:
            fault = f"the newest state is {age:.3f} s old, allowed are {self.limits.stale_after:g} s"
        fault = fault or self.sight.problem(self.bundle, now, self.limits.stale_after)
        if fault:
            self._thresholds.no_state(fault, self.limits)
            return fault
        found = safety.breach(self.limits, state.position, state.velocity)
        if found is not None and found.outside:
            self._thresholds.latch(found.reason)
        return found.reason if found is not None else self.stopped

    def _take_states(self, now: float) -> None:
        if now < self._now:
            self._forget_history(now)  # the robot's clock was set back, or its simulator started anew
        self._now = now
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, Overheard):
                self._memory.add_command(self.timing.acting(item.time), item.command)
                continue
            state = self.states.judge(item, now, self.limits.stale_after)
            if state is not None and self.states.anew:
                self._forget_history(state.time)
            if state is not None and self._memory.add_state(state):
                self.states.accept(state)

    def _let_go(self, now: float) -> None:
        """After a pause of its own the controller begins where the robot's side went by itself: no effort, no velocity."""
        timeout = self.bundle.manifest.command_timeout
        if self._last is not None and now - self._sent_at > timeout:
            self._last = np.where(self.limits.position_commanded, self._last, 0.0)
            self._memory.add_command(self.timing.acting(self._sent_at + timeout), self._last)

    # Validate ----------------------------------------------------------------------------------------------------------

    def _validate(self, now: float, problem: str) -> Tick:
        """The command of the plan's row for now, or the safe action."""
        decision, row = self._plans.newest, self._plans.row(self.limits)
        step = row // self.limits.ticks_per_period
        fresh = not problem and step == 0
        ended = decision is None or row >= len(decision.plan)
        reason = problem or ("the last plan has come to its end" if ended else "the plan is late")
        if fresh:
            self._thresholds.good(self.limits)
        else:
            self._thresholds.no_plan(reason, self.limits)
        # Again: the emergency stop may have been pressed while the plan was computed.
        standing = self.stopped or self._thresholds.halted
        if decision is None or ended or standing:
            return self._fall_back(now, standing or reason)
        window = decision.predicted[step : step + self.limits.max_misses + 1]
        found = safety.predicted_breach(self.limits, window) if decision.predicted.size else None
        if found is not None:
            return self._fall_back(now, found.reason)
        wanted = decision.plan[row].astype(np.float64)
        request = self._plans.request
        assert self._last is not None and request is not None
        command = self._limited(now, wanted, self._last)
        verdict = Verdict.PLAN if fresh else Verdict.BRIDGED
        limited = bool((np.abs(command - wanted) > 1e-6).any())
        ahead = request.start.begins + (step + 1) * self.bundle.manifest.period - now
        return Tick(now, command, verdict, problem, self.states.newest, decision, step, ahead, limited)

    # Fall back ---------------------------------------------------------------------------------------------------------

    def _fall_back(self, now: float, reason: str) -> Tick:
        target, command = safety.safe_target(self.limits, self._last, self.states.velocity(now, self.limits.stale_after)), None
        if self._last is None and target is not None:
            self._last = safety.start_command(self.limits, None)
        if target is not None and self._last is not None:
            command = self._limited(now, target, self._last)
        state, cause = self.states.newest, self._thresholds.cause
        if self.stopped:
            return Tick(now, command, Verdict.STOPPED, self.stopped, state, cause=cause)
        verdict = Verdict.WAITING if state is None and not self.states.refused else Verdict.SAFE
        return Tick(now, command, verdict, reason, state, cause=cause)

    def _limited(self, now: float, wanted: Vector, last: Vector) -> Vector:
        # From tick to tick, not from publication to publication: a tick's computing time would shrink the next one's step.
        return safety.limit_command(self.limits, wanted, last, now - self._ticked)

    # Bundles and beginnings --------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """The plan of the bundle before stays, to bridge until this one's first is there."""
        heir = self.succession.due(self.bundle, self._bounds.present)
        if heir is None:
            return
        if self.previous is not None:
            self.succession.retired.append(self.previous)
        self.previous, self.bundle, self.limits = self.bundle, heir.bundle, heir.limits
        self._plans.carry_on(heir.carry, heir.carried_at)
        self.timing.renew(self._command_delay)
        self._widen_grid()
        self.swaps += 1

    def _widen_grid(self) -> None:
        self._memory.widen(self.succession.rows_needed(self.bundle) + SPARE_ROWS)

    def _take_limits(self) -> None:
        try:
            self.limits = self._bounds.take(self.bundle.manifest) or self.limits
        except InputError as error:
            # A reset alone does not help: the next tick says the same again.
            self._thresholds.latch(f"the safety parameters do not fit the bundle: {error}")

    @property
    def _command_delay(self) -> float:
        given = self._settings.command_delay
        return given if given >= 0 else self.bundle.manifest.command_delay

    def _forget(self, now: float) -> None:
        self._thresholds.reset()
        self._start_anew(now)

    def _start_anew(self, now: float) -> None:
        self.states.clear()
        self._random = np.random.default_rng(self._settings.seed)
        self._forget_history(now)

    def _forget_history(self, now: float) -> None:
        self.states.forget()
        self._memory.clear()
        if self._last is not None:
            self._memory.add_command(now, self._last)
        self.succession.forget()
        self._plans.forget(self.bundle)
