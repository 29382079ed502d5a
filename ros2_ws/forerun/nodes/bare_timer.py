"""A node that does nothing, at a rate: the yardstick for the controller's loop.

A timer as any rclpy node has it, spun as any rclpy node is. It keeps when it was called [ns, monotonic] and writes that to
the JSON file ``file`` at its end.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from pathlib import Path

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node

from forerun_sim.files import write_file


class BareTimer(Node):  # type: ignore[misc]
    """Calls itself ``rate`` times a second."""

    def __init__(self) -> None:
        super().__init__("bare_timer")
        self.times: list[int] = []
        self.file = str(self.declare_parameter("file", "").value)
        rate = float(self.declare_parameter("rate", 100.0).value)
        self.create_timer(1.0 / rate, self._called)

    def _called(self) -> None:
        self.times.append(time.monotonic_ns())


def main(args: list[str] | None = None) -> int:
    """Entry point: ``python -m forerun.nodes.bare_timer``."""
    rclpy.init(args=args)
    node = BareTimer()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):  # the way to end it
        rclpy.spin(node)
    write_file(Path(node.file), json.dumps(node.times))
    node.destroy_node()
    rclpy.try_shutdown()
    return 0


if __name__ == "__main__":
    sys.exit(main())
