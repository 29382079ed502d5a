"""The guard node: runs on the robot's side, between ``commands`` and ros2_control's forward controllers.

Those hold their last command for ever. The guard hands each command on as it comes, checked, and sends the safe command once the
newest one is older than the robot's timeout: whatever happens to the controller, its computer or the network, the robot stops.
Imports numpy and rclpy, nothing heavier.
"""

from __future__ import annotations

import sys
import time

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType
from rclpy.duration import Duration
from rclpy.node import Node
from std_msgs.msg import Float64MultiArray

from forerun.control.guard import CommandRefused, Contract, Guard, Vector
from forerun.control.rights import set_priority
from forerun.nodes import qos
from forerun.nodes.parameters import Declared, Parameters
from forerun.nodes.running import run
from forerun_sim.errors import InputError
from forerun_sim.resources import bundle_folder

PARAMETERS = (
    Declared(
        "bundle",
        "",
        "Bundle (folder, or name of a ready one) whose bundle.json says all of the following; else give them.",
        fixed=True,
    ),
    Declared("joints", [""], "Actuated joints in the order of the commands.", fixed=True),
    Declared("interfaces", [""], "Interface of each of them: effort, velocity or position.", fixed=True),
    Declared("lower", [], "Lower command limit of each of them (Nm, N, rad/s, m/s, rad or m).", fixed=True),
    Declared("upper", [], "Upper command limit of each of them.", fixed=True),
    Declared("rate", 0.0, "Control rate [Hz]: how often the safe command is sent.", (0.0, 10_000.0), fixed=True),
    Declared("command_timeout", 0.0, "Age at which a command ends [s]; 0: the bundle's.", (0.0, 3600.0), fixed=True),
    Declared("commands", "", "Topic of the commands; empty: the bundle's, or 'commands'.", fixed=True),
    Declared("output", "forerun_{interface}/commands", "Topic of the forward controller of each interface.", fixed=True),
    Declared("realtime_priority", 0, "SCHED_FIFO priority, 0 for none.", (0, 98), fixed=True),
)


def contract_of(parameters: Parameters) -> Contract:
    """The contract that the node's parameters describe.

    Raises:
        InputError: they do not describe one.
    """
    values = parameters.values()
    lists = {name: values[name] for name in ("joints", "interfaces", "lower", "upper")}
    timeout = values["command_timeout"]
    if values["bundle"]:
        given = [name for name, value in lists.items() if value] + ["rate"] * bool(values["rate"])
        if given:
            raise InputError(f"parameter 'bundle' is given, and so is '{given[0]}'; leave out one of them")
        found = Contract.of_bundle(bundle_folder(values["bundle"]))
        lists = {"joints": found.joints, "interfaces": found.interfaces, "lower": found.lower, "upper": found.upper}
        rate, timeout, topic = found.rate, timeout or found.timeout, values["commands"] or found.topic
    elif not lists["joints"]:
        raise InputError("parameter 'joints' is empty; give 'bundle', or the file that `forerun ros2-control` writes")
    else:
        rate, topic = values["rate"], values["commands"] or "commands"
    return Contract(
        joints=tuple(lists["joints"]),
        interfaces=tuple(lists["interfaces"]),
        lower=np.asarray(lists["lower"], dtype=np.float64),
        upper=np.asarray(lists["upper"], dtype=np.float64),
        rate=rate,
        timeout=timeout,
        topic=topic,
    )


class GuardNode(Node):  # type: ignore[misc]
    """Translates between topics and a ``Guard``; its timers follow the monotonic clock."""

    def __init__(self) -> None:
        super().__init__("guard", automatically_declare_parameters_from_overrides=True)
        parameters = Parameters(self, PARAMETERS)
        contract = contract_of(parameters)
        self.exit_code: int | None = None
        self._guard = Guard(contract)
        self._stopped = "no command has come yet"
        self._accepted = self._stops = 0
        self._newest = time.monotonic()
        self._said: tuple[bytes, str] = (b"", "")
        self._due = 0.0
        self._outputs = [
            (self.create_publisher(Float64MultiArray, parameters["output"].format(interface=kind), qos.COMMANDS_OUT), indices)
            for kind, indices in contract.groups()
        ]
        self._diagnostics = self.create_publisher(DiagnosticArray, "/diagnostics", qos.DIAGNOSTICS)
        self._commands = self.create_subscription(Float64MultiArray, contract.topic, self._on_command, qos.COMMANDS_GUARDED)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._deadline = self.create_timer(contract.timeout, self._on_deadline, clock=steady)
        self.create_timer(1.0 / contract.rate, self._on_period, clock=steady)
        refused = set_priority(0, parameters["realtime_priority"])
        if refused:
            self.get_logger().warning(f"realtime_priority: {refused}")
        outputs = ", ".join(publisher.topic_name for publisher, _ in self._outputs)
        self.get_logger().info(f"commands of '{contract.topic}' go to {outputs} and end after {contract.timeout:g} s")

    def close(self) -> None:
        """The process ends: the robot stops."""
        self._send(self._guard.safe())
        for publisher, _ in self._outputs:
            publisher.wait_for_all_acked(Duration(seconds=0.5))

    def _send(self, command: Vector) -> None:
        for publisher, indices in self._outputs:
            values = command[indices]
            # Without a known position the forward controller holds by itself.
            if np.isfinite(values).all():
                publisher.publish(Float64MultiArray(data=values.tolist()))

    def _on_command(self, message: Float64MultiArray) -> None:
        try:
            command = self._guard.accept(message.data)
        except CommandRefused as error:
            self.get_logger().error(f"command refused: {error}", throttle_duration_sec=1.0)
            return
        self._send(command)
        self._deadline.reset()
        self._newest = time.monotonic()
        self._accepted += 1
        if self._stopped:
            self.get_logger().info("commands come: the robot follows them")
        self._stopped = ""

    def _on_deadline(self) -> None:
        """Nothing acceptable came for the timeout."""
        if self._stopped:
            return
        age = time.monotonic() - self._newest
        self._stopped = f"the newest command is {age:.3f} s old, the robot's timeout is {self._guard.contract.timeout:g} s"
        self._stops += 1
        self._send(self._guard.safe())
        self.get_logger().error(f"stopped: {self._stopped}")

    def _on_period(self) -> None:
        # Again and again: a forward controller that is activated later must get it, too.
        if self._stopped:
            self._send(self._guard.safe())
        self._report()

    def _report(self) -> None:
        publishers = self.count_publishers(self._commands.topic_name)
        level, message = DiagnosticStatus.OK, "commands flow"
        if self._stopped:
            level, message = (DiagnosticStatus.ERROR if self._accepted else DiagnosticStatus.WARN), f"stopped: {self._stopped}"
        elif publishers > 1:
            level, message = DiagnosticStatus.WARN, f"{publishers} publishers send commands; the robot needs one"
        now = time.monotonic()
        if (level, message) == self._said and now < self._due:
            return
        self._said, self._due = (level, message), now + 1.0
        counts = {
            "commands": self._accepted,
            "refused": self._guard.refused,
            "clipped": self._guard.clipped,
            "stops": self._stops,
        }
        values = {**counts, "timeout [s]": self._guard.contract.timeout, "publishers of commands": publishers}
        entries = [KeyValue(key=key, value=f"{value:g}") for key, value in values.items()]
        name = f"{self.get_fully_qualified_name().lstrip('/')}: guard"
        report = DiagnosticArray(status=[DiagnosticStatus(level=level, name=name, message=message, values=entries)])
        report.header.stamp = self.get_clock().now().to_msg()
        self._diagnostics.publish(report)


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable ``guard``."""
    return run(GuardNode, args)


if __name__ == "__main__":
    sys.exit(main())
