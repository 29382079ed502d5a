"""A small real bundle: act.onnx is a linear law, dynamics.onnx a linear model, built by hand: a test knows what must come."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from forerun_models.bundle import CAUSES, Manifest, ParityCase, write

PICTURE = (8, 8, 3)


@dataclass(frozen=True)
class Law:
    """``plan[h] = bias + ramp * h + gain @ state`` over the ``horizon`` steps, h counting commands; the state is predicted to
    move by ``drift`` a step.

    With ``sight`` it acts by pictures [8, 8, 3] too: ``sight`` times their mean, 0 to 255, is added to the plan.
    ``effort`` multiplies matrices of 512 x 512 that many times before it answers, to be slow.
    """

    gain: Sequence[Sequence[float]] = ((0.0, 0.0, 0.0, 0.0),)
    bias: Sequence[float] = (1.0,)
    ramp: Sequence[float] = (0.0,)
    drift: Sequence[float] = (0.0, 0.0, 0.0, 0.0)
    horizon: int = 8
    disagreement: float = 0.1
    effort: int = 0
    sight: float = 0.0


@dataclass(frozen=True)
class Model:
    """One step of the plant: ``a @ state + b @ action``, with a [S, S] and b [S, A]."""

    a: Sequence[Sequence[float]]
    b: Sequence[Sequence[float]]


@dataclass(frozen=True)
class Body:
    """The robot of a tiny bundle; a cart and pole unless told otherwise."""

    robot: str = "cartpole"
    task: str = "swing_up"
    joints: tuple[str, ...] = ("slider", "hinge")
    actions: tuple[str, ...] = ("slider",)
    overrides: dict[str, Any] = field(default_factory=dict)

    def manifest(self, horizon: int) -> Manifest:
        """The content of bundle.json."""
        values = self._nominal(horizon) | self.overrides
        vectors = {name: value.shape for name, value in self._nominal(horizon).items() if isinstance(value, np.ndarray)}
        values |= {name: np.asarray(values[name], float) for name in vectors}
        return Manifest(
            **values | {name: np.broadcast_to(values[name], vectors[name]) for name in vectors if not values[name].ndim}
        )

    def _nominal(self, horizon: int) -> dict[str, Any]:
        joints, actions = len(self.joints), len(self.actions)
        return {
            "robot": self.robot,
            "task": self.task,
            "agent": "linear",
            "joints": self.joints,
            "actions": self.actions,
            "interfaces": ("effort",) * actions,
            "position_lower": np.full(joints, -np.inf),
            "position_upper": np.full(joints, np.inf),
            "velocity_limit": np.full(joints, np.inf),
            "deceleration": np.full(joints, np.nan),
            "command_lower": np.full(actions, -10.0),
            "command_upper": np.full(actions, 10.0),
            "slew": np.full(actions, 100.0),
            "rate": 50.0,
            "history": 4,
            "horizon": horizon,
            "command_rate": self.overrides.get("rate", 50.0),
            "command_delay": 0.0,
            "safe_action": "zero",
            "damp_gain": np.zeros(actions),
            "stale_after": 0.1,
            "max_misses": 5,
            "velocity_margin": 1.2,
            "disagreement_factor": 0.0,
            "max_disagreeing": 5,
            "recover_after": 10,
            "recovery": dict.fromkeys(CAUSES, "latch"),
            "command_timeout": 0.25,
            "goal_names": (),
            "goal_default": np.zeros(0),
            "noise_size": 3,
            "carry": {"carry_count": ((1, 1), 0.0)},
            "thresholds": {},
            "joint_states_topic": "joint_states",
            "commands_topic": "commands",
            "links": (),
            "trained_on": {},
            "metrics": {},
            "parent": None,
            "files": {},
        }


def tiny_bundle(path: Path, law: Law | None = None, body: Body | None = None, model: Model | None = None) -> Path:
    """Writes the bundle folder ``path`` and returns it; without a ``model`` it cannot predict."""
    law, body = law or Law(), body or Body()
    manifest = body.manifest(law.horizon)
    files, parity = {"act.onnx": _graph(law, manifest)}, [_parity(law, manifest)]
    if model is not None:
        files["dynamics.onnx"] = _dynamics(model, manifest)
        parity.append(_dynamics_parity(model, manifest))
    return write(path, manifest, files, parity)


def _f32(values: Any) -> NDArray[np.float32]:
    return np.ascontiguousarray(values, dtype=np.float32)


def _graph(law: Law, manifest: Manifest) -> bytes:
    size, actions, horizon = manifest.state_size, manifest.action_size, law.horizon
    steps = np.arange(horizon, dtype=np.float32)[:, None]
    commands = np.arange(horizon * manifest.commands_per_step, dtype=np.float32)[:, None]
    constants = {
        "last": np.array([-1], dtype=np.int64),
        "rows_end": np.array([np.iinfo(np.int64).max], dtype=np.int64),
        "zero": np.array([0], dtype=np.int64),
        "state_end": np.array([size], dtype=np.int64),
        "axis_rows": np.array([1], dtype=np.int64),
        "axis_columns": np.array([2], dtype=np.int64),
        "gain": _f32(np.reshape(law.gain, (actions, size)).T),
        "offsets": _f32(np.asarray(law.bias)[None] + commands * np.asarray(law.ramp)[None])[None],
        "drifts": _f32((steps + 1) * np.asarray(law.drift)[None])[None],
        "one": _f32(1.0),
        "value_constant": _f32([0.0]),
        "disagreement_constant": _f32([law.disagreement]),
    }
    nodes = [
        helper.make_node("Slice", ["history", "last", "rows_end", "axis_rows"], ["newest"]),
        helper.make_node("Slice", ["newest", "zero", "state_end", "axis_columns"], ["state"]),
        helper.make_node("MatMul", ["state", "gain"], ["feedback"]),
        helper.make_node("Add", ["state", "drifts"], ["predicted"]),
        helper.make_node("Unsqueeze", ["predicted", "zero"], ["imagined"]),
        helper.make_node("Identity", ["value_constant"], ["value"]),
        helper.make_node("Identity", ["disagreement_constant"], ["disagreement"]),
        helper.make_node("Add", ["carry_count", "one"], ["next_carry_count"]),
    ]
    feedback = "feedback"
    if law.effort:
        constants |= {"matrix": _f32(np.eye(512)), "nothing": _f32(0.0)}
        nodes.append(helper.make_node("Mul", ["matrix", "carry_count"], ["work_0"]))
        for i in range(law.effort):
            nodes.append(helper.make_node("MatMul", [f"work_{i}", "matrix"], [f"work_{i + 1}"]))
        nodes += [
            helper.make_node("ReduceMax", [f"work_{law.effort}"], ["worked"], keepdims=0),
            helper.make_node("Mul", ["worked", "nothing"], ["no_change"]),
            helper.make_node("Add", ["feedback", "no_change"], ["late_feedback"]),
        ]
        feedback = "late_feedback"
    if law.sight:
        constants |= {"sight": _f32(law.sight)}
        nodes += [
            helper.make_node("Cast", ["image"], ["numbers"], to=TensorProto.FLOAT),
            helper.make_node("ReduceMean", ["numbers"], ["brightness"], keepdims=0),
            helper.make_node("Mul", ["brightness", "sight"], ["seen"]),
            helper.make_node("Add", [feedback, "seen"], ["all_feedback"]),
        ]
        feedback = "all_feedback"
    nodes.append(helper.make_node("Add", [feedback, "offsets"], ["plan"]))
    row = size + actions
    graph = helper.make_graph(
        nodes,
        "tiny",
        [
            helper.make_tensor_value_info("history", TensorProto.FLOAT, [1, manifest.history, row]),
            helper.make_tensor_value_info("carry_count", TensorProto.FLOAT, [1, 1]),
            *([helper.make_tensor_value_info("image", TensorProto.UINT8, [1, *PICTURE])] if law.sight else []),
        ],
        [
            helper.make_tensor_value_info("plan", TensorProto.FLOAT, [1, len(commands), actions]),
            helper.make_tensor_value_info("predicted", TensorProto.FLOAT, [1, horizon, size]),
            helper.make_tensor_value_info("imagined", TensorProto.FLOAT, [1, 1, horizon, size]),
            helper.make_tensor_value_info("value", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("disagreement", TensorProto.FLOAT, [1]),
            helper.make_tensor_value_info("next_carry_count", TensorProto.FLOAT, [1, 1]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def _parity(law: Law, manifest: Manifest) -> ParityCase:
    history = np.zeros((1, manifest.history, manifest.state_size + manifest.action_size), np.float32)
    steps = np.arange(law.horizon * manifest.commands_per_step)[:, None]
    plan = _f32(np.asarray(law.bias)[None] + steps * np.asarray(law.ramp)[None])[None]
    inputs = {"history": history, "carry_count": _f32([[0.0]])}
    if law.sight:
        inputs["image"] = np.zeros((1, *PICTURE), np.uint8)  # type: ignore[assignment]
    return ParityCase("act", inputs, {"plan": plan})


def _dynamics(model: Model, manifest: Manifest) -> bytes:
    size, row = manifest.state_size, manifest.state_size + manifest.action_size
    constants = {
        "zero": np.array([0], dtype=np.int64),
        "one": np.array([1], dtype=np.int64),
        "last": np.array([-1], dtype=np.int64),
        "far": np.array([np.iinfo(np.int64).max], dtype=np.int64),
        "state_end": np.array([size], dtype=np.int64),
        "columns": np.array([2], dtype=np.int64),
        "a": _f32(np.transpose(model.a)),
        "b": _f32(np.transpose(model.b)),
        "nothing": _f32(0.0),
    }
    nodes = [
        helper.make_node("Slice", ["history", "last", "far", "one"], ["newest"]),
        helper.make_node("Slice", ["newest", "zero", "state_end", "columns"], ["newest_state"]),
        helper.make_node("Squeeze", ["newest_state", "one"], ["state"]),
        helper.make_node("MatMul", ["state", "a"], ["drifted"]),
        helper.make_node("MatMul", ["action", "b"], ["driven"]),
        helper.make_node("Add", ["drifted", "driven"], ["next"]),
        helper.make_node("Unsqueeze", ["next", "zero"], ["mean"]),
        helper.make_node("Mul", ["mean", "nothing"], ["log_variance"]),
        helper.make_node("Slice", ["history", "zero", "last", "one"], ["before"]),
        helper.make_node("Concat", ["state", "action"], ["row"], axis=1),
        helper.make_node("Concat", ["next", "action"], ["next_row"], axis=1),
        helper.make_node("Unsqueeze", ["row", "one"], ["rows"]),
        helper.make_node("Unsqueeze", ["next_row", "one"], ["next_rows"]),
        helper.make_node("Concat", ["before", "rows", "next_rows"], ["longer"], axis=1),
        helper.make_node("Slice", ["longer", "one", "far", "one"], ["next_history"]),
    ]
    graph = helper.make_graph(
        nodes,
        "linear",
        [
            helper.make_tensor_value_info("history", TensorProto.FLOAT, ["N", manifest.history, row]),
            helper.make_tensor_value_info("action", TensorProto.FLOAT, ["N", manifest.action_size]),
        ],
        [
            helper.make_tensor_value_info("mean", TensorProto.FLOAT, [1, "N", size]),
            helper.make_tensor_value_info("log_variance", TensorProto.FLOAT, [1, "N", size]),
            helper.make_tensor_value_info("next_history", TensorProto.FLOAT, ["N", manifest.history, row]),
        ],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(made)
    return bytes(made.SerializeToString())


def _dynamics_parity(model: Model, manifest: Manifest) -> ParityCase:
    history = np.zeros((1, manifest.history, manifest.state_size + manifest.action_size), np.float32)
    action = np.ones((1, manifest.action_size), np.float32)
    return ParityCase("dynamics", {"history": history, "action": action}, {"mean": _f32((action @ np.transpose(model.b))[None])})
