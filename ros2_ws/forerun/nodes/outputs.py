"""What the controller publishes, with messages made once and filled per tick."""

from __future__ import annotations

import numpy as np
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from forerun.control.controller import Tick
from forerun.control.limits import Vector
from forerun.nodes import qos
from forerun_models.bundle import Manifest

_SECOND = 1_000_000_000


class Outputs:
    """Publishers of one configured controller.

    Args:
        node: owns them.
        manifest: names joints and topics.
        dry_run: nothing goes to the robot; ``~/dry_commands`` beside it and ``~/command_stamped`` show what would have.
    """

    def __init__(self, node: Node, manifest: Manifest, dry_run: bool) -> None:
        self._node = node
        self._manifest = manifest
        topic = "~/dry_commands" if dry_run else manifest.commands_topic
        self._commands = node.create_publisher(Float64MultiArray, topic, qos.COMMANDS_OUT)
        self._stamped = node.create_publisher(JointState, "~/command_stamped", qos.STAMPED)
        self._predicted = node.create_publisher(JointTrajectory, "~/predicted", qos.VIEWS)
        self._command = Float64MultiArray()
        self._answer = JointState(name=list(manifest.actions))
        self._answer.header.frame_id = manifest.robot
        kinds = [{"effort": "effort", "velocity": "velocity", "position": "position"}[kind] for kind in manifest.interfaces]
        self._fields = {kind: [i for i, other in enumerate(kinds) if other == kind] for kind in set(kinds)}

    def send(self, command: Vector, stamp: int) -> None:
        """Publishes ``command`` [A], the answer to the state with the ``stamp`` [ns]."""
        self._command.data = command.tolist()
        self._commands.publish(self._command)
        for kind, indices in self._fields.items():
            values = np.full(len(command), np.nan)
            values[indices] = command[indices]
            setattr(self._answer, kind, values.tolist())
        self._answer.header.stamp.sec, self._answer.header.stamp.nanosec = divmod(stamp, _SECOND)
        self._stamped.publish(self._answer)

    def send_again(self) -> None:
        """The last command once more, for a simulator that did not hear it."""
        self._commands.publish(self._command)
        self._stamped.publish(self._answer)

    def show(self, tick: Tick) -> None:
        """Publishes what the model expects, if somebody looks."""
        decision = tick.decision
        if decision is None or not decision.predicted.size or not self._predicted.get_subscription_count():
            return
        joints = len(self._manifest.joints)
        message = JointTrajectory(joint_names=list(self._manifest.joints))
        message.header.frame_id = self._manifest.robot
        if tick.state is not None:
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(tick.state.stamp, _SECOND)
        for step, row in enumerate(decision.predicted[tick.age :].astype(float).tolist(), start=1):
            point = JointTrajectoryPoint(positions=row[:joints], velocities=row[joints:])
            point.time_from_start = Duration(seconds=step * self._manifest.period).to_msg()
            message.points.append(point)
        self._predicted.publish(message)

    def flush(self) -> None:
        """Waits until the robot has the last command, for half a second at most."""
        self._commands.wait_for_all_acked(Duration(seconds=0.5))

    def close(self) -> None:
        """Destroys the publishers."""
        for publisher in (self._commands, self._stamped, self._predicted):
            self._node.destroy_publisher(publisher)


def status(name: str, hardware: str, level: bytes, message: str, values: dict[str, object]) -> DiagnosticArray:
    """One status as REP-107 wants it; the caller stamps it."""
    entries = [KeyValue(key=key, value=_text(value)) for key, value in values.items()]
    entry = DiagnosticStatus(level=level, name=name, message=message, hardware_id=hardware, values=entries)
    return DiagnosticArray(status=[entry])


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)
