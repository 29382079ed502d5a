"""The exported graph decides as torch does, whatever the settings."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from tests.support.planning import Decision, inputs_of, planner_of, problem, random_model, slider_planner

from forerun_models.export.export import act_onnx, act_outputs
from forerun_models.planners.problem import Problem
from forerun_models.planners.sampling import SamplingPlanner


def by_torch(planner: SamplingPlanner, inputs: Decision) -> Decision:
    with torch.no_grad():
        return dict(zip(act_outputs(planner), planner(*inputs.values()), strict=True))


def by_onnx(planner: SamplingPlanner, inputs: Decision) -> Decision:
    session = onnxruntime.InferenceSession(act_onnx(planner, planner.rollout.history), providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    found = session.run(act_outputs(planner), {name: value.numpy() for name, value in inputs.items() if name in names})
    return {name: torch.from_numpy(value) for name, value in zip(act_outputs(planner), found, strict=True)}


def clear_cut(planner: SamplingPlanner, inputs: list[Decision]) -> Decision:
    """Of ``inputs``, those on which the decision changes least when all are disturbed in their sixth digit: where two sequences
    are as good as each other, rounding may swap them, and each is as right as the other."""
    generator = torch.Generator().manual_seed(0)
    changes = []
    for number, one in enumerate(inputs):
        other = {name: value * (1 + 1e-6 * torch.randn(value.shape, generator=generator)) for name, value in one.items()}
        pairs = zip(by_torch(planner, one).values(), by_torch(planner, other).values(), strict=True)
        changes.append((max(float((a - b).abs().max()) for a, b in pairs), number))
    change, number = min(changes)
    assume(change < 1e-4)
    return inputs[number]


@st.composite
def planners(draw: st.DrawFn) -> SamplingPlanner:
    """Any planner: kinds, ensembles, splines, robots that swing, slip and are slow, tasks that end and go on."""
    joints = draw(st.sampled_from([[False], [True], [False, True]]))
    actions, members = draw(st.integers(1, len(joints))), draw(st.integers(1, 3))
    ensemble = draw(st.sampled_from(["ts1", "tsinf", "mean", "worst"]))
    aleatoric = ensemble != "mean" and draw(st.booleans())
    horizon, ends = draw(st.integers(2, 5)), draw(st.booleans())
    chosen: dict[str, Any] = {
        "kind": draw(st.sampled_from(["icem", "icem", "cem", "mppi", "random"])),
        "horizon": horizon,
        "samples": draw(st.integers(9, 40)),
        "iterations": 1 if ends else draw(st.integers(1, 3)),
        "elites": draw(st.integers(2, 6)),
        "keep": draw(st.sampled_from([0.0, 0.5])),
        "discount": draw(st.sampled_from([1.0, 0.9])),
        "knots": draw(st.none() | st.integers(2, horizon)),
        "spline": draw(st.sampled_from(["zero", "linear", "cubic"])),
        "ensemble": ensemble,
        "aleatoric": aleatoric,
        "particles": draw(st.integers(1, 3)) if aleatoric else 1,
        "disagreement_weight": draw(st.sampled_from([0.0, 0.3])),
        "members": draw(st.integers(1, members)),
        "policy_samples": draw(st.sampled_from([0, 3])),
    }
    size, limits = 2 * len(joints), torch.linspace(1.0, 2.0, actions)
    changes: dict[str, Any] = {
        "lower": -limits, "upper": 1.5 * limits, "continuous": torch.tensor(joints), "state_std": torch.linspace(0.5, 2.0, size),
        "slew": draw(st.sampled_from([torch.inf, 0.8])) * limits, "substeps": draw(st.integers(1, 3)),
        "plain": draw(st.booleans()),
    }  # fmt: skip
    if ends:
        changes["done"] = lambda state: state[..., 1] > 0.6
    if draw(st.booleans()):
        changes["value"] = lambda state, goal: -2.0 * (state[..., 0] - goal[0]) ** 2
    if chosen["policy_samples"]:
        changes["policy"] = lambda state, goal: torch.tanh(goal[0] - state[..., :actions] - state[..., -actions:])
    asked: Problem = problem(**changes)
    model = random_model(joints, actions, draw(st.integers(1, 3)), members, draw(st.integers(0, 99)))
    return planner_of(model, asked, **chosen)


@settings(max_examples=12, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(planner=planners())
def test_onnx_equals_torch_for_any_settings(planner):
    generator, inputs = torch.Generator().manual_seed(7), []
    for seed in range(4):
        carry = {name: torch.rand(shape, generator=generator) * 2 - 1 for name, shape in planner.carry_shapes.items()}
        one = inputs_of(planner, torch.zeros(planner.state_size), seed=seed, goal=[0.3], elapsed=0.07, delay=0.02, **carry)
        inputs.append(one | {"history": torch.randn(one["history"].shape, generator=generator)})
    chosen = clear_cut(planner, inputs)
    expected, found = by_torch(planner, chosen), by_onnx(planner, chosen)
    torch.testing.assert_close(found["value"], expected["value"], rtol=1e-4, atol=1e-4)
    # Sequences that differ only after the episode's end are worth the same to the last bit, and each is as right as the other.
    tie = planner.problem.done is not None and not torch.allclose(found["plan"], expected["plan"], rtol=1e-4, atol=1e-4)
    for name, value in expected.items():
        assert found[name].shape == value.shape
        if not tie:
            torch.testing.assert_close(found[name], value, rtol=1e-4, atol=1e-4, msg=lambda text, name=name: f"{name}: {text}")


def test_a_longer_horizon_makes_no_larger_graph():
    def operators(horizon: int) -> int:
        planner = slider_planner({"slew": torch.tensor([0.5])}, horizon=horizon)
        return len(onnx.load_from_string(act_onnx(planner, planner.rollout.history)).graph.node)

    assert operators(12) == operators(3)


@pytest.mark.parametrize("ensemble", ["tsinf", "worst"])
def test_a_return_that_is_no_number_never_wins_in_onnx_either(ensemble):
    def broken(state, action, previous, goal):
        return torch.sqrt(-action[..., 0]) - state[..., 0] ** 2

    planner = slider_planner({"reward": broken}, horizon=3, samples=64, iterations=2, ensemble=ensemble)
    found = by_onnx(planner, inputs_of(planner, (0.5, 0.0)))
    assert float(found["plan"].max()) <= 0.0
    assert np.isfinite(found["value"].numpy()).all()


@pytest.mark.parametrize("kind", ["icem", "cem", "mppi", "random"])
def test_a_state_that_is_no_number_gives_a_value_that_no_controller_takes(kind):
    planner = slider_planner(kind=kind, horizon=4)
    for decision in (by_onnx, by_torch):
        found = decision(planner, inputs_of(planner, (float("nan"), 0.0)))
        assert torch.isfinite(found["plan"]).all()
        assert float(found["value"][0]) == -float("inf")
        assert all(torch.isfinite(found[f"next_{name}"]).all() for name in planner.carry_shapes)
