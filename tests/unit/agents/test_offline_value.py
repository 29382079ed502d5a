"""A recipe's value, learned in the model alone: short plans with it are as good as long ones, also in the bundle."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forerun_models.agents.offline_value import learn_value
from forerun_models.bundle import load
from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.export import Provenance, export_bundle
from forerun_models.planners.decide import Decider
from forerun_models.planners.make import make_exportable
from forerun_models.planners.networks import Networks, observed
from forerun_models.recipe import Recipe, ValueLearning, load_recipe
from forerun_models.training.finetune import load_parent
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec
from support import slider

SHORT = slider.recipe(horizon=3, discount=0.9, samples=64, iterations=3, policy_samples=4)
LEARNING = ValueLearning(
    updates=1200,
    generations=6,
    rollouts=100,
    hidden=(32, 32),
    batch=64,
    learning_rate=2e-3,
    discount=0.9,
    target_rate=0.05,
    temperature=0.01,
)
RECIPE = SHORT.model_copy(update={"value": LEARNING})


@pytest.fixture(scope="module")
def spec(tmp_path_factory: pytest.TempPathFactory) -> RobotSpec:
    return slider.robot(tmp_path_factory.mktemp("slider"))


@pytest.fixture(scope="module")
def model(spec: RobotSpec) -> Ensemble:
    return slider.exact_model(spec)


@pytest.fixture(scope="module")
def networks(model: Ensemble, spec: RobotSpec) -> Networks:
    return learn_value(model, spec, RECIPE, slider.trials(20, rows=25), seed=0)


def _discounted(state: NDArray[np.float64], decider: Decider) -> float:
    total, x = 0.0, state
    for step in range(40):
        action = decider.decide([[*x, 0.0]], [0.0], elapsed=slider.PERIOD if step else 0.0).plan[0, 0]
        x = slider.A @ x + slider.B[:, 0] * float(action)
        total += 0.9**step * float(x[0] ** 2 + 0.1 * x[1] ** 2 + 0.16 * (action / slider.FORCE) ** 2)
    return total


def test_a_plan_of_three_steps_with_it_is_as_good_as_one_of_thirty(model: Ensemble, spec: RobotSpec, networks: Networks) -> None:
    start = np.array([0.8, 0.0])
    long = slider.recipe(horizon=30, discount=0.9, samples=96, iterations=4)
    best = _discounted(start, Decider(make_exportable(model, spec, long), 0))
    short = _discounted(start, Decider(make_exportable(model, spec, SHORT, value=networks.value, policy=networks.act), 0))
    blind = _discounted(start, Decider(make_exportable(model, spec, SHORT), 0))
    assert short < 1.05 * best
    assert blind > 1.1 * best


def test_the_bundle_of_such_a_recipe_has_it(model: Ensemble, spec: RobotSpec, tmp_path: Path) -> None:
    quick = RECIPE.model_copy(update={"value": LEARNING.model_copy(update={"updates": 4, "generations": 2})})
    folder = export_bundle(tmp_path / "b", model, spec, quick, slider.trials(4), Provenance({}, 3))
    parent = load_parent(load(folder))  # compares the graph with torch
    assert parent.networks is not None
    again = learn_value(model, spec, quick, slider.trials(4), seed=3)
    state, goal = torch.tensor([[0.3, 0.1]]), torch.zeros(1)
    assert torch.equal(again.value(state, goal), parent.networks.value(state, goal))
    assert parent.recipe.value == quick.value


def test_angles_without_limits_are_seen_as_directions() -> None:
    state, goal = torch.tensor([[1.0, 7.0, 0.2, 0.3]]), torch.tensor([0.5])
    turned = state + torch.tensor([0.0, 2 * torch.pi, 0.0, 0.0])
    seen = observed(state, goal, [1])
    assert seen.shape == (1, 6)
    torch.testing.assert_close(observed(turned, goal, [1]), seen)
    assert torch.equal(observed(state, torch.zeros(0), []), state)


def test_plans_that_count_otherwise_than_their_value_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "r.yaml"
    file.write_text("robot: slider\nvalue: {discount: 0.95}\n")
    with pytest.raises(InputError, match=r"planner.discount 1 is not value.discount 0.95"):
        load_recipe(file, "slider")
    assert (
        Recipe.model_validate({"robot": "slider", "planner": {"discount": 0.95}, "value": {"discount": 0.95}}).value is not None
    )
