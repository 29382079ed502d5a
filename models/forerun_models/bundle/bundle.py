"""A loaded bundle: decides for the controller, predicts for everyone else."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import ArrayLike, NDArray

from forerun_models.bundle import files, parity
from forerun_models.bundle.errors import BundleError
from forerun_models.bundle.forecast import Forecast, as_history, follow, unroll
from forerun_models.bundle.manifest import Manifest

Tensor = NDArray[np.float32]
Carry = Mapping[str, Tensor]
"""What one call of act.onnx hands to the next, by name."""

AFTER = ("mean", "log_variance", "next_memory")
"""What advance.onnx gives."""

_ROWS = 64
"""Batch of one call of dynamics.onnx: always the same, so that a window's rollout does not depend on its neighbours."""


@dataclass(frozen=True)
class Decision:
    """The outcome of one tick, physical units.

    Attributes:
        plan: [H, A] commands, the first one to be given now.
        predicted: [H, S] states that the model expects after each of them (empty for agents without a model).
        value: predicted return of the plan.
        disagreement: epistemic spread of the ensemble along the plan, in standard deviations of the state (nan without a model).
        imagined: [M, H, S] states that each member expects (empty for agents without a model).
        carry: to be handed to the next tick.
    """

    plan: Tensor
    predicted: Tensor
    value: float
    disagreement: float
    imagined: Tensor
    carry: Carry


class Bundle:
    """A checked bundle; made by ``load``.

    Nothing in it changes after that, and ONNX Runtime's sessions may run in several threads at once: so may ``act``, ``predict``
    and ``rollout``. What a decision leaves for the next one is in its ``carry``, which belongs to the caller.
    """

    def __init__(self, path: Path, manifest: Manifest, digest: str, sessions: Mapping[str, onnxruntime.InferenceSession]):
        self.path = path
        self.manifest = manifest
        self.digest = digest
        self._act = sessions.get("act")
        self._dynamics = sessions.get("dynamics")
        self._advance = sessions.get("advance")
        self._carry_names = tuple(manifest.carry)
        taken = {entry.name: entry.shape for entry in self._act.get_inputs()} if self._act is not None else {}
        self._inputs = set(taken)
        self._picture_shape = tuple(taken["image"][1:]) if "image" in taken else None
        self._outputs = [
            "plan",
            "predicted",
            "value",
            "disagreement",
            "imagined",
            *(f"next_{name}" for name in self._carry_names),
        ]

    @property
    def has_agent(self) -> bool:
        """Whether the bundle can control (a model of a robot without tasks cannot)."""
        return self._act is not None

    @property
    def picture_shape(self) -> tuple[int, ...] | None:
        """[H, W, 3] of the pictures by which the agent acts; None for agents that act by joint states."""
        return self._picture_shape

    @property
    def blank(self) -> NDArray[np.uint8] | None:
        """A black picture of that shape."""
        return None if self._picture_shape is None else np.zeros(self._picture_shape, np.uint8)

    @property
    def has_model(self) -> bool:
        """Whether the bundle can predict (agents without a model cannot)."""
        return self._dynamics is not None

    def start(self) -> Carry:
        """The carry of the first tick."""
        return {name: np.full(shape, initial, np.float32) for name, (shape, initial) in self.manifest.carry.items()}

    def act(
        self,
        history: ArrayLike,
        goal: ArrayLike,
        noise: ArrayLike,
        elapsed: float,
        delay: float,
        carry: Carry,
        image: ArrayLike | None = None,
    ) -> Decision:
        """One decision.

        Args:
            history: [K, S+A], row i the state and the command given in it; the last row's command is the one under way.
            goal: [G].
            noise: [noise_size], standard normal.
            elapsed: seconds since the last plan (0 at the first).
            delay: seconds from the history's end to the moment at which the plan's first command acts, at most a period.
            carry: ``start()`` or the last decision's.
            image: [H, W, 3], uint8, the newest picture; only for agents that see (``picture_shape``).

        Raises:
            BundleError: the bundle has no agent, or it needs a picture and there is none of its shape.
        """
        if self._act is None:
            raise BundleError(
                f"{self.path}: holds a model of {self.manifest.robot} alone, without an agent, so it cannot control"
            )
        feed: dict[str, NDArray[Any]] = {
            "history": np.asarray(history, np.float32)[None],
            "goal": np.asarray(goal, np.float32).reshape(1, -1),
            "noise": np.asarray(noise, np.float32),
            "elapsed": np.asarray([elapsed], np.float32),
            "delay": np.asarray([delay], np.float32),
            **carry,
        }
        if self.picture_shape is not None:
            if image is None or np.shape(image) != self.picture_shape:
                has = "none" if image is None else f"one of shape {list(np.shape(image))}"
                raise BundleError(
                    f"{self.path}: its agent needs a picture of shape {list(self.picture_shape)}, and was given {has}"
                )
            feed["image"] = np.asarray(image, np.uint8)[None]
        results = self._act.run(self._outputs, {name: value for name, value in feed.items() if name in self._inputs})
        plan, predicted, value, disagreement, imagined, *after = results
        return Decision(
            plan=plan[0],
            predicted=predicted[0],
            value=float(value.reshape(-1)[0]),
            disagreement=float(disagreement.reshape(-1)[0]),
            imagined=imagined[0],
            carry=dict(zip(self._carry_names, after, strict=True)),
        )

    def predict(self, history: ArrayLike, action: ArrayLike) -> tuple[Tensor, Tensor, Tensor]:
        """One step of every member.

        Args:
            history: [N, K, S+A] with K of the manifest.
            action: [N, A], acts from the last row's state on.

        Returns:
            Mean and log-variance of the next state per member [E, N, S] (the logarithm of SI units squared), and the next
            history [N, K, S+A], which goes on from the elites' mean.

        Raises:
            BundleError: the bundle has no model.
        """
        mean, log_variance, following = self._predict(history, action, ["mean", "log_variance", "next_history"])
        return mean, log_variance, following

    def _predict(self, history: ArrayLike, action: ArrayLike, outputs: list[str]) -> list[Tensor]:
        if self._dynamics is None:
            raise BundleError(f"{self.path}: holds a {self.manifest.agent} agent without a model, so it cannot predict")
        feed = {"history": np.asarray(history, np.float32), "action": np.asarray(action, np.float32)}
        return list(self._dynamics.run(outputs, feed))

    def rollout(self, past_states: ArrayLike, past_actions: ArrayLike, actions: ArrayLike) -> Tensor:
        """The elites' mean prediction, open loop. A model that remembers more than a window is followed member by member; in
        others each step goes on from the elites' mean.

        Args:
            past_states: [N, K, S] for any K from 1 on, the newest last; short pasts are padded with their first row.
            past_actions: [N, K-1, A]; action i acted between states i and i+1.
            actions: [N, H, A] to come.

        Returns:
            Predicted states [N, H, S].

        Raises:
            BundleError: the bundle has no model.
            ValueError: the shapes do not match.
        """
        states, past, future = (np.asarray(array, np.float32) for array in (past_states, past_actions, actions))
        self._check_shapes(states, past, future)
        history = as_history(states, past, future, self.manifest.history)
        count, horizon = future.shape[:2]
        size = self.manifest.state_size
        predicted = np.empty((count, horizon, size), np.float32)
        for start in range(0, count, _ROWS):
            rows = np.minimum(np.arange(start, start + _ROWS), count - 1)
            window, kept = history[rows], min(_ROWS, count - start)
            if self._advance is not None:
                predicted[start : start + kept] = follow(self._begin, self._go_on, window, future[rows]).mean[:kept]
                continue
            for step in range(horizon):
                _, _, window = self.predict(window, future[rows, step])
                predicted[start : start + kept, step] = window[:kept, -1, :size]
        return predicted

    def forecast(self, past_states: ArrayLike, past_actions: ArrayLike, actions: ArrayLike) -> Forecast:
        """Open-loop predictions with their uncertainty, calibrated where the bundle knows how.

        Arguments and errors as in ``rollout``; where each step needs a window, it takes as many times its time as the
        ensemble has members.
        """
        states, past, future = (np.asarray(array, np.float32) for array in (past_states, past_actions, actions))
        self._check_shapes(states, past, future)
        history, count = as_history(states, past, future, self.manifest.history), len(future)
        parts = []
        for start in range(0, count, _ROWS):
            rows = np.minimum(np.arange(start, start + _ROWS), count - 1)
            parts.append(self._imagined(history[rows], future[rows]))
        whole = Forecast(
            mean=np.concatenate([part.mean for part in parts])[:count],
            members=np.concatenate([part.members for part in parts], axis=1)[:, :count],
            aleatoric=np.concatenate([part.aleatoric for part in parts])[:count],
            epistemic=np.concatenate([part.epistemic for part in parts])[:count],
        )
        calibration = self.manifest.calibration
        return whole if calibration is None else whole.calibrated(calibration)

    def _imagined(self, history: Tensor, future: Tensor) -> Forecast:
        """The raw forecast from histories [N, K, S+A] under actions [N, H, A]."""
        if self._advance is None:
            return unroll(self.predict, history, future, self.manifest.state_size)
        return follow(self._begin, self._go_on, history, future)

    def _begin(self, history: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        mean, log_variance, memory = self._predict(history, action, ["mean", "log_variance", "memory"])
        return mean, log_variance, memory

    def _go_on(self, memory: Tensor, action: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        assert self._advance is not None
        mean, log_variance, after = self._advance.run(AFTER, {"memory": memory, "action": action})
        return mean, log_variance, after

    def _check_shapes(self, states: Tensor, past: Tensor, future: Tensor) -> None:
        state_size, action_size = self.manifest.state_size, self.manifest.action_size
        fits = (
            states.ndim == past.ndim == future.ndim == 3
            and len(states) == len(past) == len(future)
            and states.shape[1] >= 1
            and past.shape[1] == states.shape[1] - 1
            and states.shape[2] == state_size
            and past.shape[2] == future.shape[2] == action_size
        )
        if not fits:
            raise ValueError(
                f"rollout of {self.manifest.robot} takes past_states [N, K, {state_size}], past_actions [N, K-1, {action_size}], "
                f"actions [N, H, {action_size}]; got {states.shape}, {past.shape}, {future.shape}"
            )


def load(path: str | Path, *, robot: str | None = None, sha256: str | None = None, threads: int = 1) -> Bundle:
    """Loads and checks the bundle in the folder ``path``: digests, format, graphs, parity.

    Args:
        path: the bundle's folder.
        robot: refuse a bundle of another robot.
        sha256: refuse a bundle whose bundle.json has another digest.
        threads: threads of ONNX Runtime; 1 leaves the other cores to the rest of the robot.

    Raises:
        BundleError: damaged, foreign, or of another format; the message says what is wrong.
    """
    folder = Path(path)
    if not folder.is_dir():
        raise BundleError(f"{folder}: no such bundle folder")
    text = files.read(folder, "bundle.json", sha256)
    manifest = Manifest.from_json(text.decode("utf-8", errors="replace"), f"{folder}/bundle.json")
    if robot is not None and manifest.robot != robot:
        raise BundleError(f"{folder}: is a bundle for the robot '{manifest.robot}', not for '{robot}'")
    content = {name: files.read(folder, name, digest) for name, digest in manifest.files.items()}
    sessions = {
        name: _session(content[f"{name}.onnx"], f"{folder}/{name}.onnx", threads)
        for name in ("act", "dynamics", "advance")
        if f"{name}.onnx" in content
    }
    if "act" in sessions:
        _check_interface(manifest, sessions["act"], folder)
    source = f"{folder}/parity.npz"
    parity.check(parity.from_npz(content["parity.npz"], source), sessions, source)
    return Bundle(folder, manifest, files.sha256(text), sessions)


def _session(content: bytes, source: str, threads: int) -> onnxruntime.InferenceSession:
    files.refuse_external_data(content, source)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # Helpers that sleep between operators wake too late to help, and those that spin between plans starve the rest of the robot.
    options.add_session_config_entry("session.intra_op.allow_spinning", "1" if threads > 1 else "0")
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.inter_op.allow_spinning", "0")
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime raises types of its own that share no base but Exception
        raise BundleError(f"{source}: cannot be loaded: {error}") from error


def _check_interface(manifest: Manifest, session: onnxruntime.InferenceSession, folder: Path) -> None:
    """The graph must have the tensors that the controller will feed and read."""
    inputs = {entry.name: entry.shape for entry in session.get_inputs()}
    outputs = {entry.name for entry in session.get_outputs()}
    allowed = {"history", "goal", "noise", "elapsed", "delay", "image", *manifest.carry}
    needed = {"plan", "predicted", "value", "disagreement", "imagined", *(f"next_{name}" for name in manifest.carry)}
    if not set(inputs) <= allowed or not needed <= outputs:
        raise BundleError(
            f"{folder}/act.onnx: takes {sorted(inputs)} and gives {sorted(outputs)}; "
            f"allowed inputs are {sorted(allowed)}, needed outputs {sorted(needed)}"
        )
    row = manifest.state_size + manifest.action_size
    if "history" in inputs and list(inputs["history"])[1:] != [manifest.history, row]:
        expected = [1, manifest.history, row]
        raise BundleError(f"{folder}/act.onnx: takes a history {inputs['history']}, bundle.json says {expected}")
