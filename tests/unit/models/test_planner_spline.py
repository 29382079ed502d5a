"""Plans as splines, and commands that come more often than the model's steps."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support import slider
from tests.support.planning import best_within_limits, carried, cost, decide, inputs_of, slider_planner

from forerun_models.bundle import load
from forerun_models.export.export import Provenance, export_bundle
from forerun_models.planners.basis import Basis, influence
from forerun_models.planners.situation import Situation

KINDS = ("zero", "linear", "cubic")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("knots", [2, 3, 4, 9])
def test_splines_pass_through_their_knots_and_keep_constants(kind, knots):
    weights = influence(torch.arange(float(knots)), knots, kind)
    torch.testing.assert_close(weights, torch.eye(knots), rtol=0.0, atol=1e-6)
    dense = influence(torch.linspace(-2.0, knots + 2.0, 101), knots, kind)
    torch.testing.assert_close(dense.sum(dim=1), torch.ones(101), rtol=0.0, atol=1e-5)


def test_linear_and_cubic_splines_are_exact_for_straight_lines():
    times = torch.linspace(0.0, 8.0, 81)
    for kind in ("linear", "cubic"):
        inside = (times >= 1.0) & (times <= 7.0) if kind == "cubic" else times >= 0.0
        read = influence(times, 9, kind) @ torch.arange(9.0)
        torch.testing.assert_close(read[inside], times[inside], rtol=0.0, atol=1e-5)


def test_cubic_splines_are_smooth_and_linear_and_zero_ones_are_not():
    times = torch.linspace(0.0, 8.0, 1601, dtype=torch.float64)
    knots = torch.randn(9, generator=torch.Generator().manual_seed(0)).double()
    turns = {kind: torch.diff(influence(times, 9, kind) @ knots, n=2).abs().max() for kind in KINDS}
    assert turns["cubic"] < 0.02 * turns["linear"] < 0.02 * turns["zero"]


def test_a_knot_a_step_is_the_plan_itself():
    for kind in KINDS:
        basis = Basis(9, 9, kind, 1)
        torch.testing.assert_close(basis.commands, torch.eye(9), rtol=0.0, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("later", [0.0, 0.6, 1.0, 2.7])
def test_a_shift_reads_the_spline_later(kind, later):
    basis = Basis(17, 5, kind, 1)  # 4 steps from knot to knot
    knots = torch.randn(5, 1, generator=torch.Generator().manual_seed(1))
    shifted = basis.shift(torch.tensor([later])) @ knots
    times = torch.arange(5) * 4 + later
    read = influence(times / 4, 5, kind) @ knots
    if kind == "zero":  # what each knot would have held, on average over its span
        fine = (times[:, None] + (torch.arange(400) + 0.5) / 100) / 4
        read = (influence(fine.flatten(), 5, kind) @ knots).reshape(5, 400, 1).mean(dim=1)
    torch.testing.assert_close(shifted, read, rtol=0.0, atol=1e-5)
    torch.testing.assert_close(shifted[-1], knots[-1])
    if kind == "linear":
        line = basis.commands @ (basis.shift(torch.tensor([later])) @ torch.arange(5.0)[:, None])
        torch.testing.assert_close(line[:9, 0], (torch.arange(9.0) + later) / 4, rtol=0.0, atol=1e-5)


@pytest.mark.parametrize("spline", KINDS)
def test_knots_find_what_few_numbers_can_say(spline):
    """Fewer numbers cannot cost less than the optimum, and cost little more."""
    state = (0.5, 0.0)
    plan = decide(slider_planner(knots=7, spline=spline, samples=192, iterations=8, colour=0.5, horizon=13), state)["plan"]
    best = cost(state, best_within_limits(state, 13))
    assert best <= cost(state, plan) <= (1.15 if spline == "zero" else 1.03) * best


@pytest.mark.parametrize("spline", KINDS)
def test_a_warm_start_keeps_a_good_plan_good(spline):
    """From tick to tick by the exact model, with so few new samples that a cold start is far worse."""
    settings = {"knots": 7, "spline": spline, "horizon": 13, "colour": 0.5}
    good = slider_planner(**settings, samples=192, iterations=8)
    quick = slider_planner(**settings, samples=20, iterations=1, std=0.05)
    state = np.array([0.5, 0.0])
    outputs = decide(good, state)
    for tick in range(4):
        state = slider.A @ state + slider.B[:, 0] * float(outputs["plan"][0, 0, 0])
        carry = carried(quick, outputs)
        outputs = decide(quick, state, seed=tick, elapsed=slider.PERIOD, **carry)
    best = cost(state, best_within_limits(state, 13))
    warm, cold = cost(state, outputs["plan"]), cost(state, decide(quick, state, seed=9)["plan"])
    assert warm <= (1.6 if spline == "zero" else 1.15) * best
    assert warm < cold


@pytest.mark.parametrize("settings", [{}, *({"knots": 4, "spline": kind} for kind in KINDS)])
@pytest.mark.parametrize("slew", [float("inf"), 0.6])
def test_commands_between_the_steps_have_the_means_that_the_model_was_given(settings, slew):
    """Also where the slew limit binds: predictions then belong to the ramps that are commanded."""
    changes = {"substeps": 4, "slew": torch.tensor([slew])}
    planner = slider_planner(changes, horizon=9, samples=32, iterations=3, **settings)
    for seed in range(3):
        outputs = decide(planner, (4.0, -0.3), under_way=1.0, seed=seed)
        plan = outputs["plan"][0, :, 0]
        assert plan.shape == (36,)
        state = np.array([4.0, -0.3])
        for action, predicted in zip(plan.reshape(9, 4).mean(dim=1), outputs["predicted"][0], strict=True):
            state = slider.A @ state + slider.B[:, 0] * float(action)
            np.testing.assert_allclose(predicted, state, atol=1e-4)
        assert float(torch.diff(plan, prepend=torch.tensor([1.0])).abs().max()) <= slew / 4 + 1e-5


def test_a_slew_limit_that_binds_only_between_steps_is_kept():
    """Full reverse within one step is allowed, within a quarter of it not."""
    planner = slider_planner({"substeps": 4, "slew": torch.tensor([9.0])}, horizon=5)
    plan = decide(planner, (4.0, 0.0), under_way=4.0)["plan"][0, :, 0]
    assert float(torch.diff(plan, prepend=torch.tensor([4.0])).abs().max()) <= 9.0 / 4 + 1e-5
    assert float(plan.min()) == pytest.approx(-slider.FORCE, rel=0.05)


def test_what_was_evaluated_is_what_is_commanded_when_ramps_are_kept_as_samples():
    planner = slider_planner({"substeps": 3, "slew": torch.tensor([1.5])}, horizon=6)
    inputs = inputs_of(planner, (1.0, 0.0), under_way=-2.0)
    now = Situation.of(planner.problem, inputs["history"], inputs["goal"], inputs["delay"])
    commands = planner._commands(torch.rand(6, 1, 20) * 2 - 1, now)
    again = planner._commands(planner._ends(commands), now)
    torch.testing.assert_close(again, commands, rtol=0.0, atol=1e-5)


def test_cubic_plans_that_overshoot_are_clipped_before_they_are_averaged():
    planner = slider_planner({"substeps": 5}, horizon=9, knots=5, samples=64, std=3.0, colour=0.0, iterations=1)
    outputs = decide(planner, (4.0, 0.0))
    plan, state = outputs["plan"][0, :, 0], np.array([4.0, 0.0])
    assert float(plan.abs().max()) <= slider.FORCE + 1e-6
    for action, predicted in zip(plan.reshape(9, 5).mean(dim=1), outputs["predicted"][0], strict=True):
        state = slider.A @ state + slider.B[:, 0] * float(action)
        np.testing.assert_allclose(predicted, state, atol=1e-4)


@pytest.mark.parametrize("knots", [None, 5])
def test_a_robot_with_a_command_rate_gets_a_bundle_whose_plan_has_that_rate(tmp_path, knots):
    spec = slider.robot(tmp_path / "robot", extra=", slew: 40")
    spec = spec.model_copy(update={"control": spec.control.model_copy(update={"command_rate": 100.0})})
    recipe = slider.recipe(horizon=6, samples=16, elites=4, iterations=2, knots=knots)
    folder = export_bundle(tmp_path / "b", slider.exact_model(spec), spec, recipe, slider.trials(4), Provenance({}, 0))
    bundle = load(folder)
    assert bundle.manifest.commands_per_step == 5
    history = np.tile(np.array([[4.0, 0.0, 1.0]], np.float32), (bundle.manifest.history, 1))
    noise = np.random.default_rng(0).normal(size=bundle.manifest.noise_size)
    decision = bundle.act(history, [0.0], noise, 0.0, 0.0, bundle.start())
    assert decision.plan.shape == (30, 1)
    assert decision.predicted.shape == (6, 2)
    steps = np.diff(np.concatenate([[1.0], decision.plan[:, 0]]))
    assert np.abs(steps).max() <= 40 * bundle.manifest.tick_period + 1e-5
