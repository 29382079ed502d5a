"""What the controller says on /diagnostics (REP-107): once a second, and at once when its level or message changes.

Four statuses: ``control`` (what it does and why it stopped), ``timing``, ``states`` (of the robot) and ``bundle``.
"""

from __future__ import annotations

import time
from collections import deque
from datetime import datetime, timezone
from typing import NamedTuple

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.node import Node

from forerun.control.pacers import ClockPacer, StepPacer
from forerun.control.safety import EmergencyStop
from forerun.control.ticks import Verdict
from forerun.nodes import qos
from forerun.nodes.parameters import Parameters
from forerun.nodes.peers import Peers
from forerun.nodes.session import Session

_WINDOW = 5.0
"""Rates are those of the last seconds [s]."""
_STANDSTILL = 1.0
"""Without a tick for so long [s] something is wrong, or simulated time is paused."""
_SLOW = 0.95
"""Share of the nominal rate below which the timing is a warning."""
_LEVELS = {
    Verdict.PLAN: DiagnosticStatus.OK,
    Verdict.BRIDGED: DiagnosticStatus.WARN,
    Verdict.WAITING: DiagnosticStatus.WARN,
    Verdict.SAFE: DiagnosticStatus.ERROR,
    Verdict.STOPPED: DiagnosticStatus.ERROR,
}
_STOPS = ("stopped", "safe", "stop")

Values = dict[str, object]


class _Sample(NamedTuple):
    time: float
    ticks: int
    sent: int
    missed: int
    arrived: int


class Diagnostics:
    """Watches a controller node.

    Args:
        node: publishes and logs.
        parameters: the node's.
        estop: the node's emergency stop.

    Attributes:
        refused_bundle: why the last announced bundle was refused; empty where it was not.
        refused_goal: why the last goal was refused; empty where it was not.
        peers: who else publishes the robot's topics, None where nothing is configured.
    """

    def __init__(self, node: Node, parameters: Parameters, estop: EmergencyStop) -> None:
        self.refused_bundle = self.refused_goal = ""
        self.peers: Peers | None = None
        self._node = node
        self._parameters = parameters
        self._estop = estop
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._samples: deque[_Sample] = deque()
        self._arrived, self._arrived_at = 0, -np.inf
        self._stop = ("none", "never")
        self._last: tuple[bytes, str, str] = (b"", "", "")
        self._ticked = (-1, 0.0)
        self._decides = ""
        self._due = 0.0

    def state_arrived(self, now: float) -> None:
        """A message of the robot's states came at ``now`` [s, monotonic]."""
        self._arrived += 1
        self._arrived_at = now

    def remember_stop(self, session: Session) -> None:
        """Keeps the reason of the session's last stop, also when the session is gone."""
        stops = [event for event in list(session.events) if event["kind"] in _STOPS]
        if stops:
            moment = datetime.fromtimestamp(stops[-1]["time"], timezone.utc)
            self._stop = stops[-1]["reason"], moment.isoformat(timespec="milliseconds")

    def update(self, session: Session | None, failure: str, *, finalized: bool) -> None:
        """To be called about ten times a second.

        Args:
            session: of the node, None where it is not configured.
            failure: why the last transition failed; empty where it did not.
            finalized: whether the node was shut down.
        """
        now = time.monotonic()
        self._sample(session, now)
        if self.peers is not None:
            self.peers.look(now)
        level, message = self._level(session, failure, finalized, now)
        # A number that grows, such as an age, is no change.
        said = level, message.split(" is ")[0], self._states(session, now)[1].split(" is ")[0] if session is not None else ""
        changed, logged = said != self._last, said[:2] != self._last[:2]
        # rclpy wants each line of code to log at one severity.
        if logged and level == DiagnosticStatus.WARN:
            self._node.get_logger().warning(message)
        if logged and level == DiagnosticStatus.ERROR:
            self._node.get_logger().error(message)
        decides = session.controller.bundle.digest if session is not None else ""
        if changed or decides != self._decides or now >= self._due:
            self._last, self._decides, self._due = said, decides, now + 1.0
            self._publish(session, level, message, now)

    # Control -----------------------------------------------------------------------------------------------------------

    def _level(self, session: Session | None, failure: str, finalized: bool, now: float) -> tuple[bytes, str]:
        if session is None and finalized:
            return DiagnosticStatus.OK, "shut down"
        if session is None:
            return (DiagnosticStatus.ERROR, failure) if failure else (DiagnosticStatus.OK, "not configured")
        if not session.running:
            self._ticked = -1, now
            stopped = session.controller.stopped or failure
            return (DiagnosticStatus.WARN, f"inactive: {stopped}") if stopped else (DiagnosticStatus.OK, "inactive")
        tick = session.latest
        standstill = self._standstill(session, now)
        if standstill:
            return (DiagnosticStatus.ERROR if session.pacer.real_time else DiagnosticStatus.WARN), standstill
        if tick is None:
            return DiagnosticStatus.WARN, "no tick yet"
        message = f"{tick.verdict.value}: {tick.reason}" if tick.reason else "running"
        level = _LEVELS[tick.verdict]
        if level == DiagnosticStatus.OK and _disagrees(session):
            return DiagnosticStatus.WARN, "running: the model's members disagree more than its bundle's threshold"
        if level == DiagnosticStatus.OK and self.refused_bundle:
            return DiagnosticStatus.WARN, f"running; bundle refused: {self.refused_bundle}"
        if level == DiagnosticStatus.OK and self.refused_goal:
            return DiagnosticStatus.WARN, f"running; goal refused, the one before holds: {self.refused_goal}"
        if level == DiagnosticStatus.OK and self.peers is not None and self.peers.problem:
            return DiagnosticStatus.WARN, f"running; {self.peers.problem}"
        return level, message

    def _standstill(self, session: Session, now: float) -> str:
        """Why there are no ticks, where there should be some."""
        ticks, pacer = session.statistics.ticks, session.pacer
        if self._ticked[0] != ticks or not self._samples:
            self._ticked = ticks, now
        if now - self._ticked[1] < _STANDSTILL:
            return ""
        if isinstance(pacer, ClockPacer):
            said = f"at {pacer.now:.3f} s" if pacer.now is not None else "and has never said the time"
            return f"paused: /clock stands still {said}; no commands are sent"
        if isinstance(pacer, StepPacer):
            return "paused: in lockstep no state comes, so no commands are sent"
        return "the control loop hangs; no commands are sent"

    def _control(self, session: Session | None) -> Values:
        if session is not None:
            self.remember_stop(session)
        reason, moment = self._stop
        values: Values = {
            "emergency stop": self._estop.latched,
            "dry run": self._parameters["dry_run"],
            "safety.scale": self._parameters["safety.scale"],
            "refused goal": self.refused_goal or "none",
            "other publishers of commands": (", ".join(self.peers.commanders) if self.peers is not None else "") or "none",
            "reason of the last stop": reason,
            "time of the last stop": moment,
        }
        if session is not None:
            values |= {"ticks": session.statistics.ticks, "ticks without a plan in a row": session.controller.misses}
            values |= {f"ticks {name}": count for name, count in sorted(session.verdicts.items())}
        return values

    # Timing ------------------------------------------------------------------------------------------------------------

    def _sample(self, session: Session | None, now: float) -> None:
        counts = (session.statistics.ticks, session.outputs.sent, session.statistics.missed) if session is not None else (0, 0, 0)
        if self._samples and counts[0] < self._samples[-1].ticks:
            self._samples.clear()  # a new session or a new start
        self._samples.append(_Sample(now, *counts, self._arrived))
        while self._samples[0].time < now - _WINDOW:
            self._samples.popleft()

    def _rate(self, count: str) -> float:
        """How often ``count`` of the samples grew per second."""
        first, last = self._samples[0], self._samples[-1]
        grown = float(getattr(last, count) - getattr(first, count))
        return grown / (last.time - first.time) if last.time > first.time else 0.0

    def _timing(self, session: Session) -> tuple[bytes, str, Values]:
        rate, achieved = session.controller.bundle.manifest.command_rate, self._rate("ticks")
        summary = session.statistics.summary(newest=round(_WINDOW * rate))
        missed = self._samples[-1].missed - self._samples[0].missed
        values: Values = {
            "topic": session.outputs.topic,
            "rate, nominal [Hz]": rate,
            "rate [Hz]": achieved,
            "rate of commands [Hz]": self._rate("sent"),
            "missed ticks": session.statistics.missed,
            f"missed ticks in {_WINDOW:g} s": missed,
            "real-time rights": self._rights(session),
            "computing time compensated [ms]": 1e3 * session.controller.timing.expected,
            "command delay compensated [ms]": 1e3 * session.controller.timing.command_delay,
        }
        for name in ("period_ms", "compute_ms", "latency_ms"):
            for key, figure in (summary[name] or {}).items():
                values[f"{name.removesuffix('_ms')} {key} [ms]"] = figure
        settled = session.running and session.statistics.ticks > _WINDOW * rate
        if session.running and missed:
            return DiagnosticStatus.WARN, f"{missed} deadlines were missed in the last {_WINDOW:g} s", values
        if settled and session.pacer.real_time and achieved < _SLOW * rate:
            return DiagnosticStatus.WARN, f"{achieved:.1f} ticks a second instead of {rate:g}", values
        return DiagnosticStatus.OK, "on time" if session.running else "inactive", values

    def _rights(self, session: Session) -> str:
        priority = self._parameters["realtime_priority"]
        if not priority:
            return "none asked for (realtime_priority is 0)"
        return "; ".join(session.refused) or f"SCHED_FIFO {priority}"

    # States ------------------------------------------------------------------------------------------------------------

    def _states(self, session: Session, now: float) -> tuple[bytes, str, Values]:
        tick, allowed = session.latest, session.controller.limits.stale_after
        age = now - self._arrived_at
        if session.running and tick is not None and tick.state is not None:
            seen = tick.time - tick.state.time
            age = max(age, seen) if session.pacer.real_time else seen
        values: Values = {
            "topic": session.controller.bundle.manifest.joint_states_topic,
            "rate of states [Hz]": self._rate("arrived"),
            "age of the state [s]": age,
            "oldest state that is used [s]": allowed,
            "publishers of states": ", ".join(self.peers.states) if self.peers is not None else "",
        }
        if not self._arrived:
            return DiagnosticStatus.STALE, "no state has arrived yet", values
        refused = session.controller.states.refused
        if age > allowed:
            arrive = now - self._arrived_at < max(allowed, 1.0)
            text = f"states arrive, but the newest that can be used is {age:.2f} s old"
            return DiagnosticStatus.STALE, text if arrive else f"the newest state is {age:.2f} s old", values
        if session.running and refused:
            return DiagnosticStatus.ERROR, f"states arrive, but cannot be used: {refused}", values
        if self.peers is not None and self.peers.doubled_states:
            return DiagnosticStatus.WARN, self.peers.doubled_states, values
        return DiagnosticStatus.OK, "states arrive", values

    # Bundle ------------------------------------------------------------------------------------------------------------

    def _bundle(self, session: Session) -> tuple[bytes, str, Values]:
        controller, bundle = session.controller, session.controller.bundle
        manifest = bundle.manifest
        values: Values = {
            "robot": manifest.robot,
            "task": manifest.task,
            "agent": manifest.agent,
            "bundle": bundle.digest,
            "path": bundle.path,
            "parent": manifest.parent or "none",
            "swaps": controller.swaps,
            "refused bundle": self.refused_bundle or "none",
            **session.controller.succession.describe(),
            "threshold of the disagreement": manifest.thresholds.get("disagreement", "none"),
            "largest disagreement that is executed": controller.limits.max_disagreement or "any",
        }
        if session.latest is not None and session.latest.decision is not None:
            decision = session.latest.decision
            values |= {"disagreement": decision.disagreement, "value": decision.value}
        if self.refused_bundle:
            return DiagnosticStatus.WARN, f"the last one announced was refused: {self.refused_bundle}", values
        if _disagrees(session):
            return DiagnosticStatus.WARN, "the model's members disagree more than its threshold", values
        return DiagnosticStatus.OK, f"{manifest.agent} agent for {manifest.task} in {bundle.digest[:12]}", values

    # Publishing --------------------------------------------------------------------------------------------------------

    def _publish(self, session: Session | None, level: bytes, message: str, now: float) -> None:
        robot = session.controller.bundle.manifest.robot if session is not None else ""
        parts = {"control": (level, message, self._control(session))}
        if session is not None:
            parts |= {"timing": self._timing(session), "states": self._states(session, now), "bundle": self._bundle(session)}
        name = self._node.get_fully_qualified_name().lstrip("/")
        report = DiagnosticArray(status=[_status(f"{name}: {part}", robot, *said) for part, said in parts.items()])
        report.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(report)


def _disagrees(session: Session) -> bool:
    threshold = session.controller.bundle.manifest.thresholds.get("disagreement", np.inf)
    decision = session.latest.decision if session.latest is not None else None
    return decision is not None and decision.disagreement > threshold


def _status(name: str, hardware: str, level: bytes, message: str, values: Values) -> DiagnosticStatus:
    entries = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    return DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware, values=entries)


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
