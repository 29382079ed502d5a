"""A lifecycle node whose transitions tell what went wrong, and which survives those that are impossible."""

from __future__ import annotations

import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from lifecycle_msgs.srv import ChangeState
from rclpy.impl.implementation_singleton import rclpy_implementation
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn

from forerun_sim.errors import ForerunError

_Answer = Callable[[ChangeState.Request, ChangeState.Response], ChangeState.Response]


class GuardedNode(LifecycleNode, ABC):  # type: ignore[misc]
    """Subclasses say what ``configure``, ``activate``, ``deactivate`` and ``release`` (clean-up, shutdown, error) do.

    An error for the user (``ForerunError``) fails the transition, anything else leads through ``release`` to unconfigured.

    Attributes:
        failure: why the last transition failed; empty where it did not.
        finalized: whether the node was shut down for good.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name, automatically_declare_parameters_from_overrides=True)
        self.failure = ""
        self.finalized = False
        for service in self.services:
            if service.srv_name.endswith("/change_state"):
                service.callback = self._surviving(service.callback)

    @abstractmethod
    def configure(self) -> None:
        """From unconfigured to inactive."""

    @abstractmethod
    def activate(self) -> None:
        """From inactive to active."""

    @abstractmethod
    def deactivate(self) -> str:
        """From active to inactive; returns what had failed before (then an error is processed), or an empty text."""

    @abstractmethod
    def release(self, reason: str) -> None:
        """From any state to one in which nothing is held."""

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("configure", self.configure)

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("activate", self.activate)

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("deactivate", self.deactivate)

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        return self._guarded("cleanup", lambda: self.release("cleaned up"))

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        self.finalized = True
        return self._guarded("shutdown", lambda: self.release("shut down"))

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        why = self.failure
        result = self._guarded("error", lambda: self.release("error"))
        self.failure = self.failure or why
        self.finalized = result != TransitionCallbackReturn.SUCCESS
        return result

    def close(self) -> None:
        """The process ends: whatever state the node is in, it is released."""
        self._guarded("shutdown", lambda: self.release("the process ends"))

    def _guarded(self, name: str, action: Callable[[], str | None]) -> TransitionCallbackReturn:
        """rclpy drops exceptions of these callbacks without a word; here they are told and lead to the right state."""
        try:
            failed = action()
        except ForerunError as error:
            self.failure = f"{name}: {error}"
            self.get_logger().error(self.failure)
            return TransitionCallbackReturn.FAILURE
        except Exception as error:
            self.failure = f"{name}: {type(error).__name__}: {error}"
            self.get_logger().fatal(f"{name} failed:\n{traceback.format_exc()}")
            return TransitionCallbackReturn.ERROR
        self.failure = failed or ""
        return TransitionCallbackReturn.ERROR if failed else TransitionCallbackReturn.SUCCESS

    def _surviving(self, answer: _Answer) -> Any:
        """rclpy lets a transition that is impossible now, asked for by its number, end the whole process."""

        def change(request: ChangeState.Request, response: ChangeState.Response) -> ChangeState.Response:
            try:
                return answer(request, response)
            except rclpy_implementation.RCLError as error:
                asked = request.transition.label or request.transition.id
                self.get_logger().warning(f"transition {asked} refused: {error}")
                response.success = False
                return response

        return change
