"""The trainer node: collects trials from the live stream, or from a bag that is played, lets a process of its own fine-tune the
bundle that runs, and announces what passes the gate.

States count by their stamps. Commands carry none: they count by when they arrived, carried over to the clock of the stamps
along the states' own arrivals, as in bags; so neither /clock nor the speed of a playback matters.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger

from forerun.nodes import qos
from forerun.nodes.parameters import Parameters
from forerun.nodes.running import run
from forerun.nodes.trainer_parameters import PARAMETERS, settings
from forerun.training.collect import Collector
from forerun.training.learner import Learner
from forerun_sim.errors import ForerunError, InputError

_TAKE_EVERY = 0.2
"""Seconds between two writes to the disk. With what rows wait for (``collect.SETTLE``) a kill costs at most a second."""
_REPORT_EVERY = 1.0
_TWICE = 0.5
"""Seconds within which the same ``trial`` message is one that was heard twice, as a latched one and as one that is not."""
_NICE = 10
"""The controller goes first: what arrives meanwhile waits in queues, with the time of its arrival."""


class TrainerNode(Node):  # type: ignore[misc]
    """Translates between topics, a ``Collector`` and a ``Learner``; its timers follow the monotonic clock."""

    def __init__(self) -> None:
        super().__init__("trainer", automatically_declare_parameters_from_overrides=True)
        values = Parameters(self, PARAMETERS).values()
        for name in ("bundle", "folder"):
            if not values[name]:
                raise InputError(f"parameter '{name}' of the trainer is empty; give the {name}")
        self.exit_code: int | None = None
        if values["step_back"]:
            os.nice(max(_NICE - os.nice(0), 0))
        self._bundles = self.create_publisher(String, "bundle", qos.LATCHED)
        self._reports = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        log = self.get_logger()
        self._learner = Learner(Path(values["folder"]), values["bundle"], settings(values), log.info, self._announce)
        self._collector = Collector(self._learner.robot)
        self._refused, self._refusals, self._disk = "", 0, ""
        self._trial = ("", 0)
        self._due, self._said = 0.0, ""
        spec, stamped = self._learner.robot, values["command_stamped"]
        self.create_subscription(JointState, spec.topics.joint_states, self._on_state, qos.COLLECTED)
        if stamped:
            self.create_subscription(JointState, stamped, self._on_stamped, qos.COLLECTED)
        else:
            self.create_subscription(Float64MultiArray, spec.topics.commands, self._on_command, qos.COLLECTED)
        for profile in (qos.LATCHED, qos.ANNOUNCEMENTS):
            self.create_subscription(String, "trial", self._on_trial, profile)
        self.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        self.create_service(Trigger, "~/train", self._on_train)
        self.create_timer(_TAKE_EVERY, self._on_time, clock=Clock(clock_type=ClockType.STEADY_TIME))
        log.info(f"learns {spec.name} in {values['folder']}, from bundle {self._learner.bundle.digest[:12]} on")

    def close(self) -> None:
        """What came so far goes to the disk."""
        self._collect(ending=True)
        try:
            self._learner.close()
        except ForerunError as error:
            self.get_logger().error(str(error))

    # Topics ------------------------------------------------------------------------------------------------------------

    def _on_state(self, message: JointState, info: dict[str, int]) -> None:
        stamp = message.header.stamp
        try:
            self._collector.add_state(
                _arrival(info), stamp.sec * 10**9 + stamp.nanosec, message.name, message.position, message.velocity
            )
        except InputError as error:
            self._refuse(str(error))

    def _on_command(self, message: Float64MultiArray, info: dict[str, int]) -> None:
        self._command(_arrival(info), message.data, 0)

    def _on_stamped(self, message: JointState, info: dict[str, int]) -> None:
        stamp, values = message.header.stamp, []
        for joint in self._learner.robot.actuated:
            given = getattr(message, joint.interface)
            if joint.name not in message.name or len(given) != len(message.name):
                self._refuse(f"a stamped command has no {joint.interface} of joint '{joint.name}'")
                return
            values.append(given[list(message.name).index(joint.name)])
        self._command(_arrival(info), values, stamp.sec * 10**9 + stamp.nanosec)

    def _command(self, arrival: int, values: Any, stamp: int) -> None:
        try:
            self._collector.add_command(arrival, values, stamp)
        except InputError as error:
            self._refuse(str(error))

    def _on_trial(self, message: String, info: dict[str, int]) -> None:
        before, self._trial = self._trial, (message.data, _arrival(info))
        if before[0] != message.data or self._trial[1] - before[1] > _TWICE * 1e9:
            self._collector.add_trial(self._trial[1], message.data)

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.endswith("controller: bundle") and status.hardware_id == self._learner.robot.name:
                said = {entry.key: entry.value for entry in status.values}
                refused = said.get("refused bundle", "none")
                self._learner.controller(
                    said["bundle"], said["path"], "" if refused == "none" else refused, float(said.get("disagreement", "nan"))
                )

    def _refuse(self, reason: str) -> None:
        self._refused = reason
        self._refusals += 1
        self.get_logger().warning(f"not learned from: {reason}", throttle_duration_sec=10.0)

    def _announce(self, path: str, digest: str) -> None:
        self._bundles.publish(String(data=json.dumps({"uri": path, "sha256": digest})))
        self.get_logger().info(f"announced {path} ({digest[:12]})")

    # Time --------------------------------------------------------------------------------------------------------------

    def _on_time(self) -> None:
        self._collect()
        self._learner.poll()
        now = time.monotonic()
        if now >= self._due or self._learner.phase != self._said:
            self._due, self._said = now + _REPORT_EVERY, self._learner.phase
            self._report()

    def _collect(self, *, ending: bool = False) -> None:
        for part in self._collector.take(time.time_ns(), all=ending):
            try:
                self._learner.add(part)
                self._disk = ""
            except ForerunError as error:
                self._disk = str(error)
                self.get_logger().error(f"{len(part.states)} rows are lost: {error}", throttle_duration_sec=10.0)
        while self._collector.notes:
            self.get_logger().warning(self._collector.notes.popleft(), throttle_duration_sec=10.0)

    def _on_train(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        response.success, response.message = self._learner.ask()
        return response

    def _report(self) -> None:
        values = self._learner.describe()
        values |= {"messages refused": self._refusals, "why the last one was refused": self._refused or "none"}
        level, message = DiagnosticStatus.OK, str(values["state"])
        if self._disk:
            level, message = DiagnosticStatus.ERROR, f"rows are lost: {self._disk}"
        elif self._learner.error:
            level, message = DiagnosticStatus.WARN, f"{message}; {self._learner.error}"
        entries = [KeyValue(key=key, value=f"{v:.4g}" if isinstance(v, float) else str(v)) for key, v in values.items()]
        name = f"{self.get_fully_qualified_name().lstrip('/')}: learning"
        status = DiagnosticStatus(level=level, name=name, message=message, hardware_id=self._learner.robot.name, values=entries)
        report = DiagnosticArray(status=[status])
        report.header.stamp = self.get_clock().now().to_msg()
        self._reports.publish(report)


def _arrival(info: dict[str, int]) -> int:
    """When a message arrived [ns since 1970], by the middleware's account."""
    return info.get("received_timestamp") or time.time_ns()


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable ``trainer``."""
    return run(TrainerNode, args)


if __name__ == "__main__":
    sys.exit(main())
