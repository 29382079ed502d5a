"""The recorder node: any topics into a rosbag2 MCAP folder, for machines without ``ros2 bag``.

Messages are written as they come off the wire. A killed recorder leaves a file that is readable up to about its last second.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.clock import Clock, ClockType
from rclpy.node import Node
from rclpy.qos import DurabilityPolicy, HistoryPolicy, QoSProfile, ReliabilityPolicy
from rclpy.subscription import Subscription
from rclpy.topic_endpoint_info import TopicEndpointInfo
from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability

from forerun.bags.qos import FOREVER
from forerun.bags.stream import StreamWriter
from forerun.nodes.parameters import Declared, Parameters
from forerun.nodes.running import run
from forerun_sim.errors import ForerunError, InputError

_LOOK_EVERY = 0.1
_DEPTH = 1000

PARAMETERS = (
    Declared(
        "topics",
        ["joint_states", "commands", "trial"],
        "Topics to record; namespace and remaps apply.",
        fixed=True,
    ),
    Declared("uri", "", "Folder of the bag; it must not exist yet.", fixed=True),
    Declared("robot", "", "Name of the robot, kept in the bag.", fixed=True),
    Declared("simulated", False, "Whether the robot is simulated, kept in the bag.", fixed=True),
)


@dataclass(frozen=True)
class _Offer:
    """What the publishers of a topic offer, and a subscription that all of them match."""

    subscribe: QoSProfile
    recorded: Qos


class RecorderNode(Node):  # type: ignore[misc]
    """Subscribes to each topic as soon as somebody publishes it, and hands what comes to a ``StreamWriter``."""

    def __init__(self) -> None:
        super().__init__("recorder", automatically_declare_parameters_from_overrides=True)
        values = Parameters(self, PARAMETERS).values()
        if not values["uri"]:
            raise InputError("parameter 'uri' is empty; give the folder of the bag to record")
        if not values["topics"]:
            raise InputError("parameter 'topics' is empty; name the topics to record")
        self.exit_code: int | None = None
        self._waiting = [self.resolve_topic_name(name) for name in values["topics"]]
        self._heard: list[Subscription] = []
        self._writer = StreamWriter(values["uri"], robot=values["robot"] or None, simulated=values["simulated"] or None)
        self.create_timer(_LOOK_EVERY, self._look, clock=Clock(clock_type=ClockType.STEADY_TIME))
        self._look()
        self.get_logger().info(f"recording {', '.join(self._waiting) or 'all topics'} to {values['uri']}")

    def close(self) -> None:
        """Closes the bag, with all that has arrived so far: on a busy machine the recorder may be behind."""
        for subscription in self._heard:
            for _ in range(_DEPTH):  # no more: somebody may go on publishing
                with subscription.handle:
                    arrived = subscription.handle.take_message(subscription.msg_type, subscription.raw)
                if arrived is None:
                    break
                subscription.callback(*arrived)
        count = self._writer.count
        self._writer.close()
        self.get_logger().info(f"{self._writer.path}: {count} messages")
        if self._waiting:
            self.get_logger().warning(f"nobody published {', '.join(self._waiting)}")

    def _look(self) -> None:
        for topic in list(self._waiting):
            publishers = self.get_publishers_info_by_topic(topic)
            if publishers:
                self._waiting.remove(topic)
                self._record(topic, publishers)
        self._guarded(self._writer.flush_if_due)

    def _record(self, topic: str, publishers: list[TopicEndpointInfo]) -> None:
        kind = publishers[0].topic_type
        try:
            message_type = _message_type(kind)
            offer = _offer([publisher.qos_profile for publisher in publishers])
            self._writer.add_topic(topic, kind, qos=offer.recorded)
        except (ForerunError, ModuleNotFoundError, AttributeError, ValueError) as error:
            self.get_logger().error(f"{topic} is not recorded: its type {kind} is unknown here ({error})")
            return

        def write(data: bytes, info: dict[str, int]) -> None:
            self._guarded(lambda: self._writer.write_raw(topic, kind, self._received(info), data))

        self._heard.append(self.create_subscription(message_type, topic, write, offer.subscribe, raw=True))
        self.get_logger().info(f"recording {topic} ({kind})")

    def _received(self, info: dict[str, int]) -> int:
        """When the message arrived [ns]: by the middleware's account, or by /clock with use_sim_time."""
        if self.get_parameter("use_sim_time").value:
            return int(self.get_clock().now().nanoseconds)
        return info.get("received_timestamp") or time.time_ns()

    def _guarded(self, action: Callable[[], None]) -> None:
        try:
            action()
        except ForerunError as error:
            if self.exit_code is None:
                self.get_logger().fatal(str(error))
            self.exit_code = error.exit_code


def _message_type(kind: str) -> Any:
    """The class of the message type ``pkg/msg/Name``."""
    package, _, name = kind.partition("/msg/")
    return getattr(importlib.import_module(f"{package}.msg"), name)


def _offer(profiles: list[QoSProfile]) -> _Offer:
    """As ``ros2 bag`` does: reliable or latched only where all publishers are, so that none is left out."""
    reliable = all(profile.reliability == ReliabilityPolicy.RELIABLE for profile in profiles)
    latched = all(profile.durability == DurabilityPolicy.TRANSIENT_LOCAL for profile in profiles)
    subscribe = QoSProfile(
        history=HistoryPolicy.KEEP_LAST,
        depth=_DEPTH,
        reliability=ReliabilityPolicy.RELIABLE if reliable else ReliabilityPolicy.BEST_EFFORT,
        durability=DurabilityPolicy.TRANSIENT_LOCAL if latched else DurabilityPolicy.VOLATILE,
    )
    recorded = Qos(
        QosHistory.KEEP_LAST,
        max(profiles[0].depth, 1),
        QosReliability.RELIABLE if reliable else QosReliability.BEST_EFFORT,
        QosDurability.TRANSIENT_LOCAL if latched else QosDurability.VOLATILE,
        FOREVER,
        FOREVER,
        QosLiveliness.AUTOMATIC,
        FOREVER,
        False,
    )
    return _Offer(subscribe, recorded)


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable ``recorder``."""
    return run(RecorderNode, args)


if __name__ == "__main__":
    sys.exit(main())
