"""Writes the bundle of an ensemble and, where the robot has a task, of the planner in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor

from forerun_models.agents.offline_value import learn_value
from forerun_models.bundle import ParityCase, write
from forerun_models.dynamics.model import WorldModel
from forerun_models.export.graphs import AdvanceGraph, DynamicsGraph, to_onnx
from forerun_models.export.manifest import manifest_of
from forerun_models.export.uncertainty import held_out_uncertainty
from forerun_models.planners.make import make_for_bundle
from forerun_models.planners.networks import Networks
from forerun_models.planners.sampling import SamplingPlanner
from forerun_models.planners.trajectory.tracker import Tracker
from forerun_models.recipe import Recipe
from forerun_models.training.store import pack_model, pack_trials
from forerun_models.training.windows import Windows
from forerun_models.uncertainty.ground import lay
from forerun_sim.authoring.portable import portable_files
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction
from forerun_sim.trial import Trial

NETWORKS = "train/value.safetensors"
"""Where a bundle keeps its value and policy."""
_CANDIDATES = 24
"""Random inputs among which the clear-cut parity cases of act.onnx are looked for."""


@dataclass(frozen=True)
class Provenance:
    """What a bundle says about its making. ``seed`` also draws the inputs of the parity cases. ``held_out`` are trials that no
    weight was trained on: how far the model's uncertainty is to be believed is measured on them."""

    trained_on: Mapping[str, Any]
    seed: int
    metrics: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    held_out: Sequence[Trial] = ()


def export_bundle(
    out: str | Path,
    model: WorldModel,
    robot: RobotSpec,
    recipe: Recipe,
    replay: Sequence[Trial],
    provenance: Provenance,
    networks: Networks | None = None,
) -> Path:
    """Writes the bundle ``out`` and returns its path.

    Args:
        out: a folder that does not exist yet.
        model: trained.
        robot: its robot.
        recipe: says task and planner; a robot without tasks gets a bundle that predicts but cannot control.
        replay: trials for later fine-tuning, also the source of parity inputs; at least one.
        provenance: what the bundle says of its making.
        networks: value at the planner's horizon and the policy behind ``planner.policy_samples``, learned for the recipe's task;
            if absent they are learned now, where the recipe has a ``value``.

    Raises:
        InputError: the recipe's planner works in torch alone.
        BundleError: ``out`` exists.
        ForerunError: the disk is full or the folder cannot be written.
    """
    model = model.eval()
    if networks is None and recipe.value is not None and robot.tasks:
        networks = learn_value(model, robot, recipe, replay, provenance.seed)
    learned: dict[str, Any] = {} if networks is None else {"value": networks.value}
    learned |= {} if networks is None or networks.policy is None else {"policy": networks.act}
    planner = make_for_bundle(model, robot, recipe, **learned) if robot.tasks else None
    planned = {"trajectory": planner.expected} if isinstance(planner, Tracker) else {}
    history = model.features.history
    windows = Windows(replay, history, 1)
    generator = torch.Generator().manual_seed(provenance.seed)
    files = _dynamics_files(model)
    parity = _dynamics_parity(model, windows, generator)
    if planner is not None:
        files["act.onnx"] = act_onnx(planner, history)
        parity += _act_parity(planner, windows, generator)
    known = held_out_uncertainty(model, provenance.held_out, replay, recipe.planner.horizon)
    ground, usual = lay(model.features, replay, provenance.held_out, mirror=recipe.training.mirror)
    manifest = manifest_of(
        robot,
        task_name(robot, recipe),
        agent="mpc" if planner is not None else "model",
        history=history,
        horizon=recipe.planner.horizon,
        noise_size=planner.noise_size if planner is not None else 0,
        carry=planner.carry_shapes if planner is not None else {},
        thresholds={**known.thresholds, "distance": usual},
        trained_on=provenance.trained_on,
        metrics={**provenance.metrics, **planned, "state_std": model.features.state_std.tolist()},
        parent=provenance.parent,
        calibration=known.calibration,
        ground=ground,
    )
    files |= {
        "train/weights.safetensors": pack_model(model),
        "train/model.yaml": yaml.safe_dump(recipe.model.model_dump(mode="json")).encode(),
        "train/recipe.yaml": yaml.safe_dump(recipe.as_data(), sort_keys=False).encode(),
        "train/replay.npz": pack_trials(replay),
        **{f"train/robot/{name}": content for name, content in portable_files(robot).items()},
    }
    if networks is not None:
        files[NETWORKS] = networks.pack()
    return write(out, manifest, files, parity)


def task_name(robot: RobotSpec, recipe: Recipe) -> str | None:
    """The recipe's task, else the robot's first one, None for a robot without tasks."""
    return TaskFunction(robot, recipe.task).name if robot.tasks else None


def _dynamics_files(model: WorldModel) -> dict[str, bytes]:
    """dynamics.onnx and, of a model that remembers more than a window, advance.onnx."""
    actions = model.features.actions
    graph, row = DynamicsGraph(model), model.state_size + actions
    inputs = {"history": torch.zeros(2, model.features.history, row), "action": torch.zeros(2, actions)}
    batched = {"history": 0, "action": 0, "mean": 1, "log_variance": 1, "next_history": 0, "memory": 1}
    files = {"dynamics.onnx": to_onnx(graph, inputs, graph.outputs, batched)}
    if model.memory_sizes:
        inputs = {"memory": torch.zeros(model.members, 2, sum(model.memory_sizes)), "action": torch.zeros(2, actions)}
        batched = {"memory": 1, "action": 0, "mean": 1, "log_variance": 1, "next_memory": 1}
        files["advance.onnx"] = to_onnx(AdvanceGraph(model), inputs, AdvanceGraph.outputs, batched)
    return files


def act_onnx(planner: SamplingPlanner | Tracker, history: int) -> bytes:
    """The whole decision of ``planner``, for a model that reads ``history`` rows, as one ONNX graph."""
    inputs = act_inputs(planner, torch.zeros(1, history, planner.state_size + planner.action_size), torch.Generator())
    return to_onnx(planner, inputs, act_outputs(planner))


def act_outputs(planner: SamplingPlanner | Tracker) -> list[str]:
    """Names of what ``planner`` returns, in order."""
    return ["plan", "predicted", "value", "disagreement", "imagined", *(f"next_{name}" for name in planner.carry_shapes)]


def act_inputs(planner: SamplingPlanner | Tracker, history: Tensor, generator: torch.Generator) -> dict[str, Tensor]:
    """A planner's arguments in order, by name: a ``history`` [1, K, S+A], goal 0, noise of ``generator``, the first carry."""
    goal = torch.zeros(1, planner.goal_size)
    noise = torch.randn(planner.noise_size, generator=generator)
    carry = {name: torch.zeros(shape) for name, shape in planner.carry_shapes.items()}
    times = {"elapsed": torch.zeros(1), "delay": torch.zeros(1)}
    return {"history": history, "goal": goal, "noise": noise, **times, **carry}


@torch.no_grad()
def _dynamics_parity(model: WorldModel, windows: Windows, generator: torch.Generator) -> list[ParityCase]:
    history = _histories(windows, 8, generator)
    actions = history[:, -1, model.state_size :]
    graph = DynamicsGraph(model)
    outputs = dict(zip(graph.outputs, graph(history, actions), strict=True))
    cases = [_case("dynamics", {"history": history, "action": actions}, outputs, 1e-4)]
    if model.memory_sizes:
        inputs = {"memory": outputs["memory"], "action": actions}
        after = AdvanceGraph(model)(*inputs.values())
        cases.append(_case("advance", inputs, dict(zip(AdvanceGraph.outputs, after, strict=True)), 1e-4))
    return cases


@torch.no_grad()
def _act_parity(planner: SamplingPlanner | Tracker, windows: Windows, generator: torch.Generator) -> list[ParityCase]:
    """The two inputs on which the decision changes least when all inputs are disturbed in their sixth digit.

    Rounding differs between processors, and where two sequences are equally good it may swap elites; such an input would say
    nothing about the bundle.
    """
    found = []
    for history in _histories(windows, _CANDIDATES, generator):
        inputs = act_inputs(planner, history[None], generator)
        outputs = planner(*inputs.values())
        disturbed = {
            name: tensor * (1 + 1e-6 * torch.randn(tensor.shape, generator=generator)) for name, tensor in inputs.items()
        }
        change = max(float((a - b).abs().max()) for a, b in zip(outputs, planner(*disturbed.values()), strict=True))
        found.append((change, _case("act", inputs, dict(zip(act_outputs(planner), outputs, strict=True)), 2e-3)))
    found.sort(key=lambda pair: pair[0])
    return [case for _, case in found[:2]]


def _case(graph: str, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor], tolerance: float) -> ParityCase:
    used = {name: tensor.numpy() for name, tensor in inputs.items()}
    return ParityCase(graph, used, {name: tensor.numpy() for name, tensor in outputs.items()}, tolerance)


def _histories(windows: Windows, count: int, generator: torch.Generator) -> Tensor:
    """[count, K, S+A] from the data."""
    states, actions = windows.cut(torch.randint(len(windows), (count,), generator=generator))
    return torch.cat([states[:, : windows.history], actions[:, : windows.history]], dim=2)
