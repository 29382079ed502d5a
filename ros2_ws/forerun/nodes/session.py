"""A configured controller at work: the loop, its core, its outputs and its record. The node above it only translates."""

from __future__ import annotations

import json
import math
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rclpy.impl.rcutils_logger import RcutilsLogger

from forerun.control.controller import Controller
from forerun.control.limits import Vector
from forerun.control.loop import Loop
from forerun.control.pacers import ClockPacer, MonotonicPacer, Pacer, StatePacer, StepPacer
from forerun.control.phase import PhaseLock
from forerun.control.planning import Planner, WorkerPlanner
from forerun.control.rights import Rights, lock_memory, reset_priority, set_priority, unlock_memory
from forerun.control.states import State
from forerun.control.statistics import TickStatistics
from forerun.control.ticks import Tick, Verdict
from forerun.nodes.outputs import Outputs
from forerun_models.bundle import Bundle
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.files import write_file

_EVENTS = 1000
_KEPT_BUNDLES = 8
"""Bundles that wait to be freed while the robot moves."""
_KINDS = tuple(Verdict)


class Session:
    """Runs from activate to deactivate, as often as it is asked to.

    Args:
        controller: decides.
        planner: the controller's.
        pacer: says when to tick.
        phase: watches the arrivals of states, or None.
        outputs: publish.
        logger: of the node.
        dry_run: commands are not sent.
        rights: what loop and planner ask the operating system for.
        clock: ROS time [ns], for latencies.
    """

    def __init__(
        self,
        controller: Controller,
        planner: Planner,
        pacer: Pacer,
        phase: PhaseLock | None,
        outputs: Outputs,
        logger: RcutilsLogger,
        *,
        dry_run: bool,
        rights: Rights,
        clock: Callable[[], int],
    ) -> None:
        self.controller = controller
        self.pacer = pacer
        self.phase = phase
        self.outputs = outputs
        self.statistics = TickStatistics()
        self.verdicts: Counter[str] = Counter()
        self.events: deque[dict[str, Any]] = deque(maxlen=_EVENTS)
        self.latest: Tick | None = None
        self.failed = ""
        self.refused: list[str] = []
        self._planner = planner
        self._logger = logger
        self._dry_run = dry_run
        self._rights = rights
        self._locked = False
        self._clock = clock
        self._loop: Loop | None = None
        self._hanging: Loop | None = None
        self._halted = self._at_rest = False
        self._seen: Vector | None = None
        self._news: deque[tuple[str, str]] = deque(maxlen=_EVENTS)
        self._answered = -math.inf

    @property
    def running(self) -> bool:
        """Whether the loop ticks."""
        return self._loop is not None

    def start(self) -> None:
        """Begins to tick.

        Raises:
            ForerunError: a tick that hung at the last stop still does; it would send its command one day.
        """
        if self._hanging is not None and not self._hanging.stop(0.0):
            raise ForerunError(
                "the tick that hung when the controller was stopped has not ended yet; clean up and configure anew"
            )
        self.controller.begin()
        self.failed, self.latest, self._answered, self._hanging = "", None, -math.inf, None
        self._halted = self._at_rest = False
        self.statistics = TickStatistics()
        self.verdicts.clear()
        self.events.clear()
        self._note("start", self.controller.bundle.digest)
        self._claim()
        self._loop = Loop(self.pacer, self._tick, self._loop_failed, self._rights, self._warn)
        self._loop.start()

    def stop(self, reason: str) -> None:
        """Ends the loop and leads the robot to the safe action, within the slew limit."""
        loop, self._loop = self._loop, None
        if loop is None:
            return
        ended = loop.stop()
        if not ended and self.failed:
            ended = loop.stop(self._longest_way())  # it leads the robot to rest itself
        if not ended:
            self._hanging = loop
            self._logger.error("the tick under way does not end; stopping the robot without it")
        try:
            if not self._at_rest and (ended or not self.failed):
                self._halt()
        finally:
            self._give_back()
        self._note("stop", self.failed or reason)

    def close(self) -> None:
        """Ends planner and shadow and destroys the publishers."""
        self.stop("cleanup")
        self._planner.close()
        self.controller.succession.close()
        self.outputs.close()
        if self._locked:
            unlock_memory()

    def _claim(self) -> None:
        rights = self._rights
        if rights.lock_memory and not self._locked:
            # Everything that configure allocated is there by now.
            reason = lock_memory()
            self._locked = not reason
            if reason:
                self._warn(f"lock_memory: {reason}")
        if isinstance(self._planner, WorkerPlanner):
            for reason in rights.helper.claim(self._planner.thread_id):
                self._warn(reason)
        # The thread that spins runs little, but it holds the interpreter while it does: were it suspended for another process,
        # the loop would wait for it (measured: p99 of the period 28 ms instead of 20.6 ms at 50 Hz on a busy machine).
        if rights.priority:
            set_priority(0, max(rights.priority - 1, 1))

    def _give_back(self) -> None:
        if not self._rights.priority:
            return
        reset_priority(0)
        if isinstance(self._planner, WorkerPlanner):
            reset_priority(self._planner.thread_id)

    def _warn(self, reason: str) -> None:
        """Says once what the system refuses; the robot runs without it."""
        if reason not in self.refused:
            self.refused.append(reason)
            self._logger.warning(f"{reason}; going on without")

    # In the loop's thread ----------------------------------------------------------------------------------------------

    def _tick(self, now: float) -> None:
        begin = time.monotonic_ns()
        if isinstance(self.pacer, StepPacer) and now == self._answered:
            self.outputs.send_again()
            return
        tick = self.controller.tick(now)
        if self._halted:
            return
        self._send(now, tick.command, tick.state)
        latency = math.nan
        timed = not isinstance(self.pacer, StepPacer) and tick.verdict in (Verdict.PLAN, Verdict.BRIDGED)
        if timed and tick.state is not None and tick.state.stamp:
            latency = (self._clock() - tick.state.stamp) * 1e-9
        # In lockstep a tick that did not see its state, for it came while the one before was decided, answers nothing.
        self._answered = now if tick.state is not None and tick.state.time == now else -math.inf
        self.statistics.add(begin, (time.monotonic_ns() - begin) * 1e-9, latency, _KINDS.index(tick.verdict))
        self.statistics.missed = self.pacer.missed
        self._record(tick)
        self.controller.rehearse(tick)
        if len(self.controller.succession.retired) > _KEPT_BUNDLES:
            self.controller.succession.retired.popleft()
        if self.phase is not None and isinstance(self.pacer, MonotonicPacer):
            self.pacer.shift(self.phase.correction(begin * 1e-9))

    def _send(self, now: float, command: Vector | None, state: State | None) -> None:
        if command is None:
            return
        self.outputs.send(command, state.stamp if state is not None else 0)
        # In lockstep and simulated time the command counts from the tick on, in real time from its publication on.
        moment = time.monotonic() if self.pacer.real_time else now
        if self._dry_run:
            self.controller.withheld(moment, command)
        else:
            self.controller.sent(moment, command)

    def _record(self, tick: Tick) -> None:
        self.verdicts[tick.verdict.value] += 1
        before, self.latest = self.latest, tick
        if before is None or (before.verdict, before.cause, bool(before.reason)) != (tick.verdict, tick.cause, bool(tick.reason)):
            self._note(tick.verdict.value, tick.reason)
        self._note_succession()

    def _note_succession(self) -> None:
        events = self.controller.succession.events
        while events:
            kind, text = events.popleft()
            self._note(kind, text)
            self._news.append((kind, text))

    def _loop_failed(self, error: Exception) -> None:
        self.failed = f"{type(error).__name__}: {error}"
        self._logger.fatal("the control loop failed:\n" + "".join(traceback.format_exception(error)))
        self._halt()

    # Stopping ----------------------------------------------------------------------------------------------------------

    def _halt(self) -> None:
        """Sends the safe action, at the control rate, until the command has arrived there."""
        self._halted = True
        period = self.controller.limits.period
        now = self.latest.time if self.latest is not None else 0.0
        state = self.latest.state if self.latest is not None else None
        arrived = False
        while not arrived:
            time.sleep(period)
            now = time.monotonic() if self.pacer.real_time else now + period
            command, arrived = self.controller.wind_down(now)
            self._send(now, command, state)
        self._at_rest = True
        self.outputs.flush()

    def _longest_way(self) -> float:
        """Seconds that ``_halt`` may take."""
        limits = self.controller.limits
        way = float(np.max((limits.command_upper - limits.command_lower) / limits.slew))
        return 1.0 + limits.stale_after + 2 * way

    # The record --------------------------------------------------------------------------------------------------------

    def _note(self, kind: str, text: str) -> None:
        self.events.append({"time": time.time(), "tick": self.statistics.ticks, "kind": kind, "reason": text})

    def news(self) -> list[tuple[str, str]]:
        """What happened to bundles since the last call, as (kind, text); frees those that are no longer needed.

        ONNX Runtime holds the interpreter while it frees a graph (11 to 30 ms for one of 4 000 nodes, measured), so that waits
        until the robot stands. Where too many are kept before it does, the loop frees one right after a command, when the next
        is farthest away.
        """
        if not self.running:
            self._note_succession()
        retired = self.controller.succession.retired
        if self._stands() and retired:
            retired.popleft()
        return [self._news.popleft() for _ in range(len(self._news))]

    def _stands(self) -> bool:
        """Whether no tick would be missed: a stop alone is not enough, the robot may still be damped, or led to rest."""
        command = self.latest.command if self.latest is not None else None
        before, self._seen = self._seen, command
        if not self.running:
            return True
        same = before is not None and command is not None and bool((before == command).all())
        return same and bool(self.controller.stopped)

    def figures(self) -> dict[str, Any]:
        """Everything measured since the start, JSON values only; times in ms, oldest first."""
        bundle: Bundle = self.controller.bundle
        arrays = {
            "periods_ms": self.statistics.periods,
            "compute_ms": self.statistics.compute,
            "latency_ms": self.statistics.latency,
        }
        return {
            "robot": bundle.manifest.robot,
            "rate": bundle.manifest.command_rate,
            "bundle": bundle.digest,
            "summary": self.statistics.summary(),
            "verdicts": dict(self.verdicts),
            "verdict_each": [_KINDS[kind].value for kind in self.statistics.kinds().tolist()],
            "swaps": self.controller.swaps,
            "events": list(self.events),
            **{name: np.round(values() * 1e3, 4).tolist() for name, values in arrays.items()},
        }

    def write_figures(self, path: str) -> None:
        """Writes ``figures`` to the file ``path``.

        Raises:
            ForerunError: it cannot be written.
        """
        write_file(Path(path), json.dumps(self.figures(), allow_nan=False))


def make_pacer(period: float, *, trigger: str, spin: float, lockstep: bool, sim_time: bool, phase: PhaseLock | None) -> Pacer:
    """The pacer that the node's parameters ask for.

    Raises:
        InputError: ``trigger`` is ``state`` where time is not real.
    """
    if trigger == "state":
        if lockstep or sim_time:
            raise InputError("trigger 'state' needs real time; use 'timer' with use_sim_time and with lockstep")
        return StatePacer(period)
    if lockstep:
        return StepPacer()
    if sim_time:
        return ClockPacer(period)
    return MonotonicPacer(period, phase.first if phase is not None else None, spin)
