"""iCEM finds known optima, keeps to limits, and is the same in ONNX as in torch."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime
import pytest
import torch
from tests.support import slider

from forerun_models.export.export import act_inputs, act_onnx, act_outputs
from forerun_models.planners.colour import colouring
from forerun_models.planners.make import make_planner
from forerun_models.planners.rollout import Rollout
from forerun_models.planners.sampling import SamplingPlanner
from forerun_models.training.start import build, initialise
from forerun_models.training.windows import Windows


def planner_of(tmp_path, extra="", history=1, **settings):
    spec = slider.robot(tmp_path, extra=extra, history=history)
    return make_planner(slider.exact_model(spec), spec, slider.recipe(**settings))


def decide(planner: SamplingPlanner, state, *, under_way=0.0, seed=0, goal=0.0, elapsed=0.0, carry=None):
    generator = torch.Generator().manual_seed(seed)
    rows = torch.tensor([[*state, under_way]], dtype=torch.float32).repeat(planner.rollout.history, 1)[None]
    inputs = act_inputs(planner, rows, generator) | {"goal": torch.tensor([[goal]]), "elapsed": torch.tensor([elapsed])}
    with torch.no_grad():
        return dict(zip(act_outputs(planner), planner(*(inputs | (carry or {})).values()), strict=True))


def cost_of(state, actions) -> float:
    total, state = 0.0, np.asarray(state, float)
    for action in np.asarray(actions, float).ravel():
        state = slider.A @ state + slider.B[:, 0] * action
        total += state[0] ** 2 + 0.1 * state[1] ** 2 + 0.16 * (action / slider.FORCE) ** 2
    return total


@pytest.mark.parametrize("state", [(0.5, 0.0), (-0.3, 0.4), (0.2, -0.6)])
def test_finds_the_linear_quadratic_optimum(tmp_path, state):
    planner = planner_of(tmp_path, samples=256, iterations=8, colour=1.0, horizon=12)
    plan = decide(planner, state)["plan"][0].numpy()
    optimal, x = [], np.array(state)
    for gain in slider.riccati(12):
        optimal.append(-(gain @ x))
        x = slider.A @ x + slider.B @ optimal[-1]
    assert np.abs(optimal).max() < slider.FORCE, "the problem must not touch its limits, or Riccati is not its optimum"
    assert cost_of(state, plan) <= 1.02 * cost_of(state, optimal)


def test_bang_bang_from_far_away(tmp_path):
    plan = decide(planner_of(tmp_path, samples=128, iterations=6), (4.0, 0.0))["plan"]
    assert float(plan[0, 0, 0]) == pytest.approx(-slider.FORCE, rel=0.02)
    assert float(plan.abs().max()) <= slider.FORCE + 1e-6


def test_predicted_states_are_those_of_the_plan(tmp_path):
    outputs = decide(planner_of(tmp_path), (0.5, 0.1))
    state = np.array([0.5, 0.1])
    for action, predicted in zip(outputs["plan"][0].numpy(), outputs["predicted"][0].numpy(), strict=True):
        state = slider.A @ state + slider.B @ action
        np.testing.assert_allclose(predicted, state, atol=2e-3)


def test_plans_can_be_followed_from_the_command_under_way(tmp_path):
    planner = planner_of(tmp_path, extra=", slew: 10")
    plan = decide(planner, (4.0, 0.0), under_way=1.5)["plan"][0, :, 0].numpy()
    steps = np.diff(np.concatenate([[1.5], plan]))
    assert np.abs(steps).max() <= 10 * slider.PERIOD + 1e-5


def test_goal_is_an_input(tmp_path):
    planner = planner_of(tmp_path)
    right, left = (decide(planner, (0.0, 0.0), goal=goal)["plan"][0, 0, 0] for goal in (1.0, -1.0))
    assert right > 0 > left


def test_a_nan_return_never_wins(tmp_path):
    planner = planner_of(tmp_path)
    honest = planner.problem.reward

    def broken(state, action, previous, goal):
        return torch.where(action[..., 0] > 0, torch.full_like(state[..., 0], torch.nan), honest(state, action, previous, goal))

    planner.problem = replace(planner.problem, reward=broken)
    plan = decide(planner, (-0.5, 0.0))["plan"]
    assert torch.isfinite(plan).all()
    assert float(plan.max()) <= 0.0


def test_carry_shifts_with_the_time_that_passed(tmp_path):
    planner = planner_of(tmp_path, horizon=6)
    ramp = torch.arange(6.0)[:, None]
    moved = planner._shift(torch.tensor([2.5])) @ ramp
    np.testing.assert_allclose(moved[:, 0], [2.5, 3.5, 4.5, 5, 5, 5], atol=1e-5)


def test_same_noise_gives_the_same_plan_and_a_reset_forgets(tmp_path):
    planner = planner_of(tmp_path)
    first = decide(planner, (1.0, 0.0))
    carried = {name: first[f"next_{name}"] for name in planner.carry_shapes}
    later = decide(planner, (1.0, 0.0), elapsed=slider.PERIOD, carry=carried)
    assert not torch.equal(first["plan"], later["plan"])
    assert torch.equal(first["plan"], decide(planner, (1.0, 0.0))["plan"])


@pytest.mark.parametrize(
    ("name", "value"),
    [("horizon", 9), ("samples", 32), ("iterations", 2), ("shrink", 2.0), ("elites", 5), ("keep", 1.0), ("colour", 0.0),
     ("std", 0.2), ("momentum", 0.6), ("discount", 0.7), ("members", 1), ("knots", 5), ("ensemble", "ts1"), ("ensemble", "mean"),
     ("ensemble", "worst"), ("aleatoric", True), ("kind", "cem"), ("kind", "mppi"), ("kind", "random")],
)  # fmt: skip
def test_every_setting_has_an_effect(tmp_path, name, value):
    spec = slider.robot(tmp_path)
    model = build(spec, slider.recipe().model)
    initialise(model, Windows(slider.trials(5, noise=0.05), 1, 1), 3)
    plain, changed = (make_planner(model, spec, slider.recipe(**settings)) for settings in ({}, {name: value}))
    a, b = (decide(planner, (0.5, -0.2)) for planner in (plain, changed))
    assert any(a[key].shape != b[key].shape or not torch.equal(a[key], b[key]) for key in a)


def test_disagreement_is_penalised(tmp_path):
    spec = slider.robot(tmp_path)
    model = build(spec, slider.recipe().model)
    initialise(model, Windows(slider.trials(5), 1, 1), 3)
    bold, careful = (make_planner(model, spec, slider.recipe(disagreement_weight=w)) for w in (0.0, 100.0))
    assert decide(careful, (0.5, 0.0))["disagreement"] < decide(bold, (0.5, 0.0))["disagreement"]


@pytest.mark.parametrize("history", [1, 4])
def test_onnx_equals_torch(tmp_path, history):
    planner = planner_of(tmp_path, history=history, extra=", slew: 40")
    session = onnxruntime.InferenceSession(act_onnx(planner, history), providers=["CPUExecutionProvider"])
    names = {entry.name for entry in session.get_inputs()}
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        rows = torch.randn(1, history, 3, generator=generator)
        inputs = act_inputs(planner, rows, generator) | {"elapsed": torch.rand(1, generator=generator)}
        with torch.no_grad():
            expected = planner(*inputs.values())
        found = session.run(act_outputs(planner), {k: v.numpy() for k, v in inputs.items() if k in names})
        for name, a, b in zip(act_outputs(planner), expected, found, strict=True):
            np.testing.assert_allclose(b, a.numpy(), rtol=1e-4, atol=1e-4, err_msg=name)


def test_folded_rollout_equals_the_ensemble(tmp_path):
    spec = slider.robot(tmp_path, history=3)
    model = build(spec, slider.recipe().model)
    initialise(model, Windows(slider.trials(5, noise=0.1), 3, 1), 0)
    generator = torch.Generator().manual_seed(0)
    states = [torch.randn(2, generator=generator) for _ in range(3)]
    past = [torch.randn(1, generator=generator) for _ in range(2)]
    actions = torch.randn(7, 9, 1, generator=generator)
    with torch.no_grad():
        fast = Rollout(model)(states, past, actions.permute(1, 2, 0)).transpose(2, 3)
        wide = [[row.expand(3, 7, -1) for row in rows] for rows in (states, past)]
        slow = torch.stack(model.rollout(*wide, [a.expand(3, -1, -1) for a in actions.unbind(1)]))[:, model.elites]
    torch.testing.assert_close(fast, slow, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("colour", [0.0, 1.0, 2.5])
def test_coloured_noise_has_unit_variance_and_falling_spectrum(colour):
    horizon = 64
    matrix = colouring(horizon, colour)
    np.testing.assert_allclose(np.linalg.norm(matrix, axis=1), 1.0, rtol=1e-5)
    covariance = matrix @ matrix.T
    white = np.abs(np.fft.rfft(np.eye(horizon)[None] @ matrix, axis=1)[0]) ** 2
    power = white.sum(axis=1)
    slow, fast = power[1:4].mean(), power[-8:].mean()
    assert (slow / fast == pytest.approx(1.0, rel=0.05)) if colour == 0 else (slow > 2 * fast)
    assert covariance[0, 1] == pytest.approx(0.0, abs=1e-3) if colour == 0 else covariance[0, 1] > 0.3
