"""Planners over models that are known exactly, or random, and what they decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from tests.support import slider

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.features import Features
from forerun_models.export.export import act_inputs, act_outputs
from forerun_models.planners.problem import Problem
from forerun_models.planners.rollout import Propagation, Rollout
from forerun_models.planners.sampling import SamplingPlanner
from forerun_models.recipe import Planner

Decision = dict[str, torch.Tensor]

_PROPAGATION: dict[str, Propagation] = {"ts1": "switch", "tsinf": "stay", "mean": "mean", "worst": "stay"}


def linear_model(a: ArrayLike, b: ArrayLike, members: Sequence[float] = (1.0, 1.0)) -> Ensemble:
    """Predicts x' = a x + gain b u exactly, with a gain for each member; no joint turns for ever."""
    a, b = np.asarray(a, float), np.asarray(b, float)
    model = Ensemble(Features([False] * (len(a) // 2), b.shape[1], 1), len(members), 4, 1)
    for parameter in (*model.weights, *model.biases):
        parameter.data.zero_()
    for linear, gain in zip(model.linear.data, members, strict=True):
        linear.copy_(torch.tensor(np.concatenate([(a - np.eye(len(a))).T, gain * b.T])))
    return model.eval()


def random_model(joints: Sequence[bool], actions: int, history: int, members: int, seed: int, scale: float = 1.0) -> Ensemble:
    """Untrained; its differences of a step are about ``scale`` tenths. ``joints``: whether each may turn for ever."""
    generator = torch.Generator().manual_seed(seed)
    model = Ensemble(Features(joints, actions, history), members, 8, 1)
    model.reset_parameters(generator)
    features = model.features
    features.input_mean.copy_(0.1 * torch.randn(features.size, generator=generator))
    features.input_std.copy_(0.5 + torch.rand(features.size, generator=generator))
    features.target_std.copy_(0.1 * scale * (0.5 + torch.rand(len(features.target_std), generator=generator)))
    model.linear.data.copy_(0.3 * torch.randn(model.linear.shape, generator=generator))
    for bias in model.biases:
        bias.data.copy_(0.2 * torch.randn(bias.shape, generator=generator))
    return model.eval()


def quadratic(state: Any, action: Any, previous: Any, goal: torch.Tensor) -> torch.Tensor:
    """The slider's reward for ``regulate``, the goal being its first number."""
    return -((state[..., 0] - goal[0]) ** 2) - 0.1 * state[..., 1] ** 2 - 0.16 * (action[..., 0] / slider.FORCE) ** 2


def problem(**changes: Any) -> Problem:
    """The slider's task, as the planner gets it from robot.yaml, with ``changes``."""
    limits = torch.full((1,), slider.FORCE)
    plain = Problem(quadratic, None, -limits, limits, limits * torch.inf, torch.tensor([False]), torch.ones(2), 1, slider.PERIOD)
    return replace(plain, **changes)


def planner_of(model: Ensemble, asked: Problem, **settings: Any) -> SamplingPlanner:
    """Small and quick where ``settings`` do not say otherwise."""
    chosen = Planner.model_validate({"horizon": 15, "samples": 64, "iterations": 4, **settings})
    rollout = Rollout(model, chosen.members, _PROPAGATION[chosen.ensemble], chosen.aleatoric)
    return SamplingPlanner(rollout, asked, chosen).eval()


def slider_planner(changes: Mapping[str, Any] | None = None, **settings: Any) -> SamplingPlanner:
    """A planner in the exact model of the slider; ``changes`` of its problem."""
    return planner_of(linear_model(slider.A, slider.B), problem(**(changes or {})), **settings)


def inputs_of(planner: SamplingPlanner, state: ArrayLike, under_way: float = 0.0, seed: int = 0, **inputs: Any) -> Decision:
    """Inputs of act.onnx for a robot that has been in ``state`` as long as the model looks back; ``inputs`` by name replace
    them."""
    row = torch.tensor([*np.asarray(state, float), *[under_way] * planner.action_size], dtype=torch.float32)
    rows = row.repeat(planner.rollout.history, 1)[None]
    made = act_inputs(planner, rows, torch.Generator().manual_seed(seed))
    for name, value in inputs.items():
        made[name] = torch.as_tensor(value, dtype=torch.float32).reshape(made[name].shape)
    return made


def decide(planner: SamplingPlanner, state: ArrayLike, under_way: float = 0.0, seed: int = 0, **inputs: Any) -> Decision:
    """What ``planner`` decides, by the names of act.onnx's outputs."""
    with torch.no_grad():
        found = planner(*inputs_of(planner, state, under_way, seed, **inputs).values())
    return dict(zip(act_outputs(planner), found, strict=True))


def carried(planner: SamplingPlanner, outputs: Decision) -> Decision:
    """The carry that a decision hands to the next."""
    return {name: outputs[f"next_{name}"] for name in planner.carry_shapes}


def cost(state: ArrayLike, actions: ArrayLike, goal: float = 0.0) -> float:
    """What ``actions`` cost the slider by the task ``regulate``, in double precision."""
    total, x = 0.0, np.asarray(state, float)
    for action in np.asarray(actions, float).ravel():
        x = slider.A @ x + slider.B[:, 0] * action
        total += (x[0] - goal) ** 2 + 0.1 * x[1] ** 2 + 0.16 * (action / slider.FORCE) ** 2
    return float(total)


def best_within_limits(state: ArrayLike, horizon: int) -> NDArray[np.float64]:
    """Commands [H] that cost the slider least within its limits: a convex problem, solved by coordinate descent."""
    start, reach = np.asarray(state, float), np.zeros((horizon, 2, horizon))
    free = np.stack([np.linalg.matrix_power(slider.A, t + 1) @ start for t in range(horizon)])
    for t in range(horizon):
        for k in range(t + 1):
            reach[t, :, k] = np.linalg.matrix_power(slider.A, t - k) @ slider.B[:, 0]
    weight = np.array([1.0, 0.1])
    curve = np.einsum("tsi,s,tsj->ij", reach, weight, reach) + 0.16 / slider.FORCE**2 * np.eye(horizon)
    slope = np.einsum("tsi,s,ts->i", reach, weight, free)
    best = np.zeros(horizon)
    for _ in range(3000):
        for k in range(horizon):
            rest = slope[k] + curve[k] @ best - curve[k, k] * best[k]
            best[k] = np.clip(-rest / curve[k, k], -slider.FORCE, slider.FORCE)
    return best
