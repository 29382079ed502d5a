"""Listens to a robot and its nodes for `forerun watch`, over standard topics; says nothing itself."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.time import Time
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from forerun.nodes import qos
from forerun.nodes.transport import without_shared_memory
from forerun.terminal.heard import Heard
from forerun.terminal.view import Surroundings, Topic, View, view
from forerun_sim.errors import InputError

_NAME = "forerun_watch"
_SECOND = 1e-9


class Listener:
    """A participant that keeps what it hears. The topics are those that the controller names, as soon as it does.

    Args:
        context: rclpy's.
        namespace: of the robot's nodes; empty: the root.
    """

    def __init__(self, context: Context, namespace: str) -> None:
        # Without parameters and rosout: nobody but the graph notices that somebody watches.
        self._node: Node = rclpy.create_node(
            f"{_NAME}_{os.getpid()}",
            context=context,
            namespace=namespace or None,
            enable_rosout=False,
            start_parameter_services=False,
        )
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self._node)
        self._namespace = self._node.get_namespace()
        self._heard = Heard()
        subscribe = self._node.create_subscription
        subscribe(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        subscribe(String, "bundle", self._on_bundle, qos.LATCHED)
        self._states = subscribe(JointState, "joint_states", self._on_state, qos.STATES_IN)
        self._commands = subscribe(Float64MultiArray, "commands", self._on_command, qos.COMMANDS_IN)
        self._predicted = None

    def listen(self, seconds: float) -> None:
        """Takes what comes for so long."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(left, 0.1))

    def view(self) -> View:
        """The picture now."""
        found = view(self._heard, self._surroundings(), time.monotonic())
        if found.controller is not None:
            self._follow(found)
        return found

    def close(self) -> None:
        """Ends it."""
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()

    def _follow(self, found: View) -> None:
        """Listens where the controller that reports listens and speaks."""
        assert found.controller is not None
        states, commands = (str(found.controller.value(part, "topic") or "") for part in ("states", "timing"))
        subscribe = self._node.create_subscription
        if states and self._node.resolve_topic_name(states) != self._states.topic_name:
            self._node.destroy_subscription(self._states)
            self._states = subscribe(JointState, states, self._on_state, qos.STATES_IN)
        if commands and self._node.resolve_topic_name(commands) != self._commands.topic_name:
            self._node.destroy_subscription(self._commands)
            self._commands = subscribe(Float64MultiArray, commands, self._on_command, qos.COMMANDS_IN)
        if self._predicted is None:
            self._predicted = subscribe(JointTrajectory, f"/{found.controller.name}/predicted", self._on_predicted, qos.VIEWS)

    # What the graph knows ----------------------------------------------------------------------------------------------

    def _surroundings(self) -> Surroundings:
        names = self._node.get_node_names_and_namespaces()
        nodes = {f"{space.rstrip('/')}/{name}" for name, space in names if not name.startswith(("_", _NAME))}
        return Surroundings(
            domain=os.environ.get("ROS_DOMAIN_ID") or "0 (the default)",
            discovery=os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE") or "SUBNET (the default)",
            states=self._topic(self._states.topic_name),
            commands=self._topic(self._commands.topic_name),
            namespace=self._namespace,
            nodes=tuple(sorted(nodes)),
            elsewhere=self._elsewhere(),
        )

    def _topic(self, name: str) -> Topic:
        publishers = self._node.get_publishers_info_by_topic(name)
        return Topic(name, tuple(sorted(f"{who.node_namespace.rstrip('/')}/{who.node_name}" for who in publishers)))

    def _elsewhere(self) -> tuple[str, ...]:
        """Namespaces with a robot that publishes, other than the one in which is listened."""
        topics = [name for name, _ in self._node.get_topic_names_and_types() if name.endswith("/joint_states")]
        spaces = {name.removesuffix("/joint_states") or "/" for name in topics if self._node.count_publishers(name)}
        return tuple(sorted(spaces - {self._namespace}))

    # What comes --------------------------------------------------------------------------------------------------------

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        now = time.monotonic()
        for status in message.status:
            values = {entry.key: entry.value for entry in status.values}
            self._heard.status(status.name, int.from_bytes(status.level, "little"), status.message, values, now)

    def _on_state(self, message: JointState) -> None:
        now, stamp = time.monotonic(), Time.from_msg(message.header.stamp).nanoseconds * _SECOND
        self._heard.state(message.name, message.position, message.velocity, stamp or time.time(), now)

    def _on_command(self, message: Float64MultiArray) -> None:
        self._heard.commands.add(time.monotonic())

    def _on_bundle(self, message: String) -> None:
        self._heard.announced = message.data

    def _on_predicted(self, message: JointTrajectory) -> None:
        begin = Time.from_msg(message.header.stamp).nanoseconds * _SECOND
        ahead = [point.time_from_start.sec + point.time_from_start.nanosec * _SECOND for point in message.points]
        states = [[*point.positions, *point.velocities] for point in message.points]
        self._heard.forecast(message.joint_names, begin, [begin + seconds for seconds in ahead], states)


@contextmanager
def listening(namespace: str) -> Iterator[Listener]:
    """A listener, and its end.

    Raises:
        InputError: no such namespace can be.
    """
    context = Context()
    with without_shared_memory():
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        try:
            listener = Listener(context, namespace)
        except rclpy.exceptions.InvalidNamespaceException as error:
            rclpy.shutdown(context=context)
            raise InputError(f"--namespace: '{namespace}' is no namespace of ROS: {error}") from error
    try:
        yield listener
    finally:
        listener.close()
        rclpy.shutdown(context=context)
