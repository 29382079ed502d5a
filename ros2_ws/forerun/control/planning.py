"""Asking the bundle for a plan, in the tick or beside it: predict the history forward to when the plan acts, then plan.

A plan that takes longer than its tick must not delay the command. ``WorkerPlanner`` computes in a thread of its own (ONNX
Runtime releases the interpreter while it computes), so the loop can give up waiting and use the last plan; the late one is
taken when it is there.
"""

from __future__ import annotations

import math
import queue
import threading
import time
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from forerun.control.delay import Start, predict_forward
from forerun_models.bundle import Bundle, Carry, Decision, Manifest


@dataclass(frozen=True)
class Request:
    """One call of act.onnx: for the tick at ``time`` [s], from ``start`` on, goal [G], noise [n], and the seconds between the
    moments at which the last plan's first command acts and this one's (0 for the first); the newest picture [H, W, 3], if any."""

    bundle: Bundle
    time: float
    start: Start
    goal: NDArray[np.float32]
    noise: NDArray[np.float32]
    elapsed: float
    carry: Carry
    image: NDArray[np.uint8] | None = None

    @property
    def history(self) -> NDArray[np.float32]:
        """[K, S+A], the newest measured state last."""
        return self.start.history


@dataclass(frozen=True)
class Reply:
    """What came of a request: a decision, or the error that came instead; ``duration`` of the computation [s]."""

    request: Request
    decision: Decision | None
    error: str
    duration: float


class Planner(Protocol):
    """Takes one request at a time."""

    @property
    def busy(self) -> bool:
        """Whether a request is still being computed."""
        ...

    def submit(self, request: Request) -> None:
        """Starts computing; only while not ``busy``."""
        ...

    def reply(self, timeout: float) -> Reply | None:
        """The reply to the last request, waited for at most ``timeout`` [s]; None if there is none (yet)."""
        ...

    def close(self) -> None:
        """Ends the planner."""
        ...


def decide(request: Request) -> Reply:
    """Runs the graphs. An error of theirs becomes the reply's ``error``: the loop falls back, it does not end."""
    begin, start = time.perf_counter(), request.start
    try:
        history = predict_forward(request.bundle, start.history, start.commands, start.under_way)
        given = request.goal, request.noise, request.elapsed, start.delay, request.carry, request.image
        decision = request.bundle.act(history, *given)
    except Exception as error:  # ONNX Runtime raises types of its own that share no base but Exception
        return Reply(request, None, f"{type(error).__name__}: {error}", time.perf_counter() - begin)
    return Reply(request, decision, "", time.perf_counter() - begin)


def unusable(decision: Decision | None, manifest: Manifest) -> str:
    """Why the plan of a ``decision`` cannot be executed on the manifest's robot; empty if it can."""
    if decision is None:
        return "it gave no plan"
    plan, predicted = decision.plan, decision.predicted
    if plan.ndim != 2 or plan.shape[1] != manifest.action_size or not len(plan):
        return f"its plan has the shape {plan.shape}"
    if predicted.size and predicted.shape != (manifest.horizon, manifest.state_size):
        return f"it predicts states of the shape {predicted.shape}"
    if not (np.isfinite(plan).all() and np.isfinite(predicted).all()):
        return "its plan is not finite"
    if np.isneginf(decision.value):
        return "no sequence that it tried has a finite return"
    return ""


def disagrees(decision: Decision, bundle: Bundle, allowed: float) -> str:
    """Why a plan must not be executed for its ``disagreement``, or for where it leads; empty if it may. ``allowed`` may be
    infinite: then both may be what they like.

    A model whose spread is not a number has members that left all bounds; without a model there is nobody to disagree. Members
    that agree know nothing either where none of them has been: the square of the distance from there may be the same multiple of
    its usual size as the disagreement.
    """
    found = decision.disagreement
    if math.isinf(allowed) or (math.isnan(found) and not bundle.has_model):
        return ""
    if not found <= allowed:
        return f"disagreement is {found:.3g}, allowed is {allowed:.3g}"
    ground, manifest = bundle.manifest.ground, bundle.manifest
    if ground is None or not decision.predicted.size:
        return ""
    farthest = math.sqrt(manifest.disagreement_factor) * manifest.thresholds["distance"]
    away = float(ground.distance(decision.predicted).max())
    return "" if away <= farthest else f"distance from the states that its model knows is {away:.3g}, allowed is {farthest:.3g}"


class InlinePlanner:
    """Computes in ``submit``, however long it takes: for lockstep, where the simulator waits."""

    def __init__(self) -> None:
        self._reply: Reply | None = None

    @property
    def busy(self) -> bool:
        return False

    def submit(self, request: Request) -> None:
        self._reply = decide(request)

    def reply(self, timeout: float) -> Reply | None:
        reply, self._reply = self._reply, None
        return reply

    def close(self) -> None:
        """Nothing to end."""


class WorkerPlanner:
    """Computes in a thread of its own."""

    def __init__(self) -> None:
        self._requests: queue.SimpleQueue[Request | None] = queue.SimpleQueue()
        self._replies: queue.SimpleQueue[Reply] = queue.SimpleQueue()
        self._busy = False
        self._thread = threading.Thread(target=self._work, name="planner", daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        return self._busy

    @property
    def thread_id(self) -> int:
        """The thread's id as the operating system knows it, for its priority."""
        return self._thread.native_id or 0

    def submit(self, request: Request) -> None:
        self._busy = True
        self._requests.put(request)

    def reply(self, timeout: float) -> Reply | None:
        try:
            reply = self._replies.get(timeout=timeout) if timeout > 0 else self._replies.get_nowait()
        except queue.Empty:
            return None
        self._busy = False
        return reply

    def close(self) -> None:
        """Ends the thread after the request under way; does not wait for it."""
        self._requests.put(None)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None:
            self._replies.put(decide(request))
