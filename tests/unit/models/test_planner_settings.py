"""What goes into a plan: every setting, the task's end, value and policy; and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.support import slider
from tests.support.planning import (
    best_within_limits,
    carried,
    cost,
    decide,
    inputs_of,
    linear_model,
    planner_of,
    problem,
    quadratic,
    random_model,
    slider_planner,
)

from forerun_models.recipe import Planner, Recipe

INF = float("inf")


def cost_to_go(horizon: int = 400) -> np.ndarray:
    """P of the slider's infinite horizon: x' P x is what can still be lost from x on."""
    q, r, p = np.diag([1.0, 0.1]), np.array([[0.16 / slider.FORCE**2]]), np.zeros((2, 2))
    for _ in range(horizon):
        stage = q + p
        gain = np.linalg.solve(r + slider.B.T @ stage @ slider.B, slider.B.T @ stage @ slider.A)
        p = slider.A.T @ stage @ (slider.A - slider.B @ gain)
    return p


def lqr_value(state, goal):
    p = torch.tensor(cost_to_go(), dtype=state.dtype)
    return -torch.einsum("...i,ij,...j->...", state, p, state)


def lqr_policy(state, goal):
    gain = torch.tensor(slider.riccati(400)[0][0], dtype=state.dtype)
    return torch.clamp(-(state @ gain)[..., None] / slider.FORCE, -1.0, 1.0)


@pytest.mark.parametrize("state", [(0.3, 0.0), (-0.2, 0.4)])
def test_a_value_makes_a_short_horizon_as_good_as_a_long_one(state):
    first = -float(slider.riccati(400)[0][0] @ np.array(state))
    settings = {"horizon": 3, "samples": 256, "iterations": 10, "colour": 0.5}
    wise, blind = (
        decide(slider_planner(changes, **settings), state) for changes in ({"value": lqr_value}, {})
    )  # fmt: skip
    assert float(wise["plan"][0, 0, 0]) == pytest.approx(first, rel=0.05)
    assert abs(float(blind["plan"][0, 0, 0]) - first) > 0.3 * abs(first)
    assert -float(wise["value"][0]) <= 1.02 * float(np.array(state) @ cost_to_go() @ np.array(state))


@pytest.mark.parametrize("ensemble", ["tsinf", "ts1"])
def test_nothing_counts_after_the_end(ensemble):
    """Neither rewards nor the value, nor what is no number by then."""
    ends = {
        "reward": lambda state, action, previous, goal: torch.where(
            state[..., 0] > 0.15, torch.full_like(state[..., 0], torch.nan), torch.ones_like(state[..., 0])
        ),
        "done": lambda state: state[..., 0] > 0.055,
        "value": lambda state, goal: torch.full_like(state[..., 0], 100.0),
    }
    # At 1.6 m/s it is past the end after the first step, and soon where the reward is no number any more.
    planner = slider_planner(ends, horizon=6, samples=16, iterations=1, elites=2, ensemble=ensemble)
    assert float(decide(planner, (0.0, 1.6))["value"][0]) == pytest.approx(1.0)
    assert float(decide(planner, (-3.0, 0.0))["value"][0]) == pytest.approx(106.0)


@pytest.mark.parametrize("knots", [None, 8])
def test_with_a_good_policy_few_samples_are_enough(knots):
    state = np.array([0.5, 0.2])
    settings = {"horizon": 15, "samples": 24, "iterations": 2, "elites": 4, "knots": knots}
    guided = decide(slider_planner({"policy": lqr_policy}, policy_samples=4, policy_std=0.5, **settings), state)
    alone = decide(slider_planner(**settings), state)
    x, actions = state.copy(), []
    for _ in range(15):
        actions.append(float(lqr_policy(torch.tensor(x), None)[0]) * slider.FORCE)
        x = slider.A @ x + slider.B[:, 0] * actions[-1]
    allowed = 1.0 if knots is None else 1.03
    assert cost(state, guided["plan"]) <= allowed * cost(state, actions) + 1e-5
    assert cost(state, guided["plan"]) < cost(state, alone["plan"])


def test_the_policys_own_sequence_is_tried_and_others_spread_by_policy_std():
    planner = slider_planner({"policy": lqr_policy}, policy_samples=6, policy_std=0.3, samples=48)
    plain = slider_planner({"policy": lqr_policy}, policy_samples=6, policy_std=0.0, samples=48)
    one, other = (decide(each, (0.5, 0.0)) for each in (planner, plain))
    assert not torch.equal(one["plan"], other["plan"])
    assert plain.noise_size == planner.noise_size


EFFECTS = [
    ({}, {"horizon": 9}), ({}, {"samples": 32}), ({}, {"iterations": 2}), ({}, {"shrink": 2.0}), ({}, {"elites": 5}),
    ({}, {"keep": 1.0}), ({}, {"colour": 0.0}), ({}, {"std": 0.2}), ({}, {"momentum": 0.6}), ({}, {"discount": 0.7}),
    ({}, {"members": 1}), ({}, {"knots": 5}), ({"knots": 5}, {"spline": "linear"}), ({"knots": 5}, {"spline": "zero"}),
    ({}, {"ensemble": "ts1"}), ({}, {"ensemble": "mean"}), ({}, {"ensemble": "worst"}), ({}, {"aleatoric": True}),
    ({"aleatoric": True}, {"particles": 3}), ({}, {"disagreement_weight": 0.5}), ({}, {"policy_samples": 5}),
    ({"policy_samples": 5}, {"policy_std": 0.6}), ({"kind": "mppi"}, {"temperature": 1.0}), ({}, {"kind": "cem"}),
    ({}, {"kind": "mppi"}), ({}, {"kind": "random"}), ({"kind": "random"}, {"colour": 0.0}), ({"kind": "mppi"}, {"std": 0.2}),
]  # fmt: skip


@pytest.mark.parametrize(("base", "change"), EFFECTS, ids=lambda value: ",".join(f"{k}={v}" for k, v in value.items()) or "plain")
def test_every_setting_has_an_effect(base, change):
    model = random_model([False], 1, 1, 3, seed=5)
    plain, changed = (planner_of(model, problem(policy=lqr_policy), **{"samples": 48, **base, **extra}) for extra in ({}, change))
    a, b = (decide(planner, (0.5, -0.2)) for planner in (plain, changed))
    assert any(a[key].shape != b[key].shape or not torch.equal(a[key], b[key]) for key in ("plan", "value", "imagined"))


def test_every_setting_is_in_that_list():
    """``tolerance`` is the iLQR's alone, ``trajectory`` that planner's."""
    changed = {name for _, change in EFFECTS for name in change}
    assert changed == set(Planner.model_fields) - {"tolerance", "trajectory"}


def test_the_order_of_the_sequences_does_not_matter():
    planner = slider_planner(samples=48, iterations=3)
    inputs = inputs_of(planner, (0.4, -0.2))
    order, parts = torch.Generator().manual_seed(3), []
    for drawn in planner._noise(inputs["noise"])[0]:
        parts.append(drawn[:, :, torch.randperm(drawn.shape[2], generator=order)].flatten())
    shuffled = torch.cat([*parts, inputs["noise"][sum(map(len, parts)) :]])
    assert not torch.equal(shuffled, inputs["noise"])
    one, other = decide(planner, (0.4, -0.2)), decide(planner, (0.4, -0.2), noise=shuffled)
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["icem", "cem", "mppi", "random"])
def test_a_new_carry_gives_the_first_plan_again_bit_by_bit(kind):
    planner = slider_planner(kind=kind)
    first = decide(planner, (1.0, 0.0))
    state, outputs = (0.3, 0.9), first
    for tick in range(3):
        outputs = decide(planner, state, seed=tick, elapsed=0.05, **carried(planner, outputs))
    again = decide(planner, (1.0, 0.0))
    assert all(torch.equal(first[name], again[name]) for name in first)


@pytest.mark.parametrize("wrong", [float("nan"), INF, -INF])
@pytest.mark.parametrize("kind", ["icem", "cem", "mppi", "random"])
def test_a_return_that_is_no_number_or_infinite_never_wins(kind, wrong):
    def broken(state, action, previous, goal):
        honest = quadratic(state, action, previous, goal)
        return torch.where(action[..., 0] > 0, torch.full_like(honest, wrong), honest)

    planner = slider_planner({"reward": broken}, kind=kind, horizon=4, samples=128)
    outputs = decide(planner, (-0.5, 0.0))
    assert torch.isfinite(outputs["plan"]).all()
    assert torch.isfinite(outputs["value"]).all()
    assert float(outputs["plan"].max()) <= 0.0


@pytest.mark.parametrize("kind", ["icem", "cem", "mppi", "random"])
def test_without_any_finite_return_the_plan_is_finite_and_its_value_says_so(kind):
    planner = slider_planner(
        {"reward": lambda state, action, previous, goal: state[..., 0] * float("nan")}, kind=kind, horizon=5
    )  # fmt: skip
    outputs = decide(planner, (0.5, 0.0))
    assert torch.isfinite(outputs["plan"]).all()
    assert float(outputs["value"][0]) == -INF
    assert all(torch.isfinite(value).all() for value in carried(planner, outputs).values())


def test_few_good_sequences_are_not_diluted_by_bad_ones():
    """Fewer finite returns than elites: only they refit the mean."""

    def narrow(state, action, previous, goal):
        honest = quadratic(state, action, previous, goal)
        return torch.where(action[..., 0] > -3.0, torch.full_like(honest, torch.nan), honest)

    planner = slider_planner({"reward": narrow}, kind="cem", horizon=1, samples=40, elites=20, iterations=3, momentum=0.0)
    outputs = decide(planner, (0.5, 0.0))
    assert float(outputs["plan"][0, 0, 0]) <= -3.0
    assert torch.isfinite(outputs["value"]).all()


def test_goals_are_inputs_of_one_planner():
    planner = slider_planner(horizon=12, samples=192, iterations=8, colour=1.0)
    for goal in (0.3, -0.4):
        plan = decide(planner, (0.0, 0.0), goal=[goal])["plan"]
        best = best_within_limits((-goal, 0.0), 12)
        assert cost((0.0, 0.0), plan, goal) <= 1.02 * cost((-goal, 0.0), best)


@pytest.mark.parametrize("share", [0.0, 0.4, 1.0])
def test_a_command_acts_as_much_later_as_the_delay_says(share):
    planner = slider_planner(horizon=6)
    outputs = decide(planner, (0.5, 0.1), under_way=2.0, delay=[share * slider.PERIOD])
    plan, state = outputs["plan"][0, :, 0].numpy(), np.array([0.5, 0.1])
    for before, action, predicted in zip([2.0, *plan[:-1]], plan, outputs["predicted"][0].numpy(), strict=True):
        state = slider.A @ state + slider.B[:, 0] * (share * before + (1 - share) * action)
        np.testing.assert_allclose(predicted, state, atol=1e-4)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"knots": 30, "horizon": 20}, "30 knots are more than the horizon's 20 steps"),
        ({"knots": 1}, "greater than or equal to 2"),
        ({"elites": 40, "samples": 32}, "40 elites cannot be chosen of 32 samples"),
        ({"policy_samples": 32, "samples": 32}, "leave none of 32 samples"),
        ({"particles": 4}, "set 'aleatoric: true'"),
        ({"ensemble": "mean", "aleatoric": True}, "choose ts1 or tsinf"),
        ({"ensemble": "best"}, "'ts1', 'tsinf', 'mean' or 'worst'"),
        ({"kind": "pso"}, "'icem', 'cem', 'mppi'"),
        ({"discount": 1.1}, "less than or equal to 1"),
        ({"sampels": 3}, "sampels"),
        ({"members": 6}, "planner.members 6 are more than the model's 5 elites"),
    ],
)
def test_settings_that_do_not_fit_are_refused_and_named(settings, said):
    with pytest.raises(ValueError, match=said.replace(".", r"\.")):
        Recipe.model_validate({"robot": "slider", "planner": settings})


def test_random_shooting_and_mppi_need_no_elites():
    for kind in ("random", "mppi"):
        planner = slider_planner(kind=kind, samples=5, elites=10)
        assert planner.populations[0] == 5
        assert torch.isfinite(decide(planner, (0.5, 0.0))["plan"]).all()


def test_two_joints_of_which_one_has_no_range_or_no_slew_limit():
    """A task may hold a joint still, and one joint's slew limit is not the other's."""
    model = linear_model(np.eye(4), np.concatenate([np.zeros((2, 2)), 0.05 * np.eye(2)]))
    limits = torch.tensor([4.0, 0.0])
    slew, turning = torch.tensor([INF, 1.0]), torch.tensor([False, False])
    asked = problem(
        lower=-limits,
        upper=limits,
        slew=slew,
        continuous=turning,
        state_std=torch.ones(4),
        substeps=4,
        reward=lambda state, action, previous, goal: -(state[..., 2] ** 2),
    )
    plan = decide(planner_of(model, asked, horizon=4, std=2.0), (1.0, 0.0, 3.0, 0.0))["plan"][0]
    assert torch.isfinite(plan).all()
    assert float(plan[:, 1].abs().max()) == 0.0
    assert float(plan[0, 0].abs()) > 2.0
