"""The player node: publishes what a bag holds of states, commands and trials, for machines without ``ros2 bag``.

Messages come as they lie in the bag, at the times of their receipt, at another rate if asked. It begins once each topic
has a listener, or some seconds after the states have one, and ends with the bag.
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterable

import numpy as np
from rclpy.node import Node
from rclpy.publisher import Publisher
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray, String

from forerun.bags.content import JOINT_STATE, MULTI_ARRAY, STRING
from forerun.bags.storage import RawBag, read_raw
from forerun.nodes import qos
from forerun.nodes.parameters import Declared, Parameters
from forerun.nodes.running import run
from forerun_sim.errors import InputError

PARAMETERS = (
    Declared("uri", "", "The bag: its folder, or a .mcap or .db3 file.", fixed=True),
    Declared("rate", 1.0, "How many times as fast as it was recorded.", (0.001, 1000.0), fixed=True),
    Declared("publish_clock", False, "Publish /clock: the time at which each message was received.", fixed=True),
    Declared("wait", 30.0, "Seconds in which somebody must listen to the states.", (0.0, 3600.0), fixed=True),
)
_TYPES = {
    JOINT_STATE: (JointState, qos.STATES_OUT),
    MULTI_ARRAY: (Float64MultiArray, qos.COMMANDS_OUT),
    STRING: (String, qos.LATCHED),
}
_OTHERS = 5.0
"""Seconds after the first listener to the states in which those to the other topics are waited for."""
_MATCHED = 0.5
"""Seconds from when this side sees all listeners until they, too, see this side."""
_LAST = 0.5
"""Seconds after the last message in which it still gets to whoever listens."""


class PlayerNode(Node):  # type: ignore[misc]
    """Plays one bag, in a thread of its own."""

    def __init__(self) -> None:
        super().__init__("player", automatically_declare_parameters_from_overrides=True)
        values = Parameters(self, PARAMETERS).values()
        if not values["uri"]:
            raise InputError("parameter 'uri' is empty; give the bag to play")
        self.exit_code: int | None = None
        self._rate, self._patience = float(values["rate"]), float(values["wait"])
        # Once for what is in it, once to play: a bag may be larger than the memory.
        self._bag: RawBag = read_raw(values["uri"], take=_passed_by)
        for note in self._bag.notes:
            self.get_logger().warning(note)
        self._outputs: dict[str, Publisher] = {}
        self._states: list[Publisher] = []
        for name, stream in self._bag.streams.items():
            kind, profile = _TYPES[stream.topic.type]
            # Relative, so that a namespace applies.
            self._outputs[name] = self.create_publisher(kind, name.lstrip("/"), profile)
            if stream.topic.type == JOINT_STATE:
                self._states.append(self._outputs[name])
        if not self._states:
            raise InputError(f"{values['uri']}: has no joint states to play; the bag has: {self._bag.listing}")
        self._clock_out = self.create_publisher(Clock, "/clock", qos.CLOCK_OUT) if values["publish_clock"] else None
        self._began: tuple[int, float] | None = None  # receipt of the first message [ns], and when it was played
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._play, name="playing", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends the playing."""
        self._ending.set()
        self._thread.join(timeout=2.0)

    def _heard(self, outputs: list[Publisher], seconds: float, enough: Callable[[Iterable[int]], bool]) -> bool:
        """Waits until enough of ``outputs`` have a listener; whether they do."""
        deadline = time.monotonic() + seconds
        while not (found := enough(output.get_subscription_count() for output in outputs)):
            if time.monotonic() > deadline or self._ending.wait(0.02):
                break
        return found

    def _play(self) -> None:
        if not self._heard(self._states, self._patience, any):
            if not self._ending.is_set():
                self.get_logger().fatal(f"nobody listened to {self._states[0].topic_name} within {self._patience:g} s")
                self.exit_code = 1
            return
        if not self._heard(list(self._outputs.values()), _OTHERS, all):
            silent = [output.topic_name for output in self._outputs.values() if not output.get_subscription_count()]
            self.get_logger().warning(f"nobody listens to {', '.join(silent)}")
        self._ending.wait(_MATCHED)
        try:
            self._publish(read_raw(self._bag.path, take=self._publish))
        except _Ended:
            return
        except InputError as error:
            self.get_logger().fatal(str(error))
            self.exit_code = 1
            return
        self._ending.wait(_LAST)
        count = sum(stream.topic.count for stream in self._bag.streams.values())
        self.get_logger().info(f"{self._bag.path}: {count} messages were played")
        self.exit_code = 0

    def _publish(self, block: RawBag) -> tuple[int, str]:
        """Plays a block of the bag, as ``storage.Take``.

        Raises:
            _Ended: the node ends meanwhile.
        """
        streams = [stream for stream in block.streams.values() if len(stream.order)]
        if not streams:
            return 0, ""
        order = np.concatenate([stream.order for stream in streams])
        received = np.concatenate([stream.received for stream in streams])
        which = np.repeat(np.arange(len(streams)), [len(stream.order) for stream in streams])
        row = np.concatenate([np.arange(len(stream.order)) for stream in streams])
        sequence = np.argsort(order, kind="stable")
        if self._began is None:
            self._began = int(received.min()), time.monotonic()
        first, begin = self._began
        for at in sequence.tolist():
            due = begin + (int(received[at]) - first) * 1e-9 / self._rate
            while (left := due - time.monotonic()) > 0:
                if self._ending.wait(min(left, 0.2)):
                    raise _Ended
            if self._clock_out is not None:
                message = Clock()
                message.clock.sec, message.clock.nanosec = divmod(int(received[at]), 10**9)
                self._clock_out.publish(message)
            stream = streams[which[at]]
            self._outputs[stream.topic.name].publish(stream.payloads[row[at]])
        return _passed_by(block)


class _Ended(Exception):
    """The node ends while it plays."""


def _passed_by(block: RawBag) -> tuple[int, str]:
    """Nothing of the block is needed any more, as ``storage.Take``."""
    return max((int(stream.order[-1]) for stream in block.streams.values() if len(stream.order)), default=-1) + 1, ""


def main(args: list[str] | None = None) -> int:
    """Entry point of the executable ``player``."""
    return run(PlayerNode, args)


if __name__ == "__main__":
    sys.exit(main())
