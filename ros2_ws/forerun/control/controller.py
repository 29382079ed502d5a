"""One tick of control: prepare, plan, validate, fall back.

- **Prepare**: take the states that arrived; is the newest one fresh, finite, within the robot's limits?
- **Plan**: ask the bundle for a decision on the history that ends now.
- **Validate**: apart from planning; is the plan finite, its disagreement allowed, what it predicts within the limits?
- **Fall back**: a tick without a plan uses the right slice of the last one, up to the thresholds (thresholds.py); then, and
  whenever the state cannot be trusted, the safe action. Whatever is sent passes the command and slew limits.

Every tick's verdict and its reason are in its ``Tick``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from forerun.control import safety
from forerun.control.limits import Limits, SafetySettings, Vector
from forerun.control.planning import Planner, Reply, Request
from forerun.control.states import State
from forerun.control.thresholds import Thresholds
from forerun.control.ticks import Tick, Verdict
from forerun.grid import LiveGrid
from forerun_models.bundle import Bundle, Decision
from forerun_sim.errors import InputError

_REMEMBERED = 256
"""States and commands kept for a new bundle that reads a longer history."""


@dataclass(frozen=True)
class Settings:
    """How the controller works: safety parameters, seed of the planner's noise, and the share of a period that a tick may
    wait for its plan."""

    safety: SafetySettings = field(default_factory=SafetySettings)
    seed: int = 0
    budget: float = 0.7


@dataclass(frozen=True)
class _Refusal:
    reason: str


@dataclass(frozen=True)
class _Overheard:
    time: float
    command: Vector


class Controller:
    """Decides; knows neither threads, clocks nor ROS.

    ``observe``, ``refuse``, ``overhear``, ``set_goal``, ``offer``, ``offer_limits``, ``request_reset`` and the emergency stop may
    be used from any thread; everything else belongs to the loop.

    Args:
        bundle: what decides. Its limits, tightened by ``settings.safety``, hold for every bundle that follows.
        planner: computes the decisions.
        stop: outlives the controller where it is given.

    Raises:
        InputError: the settings do not fit the bundle.
    """

    _last: Vector | None
    _state: State | None
    _refused: str
    _decision: Decision | None
    _forgotten: Request | None

    def __init__(self, bundle: Bundle, settings: Settings, planner: Planner, stop: safety.EmergencyStop | None = None) -> None:
        self._settings = settings
        self._planner = planner
        self._widest = Limits.of(bundle.manifest)
        self._outer = self._widest.tightened(settings.safety)
        self._offered_limits: Limits | None = None
        self._inbox: deque[State | _Refusal | _Overheard] = deque(maxlen=4096)
        self._samples: deque[tuple[float, Vector, Vector | None]] = deque(maxlen=_REMEMBERED)
        self._goal: NDArray[np.float32] = bundle.manifest.goal_default.astype(np.float32)
        self._offered: Bundle | None = None
        self._asked: Request | None = None
        self._reset_wanted = False
        self.bundle = bundle
        self.previous: Bundle | None = None
        self.limits = self._outer
        self.swaps = 0
        self.stop = stop or safety.EmergencyStop()
        self._thresholds = Thresholds()
        self._grid = self._new_grid(bundle.manifest.history)
        self.begin()

    # From any thread ---------------------------------------------------------------------------------------------------

    def observe(self, state: State) -> None:
        """A state has arrived."""
        self._inbox.append(state)

    def refuse(self, reason: str) -> None:
        """A message arrived that cannot be used as a state: the robot stops until one that can."""
        self._inbox.append(_Refusal(reason))

    def overhear(self, time: float, command: Vector) -> None:
        """In a dry run somebody else commands the robot; the history needs what they sent."""
        self._inbox.append(_Overheard(time, command))

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
        """A loaded bundle that takes over between two ticks.

        Raises:
            InputError: it does not fit the running one; that one goes on.
        """
        ours, theirs = self.bundle.manifest, bundle.manifest
        for key in ("robot", "joints", "actions", "interfaces", "rate", "goal_names"):
            if getattr(ours, key) != getattr(theirs, key):
                raise InputError(f"{bundle.path}: has {key} {getattr(theirs, key)}, the running bundle has {getattr(ours, key)}")
        Limits.of(theirs).within(self._offered_limits or self._outer)
        self._offered = bundle

    def offer_limits(self, settings: SafetySettings) -> None:
        """Other safety parameters, from the next tick on; they tighten the first bundle's limits, as those at the start did.

        Raises:
            InputError: they are looser than that bundle's, or leave the running one no room; the present ones stay.
        """
        outer = self._widest.tightened(settings)
        for bundle in (self.bundle, self._offered):
            if bundle is not None:
                Limits.of(bundle.manifest).within(outer)
        self._offered_limits = outer

    def request_reset(self) -> str:
        """Starts anew from the next tick on: stop released, history, plan and carry forgotten. Returns why not, or nothing."""
        if not self.stop.reset():
            return "the emergency stop is pressed; release it first"
        self._reset_wanted = True
        return ""

    # In the loop -------------------------------------------------------------------------------------------------------

    @property
    def stopped(self) -> str:
        """Why the robot stands until ``~/reset``; empty while it may move."""
        return "emergency stop" if self.stop.latched else self._thresholds.latched

    def begin(self) -> None:
        """Forgets everything but the bundle, as when the robot was elsewhere in the meantime."""
        self._inbox.clear()
        self._last = None
        self._forget(math.nan)

    def sent(self, time: float, command: Vector) -> None:
        """The command that was sent, and when; it is the history's command under way from then on."""
        self._last = command
        self._remember_command(time, self._last)

    def withheld(self, command: Vector) -> None:
        """The command that would have been sent, had this not been a dry run."""
        self._last = command

    def tick(self, now: float, spent: float = 0.0) -> Tick:
        """The command for ``now`` [s], of whose budget ``spent`` [s] are gone already."""
        if self._reset_wanted:
            self._reset_wanted = False
            self._forget(now)
        self._take_limits()
        self._take_over()
        late = self._planner.reply(0.0)
        if late is not None:
            self._accept(late)
        fault = self._prepare(now)
        if fault:
            return self._fall_back(now, fault)
        return self._validate(now, self._plan(now, spent))

    def wind_down(self, now: float) -> tuple[Vector | None, bool]:
        """The next command on the way to standing still for good, and whether it is the last.

        Ends at zero effort or velocity and at the last position: nobody will be there to damp any more.
        """
        self._take_states(now)
        if self._last is None:
            self._last = safety.start_command(self.limits, None)
        target = safety.safe_target(self.limits, self._last, self._fresh_velocity(now))
        if target is None or self._last is None:
            return None, True
        command = safety.limit_command(self.limits, target, self._last)
        rest = np.where(self.limits.position_commanded, command, 0.0)
        rest = np.clip(rest, self.limits.command_lower, self.limits.command_upper)
        return command, bool((command == rest).all())

    # Prepare -----------------------------------------------------------------------------------------------------------

    def _prepare(self, now: float) -> str:
        """Why the state cannot be planned from, or nothing."""
        self._take_states(now)
        if self._state is None:
            return self._refused or "no state has arrived yet"
        if self._last is None:
            self._last = safety.start_command(self.limits, self._state.position)
            self._remember_command(now, self._last)
        fault, age = self._refused, now - self._state.time
        if not fault and age > self.limits.stale_after:
            fault = f"the newest state is {age:.3f} s old, allowed are {self.limits.stale_after:g} s"
        if fault:
            self._thresholds.no_state(fault, self.limits)
            return fault
        found = safety.breach(self.limits, self._state.position, self._state.velocity)
        if found is not None and found.outside:
            self._thresholds.latch(found.reason)
        return found.reason if found is not None else self.stopped

    def _take_states(self, now: float) -> None:
        while self._inbox:
            item = self._inbox.popleft()
            if isinstance(item, _Refusal):
                self._refused = item.reason
                continue
            if isinstance(item, _Overheard):
                self._remember_command(item.time, item.command)
                continue
            if self._state is not None and item.time < self._state.time - max(1.0, self.limits.stale_after):
                # The robot's clock was set back, or its simulator started anew: nothing before counts any more.
                self._forget_history(item.time)
            if self._grid.add_state(item.time, item.position, item.velocity):
                self._samples.append((item.time, item.position, item.velocity))
                self._state, self._refused = item, ""

    def _fresh_velocity(self, now: float) -> Vector | None:
        if self._state is None or self._refused or now - self._state.time > self.limits.stale_after:
            return None
        return self._state.velocity

    # Plan --------------------------------------------------------------------------------------------------------------

    def _plan(self, now: float, spent: float) -> str:
        """Asks for a plan and accepts it if it comes in time; returns what went wrong."""
        if self._planner.busy:
            return "the planner is still at an earlier tick"
        manifest = self.bundle.manifest
        self._asked = Request(
            bundle=self.bundle,
            time=now,
            history=self._grid.history(now)[-manifest.history :],
            goal=self._goal,
            noise=self._random.standard_normal(manifest.noise_size, dtype=np.float32),
            elapsed=0.0 if math.isnan(self._carried_at) else now - self._carried_at,
            delay=min(manifest.command_delay, manifest.period),
            carry=self._carry,
        )
        self._planner.submit(self._asked)
        reply = self._planner.reply(max(self._settings.budget * self.limits.period - spent, 0.0))
        return "the plan is late" if reply is None else self._accept(reply)

    def _accept(self, reply: Reply) -> str:
        """Keeps the plan of a reply if it can be used; returns what is wrong with it."""
        if reply.request is self._forgotten:
            return "the plan is from before the reset"
        own = reply.request.bundle is self.bundle
        problem = reply.error or self._unusable(reply.decision)
        if problem:
            if own:
                self._carry, self._carried_at = self.bundle.start(), math.nan
            return f"the planner failed: {problem}"
        assert reply.decision is not None
        if own:
            self._carry, self._carried_at = reply.decision.carry, reply.request.time
        allowed = self.limits.allowed_disagreement
        if reply.decision.disagreement > allowed:
            problem = f"the plan's disagreement is {reply.decision.disagreement:.3g}, allowed is {allowed:.3g}"
            self._thresholds.disagreed(problem, self.limits)
            return problem
        if own or self._decision is None:
            self._decision, self._decided_at = reply.decision, reply.request.time
            self._thresholds.planned()
        return ""

    def _unusable(self, decision: Decision | None) -> str:
        if decision is None:
            return "it gave no plan"
        if decision.plan.ndim != 2 or decision.plan.shape[1] != len(self.limits.actions) or not len(decision.plan):
            return f"its plan has the shape {decision.plan.shape}"
        if not (np.isfinite(decision.plan).all() and np.isfinite(decision.predicted).all()):
            return "its plan is not finite"
        return ""

    # Validate ----------------------------------------------------------------------------------------------------------

    def _validate(self, now: float, problem: str) -> Tick:
        """The command of the plan's row for now, or the safe action."""
        decision, row = self._decision, self._row(now)
        fresh = not problem and row == 0
        ended = decision is None or row >= len(decision.plan)
        reason = problem or ("the last plan has come to its end" if ended else "the plan is late")
        if fresh:
            self._thresholds.good(self.limits)
        else:
            self._thresholds.no_plan(reason, self.limits)
        standing = self._thresholds.latched or self._thresholds.halted
        if decision is None or ended or standing:
            return self._fall_back(now, standing or reason)
        window = decision.predicted[row : row + self.limits.max_misses + 1]
        found = safety.predicted_breach(self.limits, window) if decision.predicted.size else None
        if found is not None:
            return self._fall_back(now, found.reason)
        wanted = decision.plan[row].astype(np.float64)
        assert self._last is not None
        command = safety.limit_command(self.limits, wanted, self._last)
        verdict = Verdict.PLAN if fresh else Verdict.BRIDGED
        limited = bool((np.abs(command - wanted) > 1e-6).any())
        return Tick(now, command, verdict, problem, self._state, decision, row, limited)

    def _row(self, now: float) -> int:
        return max(round((now - self._decided_at) / self.limits.period), 0) if self._decision is not None else 0

    # Fall back ---------------------------------------------------------------------------------------------------------

    def _fall_back(self, now: float, reason: str) -> Tick:
        target = safety.safe_target(self.limits, self._last, self._fresh_velocity(now))
        if self._last is None and target is not None:
            self._last = safety.start_command(self.limits, None)
        command = None
        if target is not None and self._last is not None:
            command = safety.limit_command(self.limits, target, self._last)
        if self.stopped:
            return Tick(now, command, Verdict.STOPPED, self.stopped, self._state, cause=self._thresholds.cause)
        verdict = Verdict.WAITING if self._state is None and not self._refused else Verdict.SAFE
        return Tick(now, command, verdict, reason, self._state, cause=self._thresholds.cause)

    # Bundles and beginnings --------------------------------------------------------------------------------------------

    def _take_over(self) -> None:
        """The plan of the bundle before stays, to bridge until this one's first is there."""
        offered, self._offered = self._offered, None
        if offered is None or offered is self.bundle:
            return
        self.previous, self.bundle = self.bundle, offered
        self.limits = Limits.of(offered.manifest).within(self._outer)
        self._carry, self._carried_at = offered.start(), math.nan
        if self._grid.rows < offered.manifest.history:
            self._grid = self._new_grid(offered.manifest.history)
        self.swaps += 1

    def _take_limits(self) -> None:
        outer, self._offered_limits = self._offered_limits, None
        if outer is None:
            return
        try:
            self.limits = Limits.of(self.bundle.manifest).within(outer)
        except InputError as error:
            # A bundle with other limits took over since they were checked.
            self._thresholds.latch(f"the safety parameters do not fit the bundle: {error}")
            return
        self._outer = outer

    def _new_grid(self, rows: int) -> LiveGrid:
        limits = self.limits
        continuous = np.isinf(limits.position_lower) & np.isinf(limits.position_upper)
        grid = LiveGrid(limits.period, rows, len(limits.joints), len(limits.actions), continuous=continuous)
        for time, values, velocity in self._samples:
            if velocity is None:
                grid.add_command(time, values)
            else:
                grid.add_state(time, values, velocity)
        return grid

    def _remember_command(self, now: float, command: Vector | None) -> None:
        if command is not None and not math.isnan(now):
            self._samples.append((now, command, None))
            self._grid.add_command(now, command)

    def _forget(self, now: float) -> None:
        self._thresholds.reset()
        self._random = np.random.default_rng(self._settings.seed)
        self._forget_history(now)

    def _forget_history(self, now: float) -> None:
        self._state = None
        self._refused = ""
        self._samples.clear()
        self._grid.clear()
        self._remember_command(now, self._last)
        self._decision = None
        self._decided_at = math.nan
        self._forgotten = self._asked
        self._carry, self._carried_at = self.bundle.start(), math.nan
