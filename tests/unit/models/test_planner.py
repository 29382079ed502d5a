"""Planners keep to limits, forget when told to, and roll out what the ensemble predicts."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support import slider

from forerun_models.export.export import act_inputs, act_outputs
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
