"""Two processes that talk over DDS, for `forerun doctor`: how long until they find each other, how long is a round trip.

``python -m forerun.nodes.dds_probe TOPIC`` starts the other one by itself and prints its result as a line of JSON.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time

import rclpy
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.utilities import get_rmw_implementation_identifier
from std_msgs.msg import Float64MultiArray

from forerun.nodes import qos
from forerun.nodes.transport import without_shared_memory

_MESSAGES = 200
_PERIOD = 0.005
_DISCOVERY = 15.0
_LIFE = 40.0
"""The echo ends after this long by itself [s], whatever became of its parent."""


def _node(name: str) -> tuple[Context, Node, SingleThreadedExecutor]:
    context = Context()
    with without_shared_memory():
        rclpy.init(context=context, signal_handler_options=SignalHandlerOptions.NO)
        node = rclpy.create_node(name, context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    return context, node, executor


def echo(topic: str) -> None:
    """Sends back what comes, until it is killed."""
    context, node, executor = _node("forerun_doctor_echo")
    back = node.create_publisher(Float64MultiArray, f"{topic}/back", qos.COMMANDS_OUT)
    node.create_subscription(Float64MultiArray, f"{topic}/there", back.publish, qos.COMMANDS_OUT)
    print("ready", flush=True)
    ending = time.monotonic() + _LIFE
    while time.monotonic() < ending:
        executor.spin_once(timeout_sec=0.1)
    node.destroy_node()
    rclpy.shutdown(context=context)


def measure(topic: str) -> dict[str, object]:
    """Middleware, time of discovery [s] (None: they did not meet), round trips [s], number of messages sent."""
    command = [sys.executable, "-m", "forerun.nodes.dds_probe", topic, "echo"]
    other = subprocess.Popen(command, stdout=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    try:
        assert other.stdout is not None
        other.stdout.readline()
        return _measure(topic)
    finally:
        other.kill()
        other.wait(10)


def _measure(topic: str) -> dict[str, object]:
    context, node, executor = _node("forerun_doctor")
    trips: list[float] = []
    begin = time.monotonic()
    there = node.create_publisher(Float64MultiArray, f"{topic}/there", qos.COMMANDS_OUT)
    back = f"{topic}/back"
    node.create_subscription(
        Float64MultiArray, back, lambda message: trips.append(time.monotonic() - message.data[0]), qos.COMMANDS_OUT
    )
    discovery = None
    while discovery is None and time.monotonic() < begin + _DISCOVERY:
        executor.spin_once(timeout_sec=0.02)
        if there.get_subscription_count() and node.count_publishers(back):
            discovery = time.monotonic() - begin
    sent = 0
    if discovery is not None:
        due = time.monotonic()
        while sent < _MESSAGES:
            there.publish(Float64MultiArray(data=[time.monotonic()]))
            sent += 1
            due += _PERIOD
            while (left := due - time.monotonic()) > 0:
                executor.spin_once(timeout_sec=left)
        ending = time.monotonic() + 1.0
        while len(trips) < sent and time.monotonic() < ending:
            executor.spin_once(timeout_sec=0.05)
    node.destroy_node()
    rclpy.shutdown(context=context)
    return {"rmw": get_rmw_implementation_identifier(), "discovery": discovery, "sent": sent, "trips": trips}


def main() -> int:
    """The measuring process, or the other one."""
    if sys.argv[2:] == ["echo"]:
        echo(sys.argv[1])
    else:
        print(json.dumps(measure(sys.argv[1])), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
