"""Loads announced bundles beside the running one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from urllib.parse import unquote, urlparse

import numpy as np

from forerun_models.bundle import Bundle, load
from forerun_sim.errors import ForerunError, InputError

_MAX_TEXT = 65536


def announced(text: str) -> tuple[str, str | None]:
    """Folder and sha256 from an announcement, JSON ``{"uri": ..., "sha256": ...}``; the uri is a path or ``file://`` and a path.

    Raises:
        InputError: not such a text.
    """
    if len(text) > _MAX_TEXT:
        raise InputError(f"bundle: an announcement of {len(text)} characters; at most {_MAX_TEXT} are read")
    try:
        content = json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f'bundle: the announcement is not JSON ({error}); send {{"uri": "...", "sha256": "..."}}') from error
    uri = content.get("uri") if isinstance(content, dict) else None
    digest = content.get("sha256") if isinstance(content, dict) else None
    if not isinstance(uri, str) or not isinstance(digest, str | None):
        raise InputError('bundle: the announcement needs {"uri": "folder or file://folder", "sha256": "digest of bundle.json"}')
    parsed = urlparse(uri)
    if parsed.scheme not in ("", "file"):
        raise InputError(f"bundle: '{uri}' is not a folder that this machine can read; copy it here and announce that folder")
    return (unquote(parsed.path) if parsed.scheme == "file" else uri), digest


def warm_up(bundle: Bundle) -> None:
    """Runs the graph as a tick would, so that its first real tick is no slower than the others.

    Raises:
        InputError: the bundle has no agent, its graph does not run, or its plan does not fit the manifest.
    """
    if not bundle.has_agent:
        raise InputError(f"{bundle.path}: holds a model but no agent, so it cannot control; export it for a robot with a task")
    manifest = bundle.manifest
    history = np.zeros((manifest.history, manifest.state_size + manifest.action_size), np.float32)
    carry, image = bundle.start(), bundle.blank
    for elapsed in (0.0, manifest.period):
        try:
            noise = np.zeros(manifest.noise_size, np.float32)
            decision = bundle.act(history, manifest.goal_default, noise, elapsed, 0.0, carry, image)
        except Exception as error:  # ONNX Runtime raises types of its own that share no base but Exception
            raise InputError(f"{bundle.path}/act.onnx: does not run: {error}") from error
        carry = decision.carry
    expected = (manifest.horizon * manifest.commands_per_step, manifest.action_size)
    if decision.plan.shape != expected:
        raise InputError(f"{bundle.path}/act.onnx: plans {decision.plan.shape}, bundle.json says {expected}")
    predicted, states = decision.predicted, (manifest.horizon, manifest.state_size)
    if predicted.size and predicted.shape != states:
        raise InputError(f"{bundle.path}/act.onnx: predicts {predicted.shape}, bundle.json says {states}")


class BundleLoader:
    """Loads in a thread beside the loop; while one loads, only the newest of those announced meanwhile is kept.

    Making a session takes half a second of computing, in which ONNX Runtime releases the interpreter: the loop waits 4 ms at
    most. The thread keeps its normal priority, for a low one is suspended on a busy machine while it holds the interpreter
    (measured: the loop then waited 0.34 s).

    Args:
        robot: bundles of others are refused.
        accept: called with each bundle that was loaded and warmed up, in the loader's thread; may raise ForerunError.
        refuse: called with the reason why one was not taken, in the loader's thread.
    """

    def __init__(self, robot: str, accept: Callable[[Bundle], None], refuse: Callable[[str], None]) -> None:
        self._robot = robot
        self._accept = accept
        self._refuse = refuse
        self._wanted: tuple[str, str | None] | None = None
        self._ended = False
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="bundle loader", daemon=True)
        self._thread.start()

    def request(self, path: str, sha256: str | None) -> None:
        """Loads the bundle in the folder ``path`` soon."""
        with self._changed:
            self._wanted = (path, sha256)
            self._changed.notify()

    def close(self) -> None:
        """Ends the thread after the bundle that it loads; does not wait for it."""
        with self._changed:
            self._ended = True
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._wanted is not None or self._ended)
                if self._ended or self._wanted is None:
                    return
                (path, sha256), self._wanted = self._wanted, None
            try:
                bundle = load(path, robot=self._robot, sha256=sha256)
                warm_up(bundle)
                self._accept(bundle)
            except ForerunError as error:
                self._refuse(str(error))
            except Exception as error:
                # Whatever a damaged file provokes must not end the thread that loads the next one.
                self._refuse(f"{path}: {type(error).__name__}: {error}")
