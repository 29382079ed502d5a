"""A robot whose ``joint_states`` go wrong on order: a process of its own, so that it can be killed and frozen.

Orders are JSON on the topic ``orders`` (transient local), and each one replaces what it names:

- names, position, velocity: what is published (NaN is understood);
- rate [Hz], 0 for silence; ``moves``: the position follows the first velocity;
- stamp: ``now``, ``zero``, ``still`` (as it was when the order came), or seconds to add;
- sim: whether time is simulated: ``/clock`` is published and stamps follow it;
- runs: whether the simulated clock goes on; ``jump``: seconds by which it jumps, once.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rclpy
from rclpy.node import Node
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import String

from forerun.nodes import qos
from forerun.nodes.transport import without_shared_memory

if TYPE_CHECKING:
    # The process runs this file as a script, which knows no other of the tests.
    from support.probe import Probe
    from support.processes import Process, Processes

_SECOND = 1_000_000_000
_ORIGIN = 100 * _SECOND
"""Simulated time starts here [ns]: it can jump back without becoming negative."""


class FaultyRobotNode(Node):  # type: ignore[misc]
    """Publishes as it is told."""

    def __init__(self) -> None:
        super().__init__("robot")
        self.names, self.position, self.velocity = ["slider", "hinge"], [0.4, 0.0], [0.0, 0.0]
        self.rate, self.stamp, self.moves, self.sim, self.runs = 50.0, "now", False, False, True
        self._publisher = self.create_publisher(JointState, "joint_states", qos.STATES_OUT)
        self._clock_out: Any = None
        self._simulated, self._real = _ORIGIN, time.monotonic_ns()
        self._still = 0
        self.create_subscription(String, "orders", self._on_order, qos.LATCHED)

    def _on_order(self, message: String) -> None:
        orders = json.loads(message.data)
        self._simulated += round(orders.pop("jump", 0.0) * _SECOND)
        self._still = self._now()
        for name, value in orders.items():
            setattr(self, name, value)

    def _now(self) -> int:
        return self._simulated if self.sim else time.time_ns()

    def publish(self) -> None:
        """One state, and what the clock says after it."""
        real, passed = time.monotonic_ns(), time.monotonic_ns() - self._real
        self._real = real
        if self.runs:
            self._simulated += passed
        if self.moves:
            self.position = [q + dq * passed / _SECOND for q, dq in zip(self.position, self.velocity, strict=True)]
        if self.rate and (self.runs or not self.sim):
            message = JointState(name=self.names, position=self.position, velocity=self.velocity)
            message.header.stamp.sec, message.header.stamp.nanosec = divmod(self._stamp(), _SECOND)
            self._publisher.publish(message)
        if self.sim:
            self._clock_out = self._clock_out or self.create_publisher(Clock, "/clock", qos.CLOCK_OUT)
            clock = Clock()
            clock.clock.sec, clock.clock.nanosec = divmod(self._simulated, _SECOND)
            self._clock_out.publish(clock)

    def _stamp(self) -> int:
        if self.stamp == "zero":
            return 0
        if self.stamp == "still":
            return self._still
        return self._now() + (0 if self.stamp == "now" else round(float(self.stamp) * _SECOND))


class FaultyRobot:
    """The test's handle of such a process.

    Attributes:
        process: the newest one.

    Args:
        remapped: ROS remappings, such as ``orders:=other``.
        late: nothing is started yet; ``start_again`` does it.
        orders: what it does from the beginning.
    """

    process: Process

    def __init__(self, processes: Processes, probe: Probe, *remapped: str, late: bool = False, **orders: Any) -> None:
        topics = dict(entry.split(":=") for entry in remapped)
        self._publisher = probe.node.create_publisher(String, topics.get("orders", "orders"), qos.LATCHED)
        self._processes, self._arguments = processes, [part for entry in remapped for part in ("-r", entry)]
        self._orders: dict[str, Any] = {}
        self.order(**orders)
        if not late:
            self.start_again()

    def start_again(self) -> Process:
        """Another process in place of the one that was killed; it does what was ordered before."""
        self.process = self._processes.start([sys.executable, str(Path(__file__))], "robot", *self._arguments)
        return self.process

    def order(self, **orders: Any) -> None:
        """What it does from now on."""
        self._orders |= orders
        self._publisher.publish(String(data=json.dumps(self._orders)))
        # A robot that starts later must not jump again.
        self._orders.pop("jump", None)


def main(args: Sequence[str] | None = None) -> None:
    """Publishes until it is killed."""
    with without_shared_memory():
        rclpy.init(args=args)
        node = FaultyRobotNode()
    due = time.monotonic()
    while rclpy.ok():
        rclpy.spin_once(node, timeout_sec=max(due - time.monotonic(), 0.0))
        if time.monotonic() >= due:
            node.publish()
            due = max(due + 1.0 / (node.rate or 50.0), time.monotonic() - 0.1)


if __name__ == "__main__":
    main()
