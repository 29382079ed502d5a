"""How every node starts, spins and ends.

rclpy's own signal handler invalidates the context before a last command can be sent, so the signals are handled here: the first
SIGINT or SIGTERM ends the spinning, then the node sends what it must, then rclpy is shut down. Further signals change nothing.
"""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable
from typing import Protocol

import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions

from forerun.nodes.transport import without_shared_memory
from forerun_sim.errors import ForerunError

_SWITCH_INTERVAL = 0.0001
"""How long a Python thread may keep the interpreter from the loop [s]; 5 ms by default, a quarter of a period at 50 Hz. With
0.5 ms the 99th percentile of the period's error was 0.5 to 0.8 ms at 100 Hz with real-time priority, with 0.1 ms it is 0.2 ms."""


class Runnable(Protocol):
    """A node with an end."""

    @property
    def exit_code(self) -> int | None:
        """None while the node wants to go on."""
        ...

    def close(self) -> None:
        """Sends what must be sent before the node goes."""
        ...


class _StopSignal:
    def __init__(self) -> None:
        self.received = 0
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._handle)

    def _handle(self, number: int, frame: object) -> None:
        self.received = self.received or number


def run(make: Callable[[], Node], args: list[str] | None) -> int:
    """Makes the node and spins it until a signal or its own end; returns the exit code.

    The node must be ``Runnable``. Errors for the user are printed without traceback.
    """
    sys.setswitchinterval(_SWITCH_INTERVAL)
    stop = _StopSignal()
    try:
        with without_shared_memory():
            rclpy.init(args=args, signal_handler_options=SignalHandlerOptions.NO)
            node = make()
        return _spin(node, stop)
    except ForerunError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return error.exit_code
    finally:
        rclpy.try_shutdown()


def _left_alone() -> bool:
    """Whether the process that started the node, and would have ended it, is gone (``FORERUN_STARTER`` is its number)."""
    return os.environ.get("FORERUN_STARTER", str(os.getppid())) != str(os.getppid())


def _spin(node: Node, stop: _StopSignal) -> int:
    runnable: Runnable = node
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    failed = False
    try:
        while not stop.received and runnable.exit_code is None and not _left_alone():
            executor.spin_once(timeout_sec=0.1)
    except ForerunError:
        raise
    except Exception:
        node.get_logger().fatal(f"a callback failed:\n{traceback.format_exc()}")
        failed = True
    finally:
        runnable.close()
        executor.remove_node(node)
        executor.shutdown(timeout_sec=1.0)
        node.destroy_node()
    return 1 if failed else (runnable.exit_code or 0)
