"""The test's own participant: listens, calls services, plays the robot."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import SetBool, Trigger

from forerun.nodes import qos
from forerun.nodes.transport import without_shared_memory

TIMEOUT = 30.0


class Probe:
    """A node in the test's process.

    Attributes:
        commands: (receive time [s, monotonic], values) of every message on ``commands``.
        statuses: (level, message, values) of every diagnostic of the controller, the values those of all its parts.
        parts: its newest diagnostics by part: control, timing, states, bundle.
    """

    def __init__(self, context: Context, namespace: str = "") -> None:
        self.node = rclpy.create_node("probe", context=context, namespace=namespace)
        self._executor = SingleThreadedExecutor(context=context)
        self._executor.add_node(self.node)
        self.commands: list[tuple[float, list[float]]] = []
        self.statuses: list[tuple[bytes, str, dict[str, str]]] = []
        self.parts: dict[str, DiagnosticStatus] = {}
        self.listen(Float64MultiArray, "commands", self._on_command, QoSProfile(depth=1000))
        self.listen(DiagnosticArray, "/diagnostics", self._on_status, QoSProfile(depth=100))

    def close(self) -> None:
        """Ends it."""
        self._executor.shutdown()
        self.node.destroy_node()

    # Waiting -----------------------------------------------------------------------------------------------------------

    def until(self, condition: Callable[[], object], what: str, timeout: float = TIMEOUT) -> None:
        """Spins until ``condition`` holds."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"waited in vain until {what}; last diagnostics: {self.statuses[-1:]}"
            self._executor.spin_once(timeout_sec=0.05)

    def until_status(self, words: str, level: bytes | None = None) -> dict[str, str]:
        """Spins until the controller's diagnostics say ``words`` (from now on); returns their values."""
        start = len(self.statuses)

        def said() -> list[dict[str, str]]:
            return [v for lev, text, v in self.statuses[start:] if words in text and level in (None, lev)]

        self.until(said, f"the diagnostics say '{words}'")
        return said()[-1]

    def until_command(self, values: list[float], what: str) -> None:
        """Spins until the newest command is ``values``; there may be none yet."""
        self.until(lambda: [command for _, command in self.commands[-1:]] == [values], what)

    def until_commands(self, count: int) -> None:
        """Spins until that many further commands have come."""
        goal = len(self.commands) + count
        self.until(lambda: len(self.commands) >= goal, f"{count} commands came")

    # Listening and calling ---------------------------------------------------------------------------------------------

    def listen(self, kind: Any, topic: str, callback: Callable[[Any], None], profile: QoSProfile) -> None:
        """Calls ``callback`` with each message."""
        self.node.create_subscription(kind, topic, callback, profile)

    def call(self, kind: Any, name: str, request: Any) -> Any:
        """The response of a service."""
        client = self.node.create_client(kind, name)
        self.until(client.service_is_ready, f"{name} is offered")
        future = client.call_async(request)
        self.until(future.done, f"{name} answers")
        self.node.destroy_client(client)
        return future.result()

    def trigger(self, name: str) -> Trigger.Response:
        """Calls a Trigger."""
        return self.call(Trigger, name, Trigger.Request())

    def estop(self, pressed: bool) -> None:
        """Presses or releases the controller's emergency stop."""
        assert self.call(SetBool, "controller/estop", SetBool.Request(data=pressed)).success

    def transition(self, label: str) -> bool:
        """Drives the controller's lifecycle; whether that worked."""
        request = ChangeState.Request(transition=Transition(label=label))
        return bool(self.call(ChangeState, "controller/change_state", request).success)

    def state(self) -> str:
        """Lifecycle state of the controller."""
        return str(self.call(GetState, "controller/get_state", GetState.Request()).current_state.label)

    def announce(self, text: str, *, latched: bool = True) -> None:
        """Publishes ``text`` on ``bundle`` once somebody listens."""
        publisher = self.node.create_publisher(String, "bundle", qos.LATCHED if latched else qos.ANNOUNCEMENTS)
        self.until(publisher.get_subscription_count, "somebody listens to bundle")
        publisher.publish(String(data=text))

    # Playing the robot -------------------------------------------------------------------------------------------------

    def robot(self) -> Robot:
        """A robot that the test plays."""
        return Robot(self)

    # Callbacks ---------------------------------------------------------------------------------------------------------

    def _on_command(self, message: Float64MultiArray) -> None:
        self.commands.append((time.monotonic(), list(message.data)))

    def _on_status(self, message: DiagnosticArray) -> None:
        own = [status for status in message.status if "controller: " in status.name]
        values = {entry.key: entry.value for status in own for entry in status.values}
        self.parts |= {status.name.rpartition(": ")[2]: status for status in own}
        self.statuses += [(status.level, status.message, values) for status in own if status.name.endswith(": control")]


class Robot:
    """Publishes joint states at 100 Hz while the probe spins; its attributes are what it publishes."""

    def __init__(self, probe: Probe) -> None:
        self.names = ["slider", "hinge"]
        self.position = [0.0, 0.0]
        self.velocity = [0.0, 0.0]
        self.silent = False
        self._node = probe.node
        self._publisher = probe.node.create_publisher(JointState, "joint_states", qos.STATES_OUT)
        probe.node.create_timer(0.01, self._publish)

    def set(self, names: Sequence[str], position: Sequence[float], velocity: Sequence[float]) -> None:
        """What is published from now on."""
        self.names, self.position, self.velocity = list(names), list(position), list(velocity)

    def _publish(self) -> None:
        if self.silent:
            return
        message = JointState(name=self.names, position=self.position, velocity=self.velocity)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


@contextmanager
def probing(domain: int, namespace: str = "") -> Iterator[Probe]:
    """A probe in the domain."""
    context = Context()
    with without_shared_memory():
        rclpy.init(context=context, domain_id=domain)
        probe = Probe(context, namespace)
    try:
        yield probe
    finally:
        probe.close()
        rclpy.shutdown(context=context)


OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
