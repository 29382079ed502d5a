"""On problems whose optimum is known, the planners come within 2 % of it."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tests.support import slider
from tests.support.planning import best_within_limits, cost, decide, linear_model, planner_of, slider_planner

from forerun_models.planners.problem import Problem

CONVERGE = {"samples": 256, "iterations": 10, "colour": 1.0, "horizon": 12}
STATES = [(0.5, 0.0), (-0.3, 0.4), (0.2, -0.6), (-0.6, 0.9)]


@pytest.mark.parametrize("kind", ["icem", "cem"])
@pytest.mark.parametrize("state", STATES)
def test_linear_quadratic_regulator(kind, state):
    plan = decide(slider_planner(kind=kind, **CONVERGE), state)["plan"][0].numpy()
    optimal, x = [], np.array(state)
    for gain in slider.riccati(12):
        optimal.append(-(gain @ x))
        x = slider.A @ x + slider.B @ optimal[-1]
    assert np.abs(optimal).max() < slider.FORCE, "the problem must not touch its limits, or Riccati is not its optimum"
    assert cost(state, plan) <= 1.02 * cost(state, optimal)


@pytest.mark.parametrize("kind", ["icem", "cem"])
@pytest.mark.parametrize("state", [(4.0, 0.0), (-1.8, 0.5), (0.6, 3.0)])
def test_double_integrator_within_its_limits(kind, state):
    optimal = best_within_limits(state, 12)
    assert np.abs(optimal).max() == pytest.approx(slider.FORCE), "the limits must bind, or this is the regulator above"
    plan = decide(slider_planner(kind=kind, **CONVERGE), state)["plan"][0].numpy()
    assert cost(state, plan) <= 1.02 * cost(state, optimal)


def test_mppi_and_random_shooting_where_a_plan_has_few_numbers():
    # Neither narrows its search: MPPI's noise stays as large as it began, random shooting never looks twice.
    state, optimal = (0.5, 0.0), best_within_limits((0.5, 0.0), 4)
    mppi = slider_planner(kind="mppi", samples=512, iterations=12, temperature=0.1, std=0.2, colour=0.5, horizon=4)
    shots = slider_planner(kind="random", samples=6000, colour=0.5, horizon=4)
    assert cost(state, decide(mppi, state)["plan"]) <= 1.02 * cost(state, optimal)
    assert cost(state, decide(shots, state)["plan"]) <= 1.02 * cost(state, optimal)


@pytest.mark.parametrize("kind", ["icem", "cem"])
@pytest.mark.parametrize("speed", [0.0, 0.4, 0.8])
def test_bang_bang_with_the_best_switch(kind, speed):
    """Far, and slow at the end: full force, then full brakes. Only the moment of the switch is to be found."""

    def far_and_slow(state, goal):
        return state[..., 0] - state[..., 1] ** 2

    def reached(plan):
        x = np.array([0.0, speed])
        for action in plan:
            x = slider.A @ x + slider.B[:, 0] * action
        return x[0] - x[1] ** 2

    nothing = {"reward": lambda state, action, previous, goal: state[..., 0] * 0.0, "value": far_and_slow}
    planner = slider_planner(
        nothing, kind=kind, horizon=10, samples=1024, iterations=16, elites=30, shrink=1.0, colour=0.5, std=1.0
    )
    plan = decide(planner, (0.0, speed))["plan"][0, :, 0].double().numpy()
    switched = [np.clip(2 * (moment - np.arange(10)) - 1, -1, 1) * slider.FORCE for moment in np.linspace(0, 10, 1001)]
    assert reached(plan) >= 0.98 * max(reached(commands) for commands in switched)
    assert plan[:2] == pytest.approx(slider.FORCE, rel=0.02)
    assert plan[-2:] == pytest.approx(-slider.FORCE, rel=0.02)


def test_waits_or_passes_a_bump_as_the_best_of_a_grid_does():
    """A costly place between start and goal: two kinds of plans are locally best."""

    def bumpy(state, action, previous, goal):
        distance = state[..., 0] - 0.5
        return -((state[..., 0] - 1.0) ** 2) - 3.0 * torch.exp(-((distance / 0.2) ** 2)) - 0.01 * action[..., 0] ** 2 / 16

    for speed in (0.0, 1.5):
        planner = slider_planner(
            {"reward": bumpy}, horizon=13, knots=4, spline="linear", samples=192, iterations=8, colour=0.5, std=0.8
        )
        values = torch.linspace(-slider.FORCE, slider.FORCE, 17, dtype=torch.float64)
        knots = torch.cartesian_prod(*[values] * 4)
        plans = knots @ planner.basis.double().T
        best = float(_return_of(bumpy, plans, (0.0, speed)).max())
        found = float(_return_of(bumpy, decide(planner, (0.0, speed))["plan"][:, :, 0].double(), (0.0, speed))[0])
        assert found >= best - 0.02 * abs(best)


def _return_of(reward, plans, start):
    position, speed = (torch.full((len(plans),), value, dtype=torch.float64) for value in start)
    total = torch.zeros(len(plans), dtype=torch.float64)
    for action in plans.unbind(1):
        position, speed = position + slider.PERIOD * speed + 0.5 * slider.PERIOD**2 * action, speed + slider.PERIOD * action
        total += reward(torch.stack([position, speed], -1), action[:, None], None, None)
    return total


@pytest.mark.parametrize("kind", ["icem", "cem"])
@pytest.mark.parametrize("seed", [0, 1])
def test_shortest_way_round_an_obstacle(kind, seed):
    """A point that goes where it is told goes round a disc: two tangents and an arc, at constant speed."""
    radius, horizon, pull = 0.5, 12, 24.0
    model = linear_model(np.zeros((4, 4)), np.concatenate([np.eye(2), np.zeros((2, 2))]))

    def squared_step(state, action, previous, goal):
        inside = torch.relu(radius - torch.sqrt(state[..., 0] ** 2 + state[..., 1] ** 2))
        return -horizon * ((action[..., 0] - previous[..., 0]) ** 2 + (action[..., 1] - previous[..., 1]) ** 2) - 5.0 * inside

    def arrive(state, goal):
        return -pull * ((state[..., 0] - 1.0) ** 2 + state[..., 1] ** 2)

    limits, still = torch.full((2,), 1.2), torch.tensor([False, False])
    asked = Problem(squared_step, None, -limits, limits, limits * torch.inf, still, torch.ones(4), 0, 0.1, value=arrive)
    settings = {"horizon": horizon, "knots": 8, "samples": 512, "elites": 30, "iterations": 20, "colour": 1.5, "shrink": 1.0}
    planner = planner_of(model, asked, kind=kind, **settings)
    history = torch.tensor([[[-1.0, 0.0, 0.0, 0.0, -1.0, 0.0]]])
    outputs = decide(planner, (-1.0, 0.0, 0.0, 0.0), seed=seed, history=history)
    path = torch.cat([torch.tensor([[-1.0, 0.0]]), outputs["plan"][0]])
    length = 2 * (math.sqrt(1 - radius**2) + radius * math.asin(radius))
    # Of a way of length L in H equal steps the squared steps times H are L^2; stopping a little short is worth its while.
    best = length**2 * pull / (pull + 1.0)
    assert float(path.norm(dim=1).min()) >= radius - 1e-3
    assert -float(outputs["value"][0]) <= 1.02 * best
    assert horizon * float((path.diff(dim=0) ** 2).sum()) + pull * float((path[-1] - torch.tensor([1.0, 0.0])).norm()) ** 2 <= (
        1.02 * best
    )
