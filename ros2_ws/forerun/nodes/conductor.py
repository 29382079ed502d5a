"""Drives a rehearsal from outside: lifecycle transitions, episodes of the simulator, bundles for the controller."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import rclpy
from diagnostic_msgs.msg import DiagnosticArray
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rclpy.context import Context
from rclpy.executors import SingleThreadedExecutor
from rclpy.signals import SignalHandlerOptions
from sensor_msgs.msg import JointState
from std_msgs.msg import String
from std_srvs.srv import Trigger

from forerun.nodes import qos
from forerun.nodes.transport import without_shared_memory
from forerun_sim.errors import ForerunError

_TIMEOUT = 60.0
"""Seconds; twenty times what nodes need to start on a machine that does nothing else."""
_SHADOW = 60.0
"""Seconds in which an announced bundle is loaded and tried; longer than the controller's patience with it."""
_TRANSITIONS = {
    "configure": Transition.TRANSITION_CONFIGURE,
    "activate": Transition.TRANSITION_ACTIVATE,
    "deactivate": Transition.TRANSITION_DEACTIVATE,
}


class Conductor:
    """Talks to one simulator and one controller. Use as a context manager; not for use from several threads.

    Attributes:
        learning: the values of a trainer's last diagnostics, if there is one.
    """

    def __init__(self) -> None:
        self._context = Context()
        with without_shared_memory():
            rclpy.init(context=self._context, signal_handler_options=SignalHandlerOptions.NO)
            self._node = rclpy.create_node("conductor", context=self._context)
        self._executor = SingleThreadedExecutor(context=self._context)
        self._executor.add_node(self._node)
        self._trial: dict[str, Any] = {}
        self._status: dict[str, str] = {}
        self.learning: dict[str, str] = {}
        self._clock: Any = None
        self._answered = 0
        self._node.create_subscription(String, "trial", self._on_trial, qos.LATCHED)
        self._node.create_subscription(DiagnosticArray, "/diagnostics", self._on_diagnostics, qos.DIAGNOSTICS)
        self._bundle = self._node.create_publisher(String, "bundle", qos.LATCHED)
        self._services = {
            "change_state": self._node.create_client(ChangeState, "controller/change_state"),
            "reset": self._node.create_client(Trigger, "controller/reset"),
            "randomize": self._node.create_client(Trigger, "simulator/randomize"),
        }

    def __enter__(self) -> Conductor:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._executor.shutdown(timeout_sec=1.0)
        self._node.destroy_node()
        rclpy.try_shutdown(context=self._context)

    @property
    def status(self) -> dict[str, str]:
        """The values of the controller's last diagnostics, with its ``message``."""
        return dict(self._status)

    def transition(self, name: str) -> None:
        """Takes the controller through ``configure``, ``activate`` or ``deactivate``.

        Raises:
            ForerunError: it refuses, or does not answer.
        """
        request = ChangeState.Request()
        request.transition.id = _TRANSITIONS[name]
        if not self._call("change_state", request).success:
            raise ForerunError(f"the controller refused to {name}; its log says why")

    def next_episode(self) -> str:
        """Begins the simulator's next episode, makes the controller forget the last one, and returns the trial's id."""
        self.wait_until(lambda: bool(self._trial), _TIMEOUT, "the simulator announces no trial")
        before = self._trial.get("id")
        self._call("randomize", Trigger.Request())
        self.wait_until(lambda: self._trial.get("id") != before, _TIMEOUT, "the simulator announces no new trial")
        self._call("reset", Trigger.Request())
        return str(self._trial["id"])

    def listen(self, answers: str) -> None:
        """Hears the controller's ``answers``, a topic; before it is active, as the last one of an episode comes but once.

        Raises:
            ForerunError: nobody publishes them.
        """
        self._clock = self._node.create_subscription(JointState, answers, self._on_answer, qos.STAMPED)
        self.wait_until(lambda: self._clock.get_publisher_count() > 0, _TIMEOUT, f"nobody publishes {answers}")

    def play(self, seconds: float, *, first: bool, patience: float = 1200.0, check: Callable[[], None]) -> str:
        """Plays an episode of a simulator in lockstep that waits after ``seconds`` simulated ones, and returns the trial's id.
        The controller's answers, which have the states' stamps, must be listened to.

        Args:
            seconds: how long it lasts, at most the simulator's ``episode_seconds``.
            first: the episode under way is meant, not the next one, before which the controller forgets the last one.
            patience: seconds that it may take.
            check: may raise what ends the waiting.
        """
        if not first:
            before = self._trial.get("id")
            self._call("reset", Trigger.Request())
            self._call("randomize", Trigger.Request())
            self.wait_until(lambda: self._trial.get("id") != before, _TIMEOUT, "the simulator announces no new trial")
        self.wait_until(lambda: bool(self._trial), _TIMEOUT, "the simulator announces no trial")
        end = int(self._trial["stamp_ns"]) + round(seconds * 1e9)

        def over() -> bool:
            check()
            return self._answered >= end

        self.wait_until(over, patience, f"the episode does not last {seconds:g} s")
        return str(self._trial["id"])

    def wait_for_listeners(self, topics: Sequence[str], count: int) -> None:
        """Waits until ``count`` subscriptions listen to each of ``topics``: discovery takes seconds that no bag should miss."""
        self.wait_until(
            lambda: all(self._node.count_subscribers(topic) >= count for topic in topics),
            _TIMEOUT,
            f"fewer than {count} nodes listen to each of {', '.join(topics)}",
        )

    def offer(self, path: Path, digest: str) -> str:
        """Announces the bundle at ``path`` and waits until it has taken over; returns why the controller refused it, or nothing.

        Raises:
            ForerunError: neither happens.
        """
        folder = str(path.resolve())
        self._status.pop("refused bundle", None)
        self._bundle.publish(String(data=json.dumps({"uri": folder, "sha256": digest})))
        self.wait_until(
            lambda: self._status.get("bundle") == digest or folder in self._status.get("refused bundle", ""),
            _SHADOW,
            f"the controller neither takes nor refuses {path}",
        )
        return "" if self._status.get("bundle") == digest else self._status["refused bundle"]

    def wait(self, seconds: float, check: Callable[[], None] = lambda: None) -> None:
        """Lets time pass; ``check`` may raise what ends the waiting."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._executor.spin_once(timeout_sec=min(0.1, left))
            check()

    def wait_until(self, condition: Callable[[], bool], seconds: float, complaint: str) -> None:
        """Waits for ``condition``.

        Raises:
            ForerunError: it does not come true within ``seconds``; with ``complaint`` and the controller's last message.
        """
        deadline = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > deadline:
                raise ForerunError(f"{complaint} within {seconds:g} s (controller: {self._status.get('message', 'silent')})")
            self._executor.spin_once(timeout_sec=0.1)

    def _call(self, name: str, request: Any) -> Any:
        client = self._services[name]
        self.wait_until(client.service_is_ready, _TIMEOUT, f"nobody offers the service {client.srv_name}")
        future = client.call_async(request)
        self.wait_until(future.done, _TIMEOUT, f"no answer from the service {client.srv_name}")
        return future.result()

    def _on_trial(self, message: String) -> None:
        self._trial = json.loads(message.data)

    def _on_answer(self, message: JointState) -> None:
        self._answered = message.header.stamp.sec * 1_000_000_000 + message.header.stamp.nanosec

    def _on_diagnostics(self, message: DiagnosticArray) -> None:
        for status in message.status:
            if status.name.startswith("controller: "):
                self._status |= {entry.key: entry.value for entry in status.values}
            if status.name == "controller: control":
                self._status["message"] = status.message
            if status.name == "trainer: learning":
                self.learning |= {entry.key: entry.value for entry in status.values}
