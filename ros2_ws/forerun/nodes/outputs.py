"""What the controller publishes, with messages made once and filled per tick."""

from __future__ import annotations

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.duration import Duration
from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from forerun.control.limits import Vector
from forerun.control.ticks import Tick
from forerun.nodes import qos
from forerun.nodes.markers import Markers
from forerun_models.bundle import Manifest

_SECOND = 1_000_000_000


class Outputs:
    """Publishers of one configured controller.

    Args:
        node: owns them.
        manifest: names joints and topics.
        dry_run: nothing goes to the robot; ``~/dry_commands`` beside it and ``~/command_stamped`` show what would have.
        frame: frame_id of ``~/markers``.
        lockstep: ``~/command_stamped`` answers a simulator that waits.

    Attributes:
        sent: commands published so far.
    """

    def __init__(self, node: Node, manifest: Manifest, dry_run: bool, frame: str, lockstep: bool) -> None:
        self._node = node
        topic = "~/dry_commands" if dry_run else manifest.commands_topic
        self._commands = node.create_publisher(Float64MultiArray, topic, qos.COMMANDS_OUT)
        self._stamped = node.create_publisher(JointState, "~/command_stamped", qos.LOCKSTEP_OUT if lockstep else qos.STAMPED)
        self._predicted = node.create_publisher(JointTrajectory, "~/predicted", qos.VIEWS)
        self._markers = Markers(node, frame)
        self.sent = 0
        self._command = Float64MultiArray()
        self._answer = JointState(name=list(manifest.actions))
        self._answer.header.frame_id = manifest.robot
        kinds = manifest.interfaces  # named as the fields of JointState are
        self._fields = {kind: [i for i, other in enumerate(kinds) if other == kind] for kind in set(kinds)}

    @property
    def topic(self) -> str:
        """Where the commands go, as it is resolved."""
        return str(self._commands.topic_name)

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
        self.sent += 1

    def send_again(self) -> None:
        """The last command once more, for a simulator that did not hear it."""
        self._commands.publish(self._command)
        self._stamped.publish(self._answer)

    def show(self, tick: Tick, manifest: Manifest) -> None:
        """Publishes what the model of the bundle with ``manifest`` expects, if somebody looks."""
        self._markers.show(tick, manifest)
        decision = tick.decision
        if decision is None or not decision.predicted.size or not self._predicted.get_subscription_count():
            return
        joints = len(manifest.joints)
        message = JointTrajectory(joint_names=list(manifest.joints))
        message.header.stamp = self._moment(tick)
        for step, row in enumerate(decision.predicted[tick.age :].astype(float).tolist()):
            point = JointTrajectoryPoint(positions=row[:joints], velocities=row[joints:])
            point.time_from_start = Duration(seconds=max(tick.ahead, 0.0) + step * manifest.period).to_msg()
            message.points.append(point)
        self._predicted.publish(message)

    def show_nothing(self) -> None:
        """The controller stands: what it showed goes."""
        self._markers.clear()

    def _moment(self, tick: Tick) -> Time:
        """When ``tick`` was, in the time of the states' stamps; now where the robot stamps nothing."""
        if tick.state is None or not tick.state.stamp:
            return self._node.get_clock().now().to_msg()
        stamp = tick.state.stamp + round((tick.time - tick.state.time) * _SECOND)
        return Time(sec=stamp // _SECOND, nanosec=stamp % _SECOND)

    def flush(self) -> None:
        """Waits until the robot has the last command, for half a second at most."""
        self._commands.wait_for_all_acked(Duration(seconds=0.5))

    def close(self) -> None:
        """Destroys the publishers."""
        self._markers.close()
        for publisher in (self._commands, self._stamped, self._predicted):
            self._node.destroy_publisher(publisher)
