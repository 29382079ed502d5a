"""iLQR is LQR on linear-quadratic problems, keeps to limits at the optimum, and finds what sampling finds on others."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from scipy.optimize import lsq_linear
from tests.support import slider

from forerun_models.bundle import load
from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.export import Provenance, export_bundle
from forerun_models.planners.decide import Decider
from forerun_models.planners.ilqr import ILQR
from forerun_models.planners.make import make_planner
from forerun_models.planners.riccati import in_box
from forerun_models.recipe import ModelSettings, Planner, Recipe
from forerun_models.training.start import build, initialise
from forerun_models.training.windows import Windows
from forerun_sim.errors import InputError
from forerun_sim.spec import load_robot

HORIZON = 12
OLDER = np.array([[0.02, -0.01], [0.05, 0.1]])
EARLIER = np.array([[0.0003], [0.011]])
"""How the mass with a memory also depends on the state before the newest, less the newest, and on the command before."""


@dataclass(frozen=True)
class Regulator:
    """The slider as least squares in its commands: what iLQR has to find, by another way."""

    state: tuple[float, float]
    before: tuple[float, float] = (0.0, 0.0)
    under_way: float = 0.0
    late: float = 0.0
    memory: bool = False
    slew: float = 0.0
    discount: float = 1.0

    def residuals(self, commands):
        older, state, given = np.array(self.before), np.array(self.state), self.under_way
        acted, out = self.under_way, []
        for t, command in enumerate(commands):
            acting = command + self.late * (given - command)
            following = slider.A @ state + slider.B[:, 0] * acting
            if self.memory:
                following = following + OLDER @ (older - state) + EARLIER[:, 0] * acted
            older, state, acted = state, following, acting
            costs = (state[0], 0.1**0.5 * state[1], 0.4 * command / slider.FORCE, self.slew * (command - given) / slider.FORCE)
            out += [self.discount ** (t / 2) * cost for cost in costs]
            given = command
        return np.array(out)

    def optimum(self, slew=None):
        """Commands [H] within the limits; ``slew``: largest change a step, for problems whose force stays within its limits."""
        changes = np.tril(np.ones((HORIZON, HORIZON))) if slew else np.eye(HORIZON)
        start = self.under_way if slew else 0.0
        offset = self.residuals(np.full(HORIZON, start))
        matrix = np.stack([self.residuals(start + change) - offset for change in changes.T], axis=1)
        bound = slew or slider.FORCE
        found = start + changes @ lsq_linear(matrix, -offset, (-bound, bound), tol=1e-15, method="bvls").x
        assert np.abs(found).max() <= slider.FORCE + 1e-9
        return found

    def history(self, rows):
        """[1, rows, 3] in double precision."""
        newest = [[*self.state, self.under_way]]
        return torch.tensor([[*self.before, self.under_way]] * (rows - 1) + newest, dtype=torch.float64)[None]


def planner_of(folder, *, extra="", history=1, memory=False, slew=0.0, **settings) -> ILQR:
    """iLQR in a model that is the slider to double precision."""
    spec = slider.robot(folder, extra=extra, history=history)
    if slew:
        path = folder / "robot.yaml"
        path.write_text(path.read_text() + f"      - {{kind: slew, weight: {slew**2}}}\n")
        spec = load_robot(folder)
    model = silent(build(spec, slider.recipe().model))
    change = np.concatenate([slider.A - np.eye(2), OLDER if memory else 0 * OLDER, 0 * EARLIER, slider.B], axis=1)
    if memory:
        change[:, 4:5] = EARLIER
    columns = [
        0,
        1,
        *(range(history * 2 - 2, history * 2) if memory else [2, 2]),
        model.features.size - 2,
        model.features.size - 1,
    ]
    for column, values in zip(columns, change.T, strict=True):
        if values.any():
            model.linear.data[:, column] = torch.from_numpy(values)
    settings = {"horizon": HORIZON, "iterations": 20, "samples": 8, **settings}
    return make_planner(model, spec, slider.recipe(kind="ilqr", **settings))


def silent(model: Ensemble) -> Ensemble:
    """``model`` in double precision, its network without a say."""
    for parameter in model.double().parameters():
        parameter.data.zero_()
    return model.eval()


def arguments(planner: ILQR, history, *, delay=0.0, elapsed=0.0, carry=None, seed=0, goal=0.0):
    generator = torch.Generator().manual_seed(seed)
    carry = torch.zeros(*planner.carry_shapes["carry_mean"]) if carry is None else carry
    goals = torch.full((1, planner.goal_size), goal)
    times = torch.tensor([elapsed], dtype=torch.float64), torch.tensor([delay], dtype=torch.float64)
    return history, goals, torch.randn(planner.noise_size, generator=generator), *times, carry


def assert_equal(plan, optimum, tolerance=1e-6):
    assert np.abs(plan - optimum).max() <= tolerance * np.abs(optimum).max()


# Linear dynamics, quadratic rewards --------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [(0.5, 0.0), (-0.3, 0.4), (0.2, -0.6), (0.0, 0.9)])
def test_equals_the_riccati_solution(tmp_path, state):
    plan = planner_of(tmp_path)(*arguments(planner_of(tmp_path), Regulator(state).history(1)))[0]
    x, optimal = np.array(state), []
    for gain in slider.riccati(HORIZON):
        optimal.append(float(-(gain @ x)[0]))
        x = slider.A @ x + slider.B[:, 0] * optimal[-1]
    assert np.abs(optimal).max() < slider.FORCE, "the problem must not touch its limits, or Riccati is not its optimum"
    assert_equal(plan[0, :, 0].numpy(), np.array(optimal))


@pytest.mark.parametrize("delay", [0.0, 0.02, 0.05])
@pytest.mark.parametrize(("history", "memory"), [(1, False), (2, True), (4, True)])
@pytest.mark.parametrize("slew", [0.0, 1.5])
def test_equals_lqr_with_history_delay_and_cost_of_change(tmp_path, delay, history, memory, slew):
    problem = Regulator((0.3, -0.2), (0.1, 0.5), 0.7, delay / slider.PERIOD, memory, slew)
    planner = planner_of(tmp_path, history=history, memory=memory, slew=slew)
    found = planner.solve(*arguments(planner, problem.history(history), delay=delay))
    assert found.converged and found.iterations <= 3
    assert_equal(slider.FORCE * found.commands[:, 0].numpy(), problem.optimum())
    assert found.value == pytest.approx(-(problem.residuals(problem.optimum()) ** 2).sum(), rel=1e-9)


def test_discount_counts(tmp_path):
    problem = Regulator((0.3, -0.2), discount=0.8)
    planner = planner_of(tmp_path, discount=0.8)
    assert_equal(planner(*arguments(planner, problem.history(1)))[0][0, :, 0].numpy(), problem.optimum())


def test_value_at_the_horizon_replaces_the_rest_of_the_way(tmp_path):
    tail = np.zeros((2, 2))
    for _ in range(20):
        cost, weight = np.diag([1.0, 0.1]) + tail, 0.16 / slider.FORCE**2
        gain = np.linalg.solve(weight + slider.B.T @ cost @ slider.B, slider.B.T @ cost @ slider.A)
        tail = slider.A.T @ cost @ (slider.A - slider.B @ gain)
    matrix = torch.tensor(tail, dtype=torch.float32)
    short, history = planner_of(tmp_path, tolerance=1e-9), Regulator((0.3, -0.2)).history(1)
    short.problem = replace(short.problem, value=lambda state, goal: -((state @ matrix) * state).sum(dim=-1))
    long = planner_of(tmp_path, horizon=HORIZON + 20)
    plans = [planner(*arguments(planner, history))[0][0, :HORIZON, 0].numpy() for planner in (short, long)]
    assert_equal(*plans, tolerance=1e-4)


def test_goal_is_an_input(tmp_path):
    planner = planner_of(tmp_path)
    shifted = planner(*arguments(planner, Regulator((1.3, -0.2)).history(1), goal=1.0))[0]
    assert_equal(shifted.numpy(), planner(*arguments(planner, Regulator((0.3, -0.2)).history(1)))[0].numpy())


# Limits ------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("state", [(1.0, 0.0), (-2.0, 1.0), (0.5, 4.0)])
@pytest.mark.parametrize("memory", [False, True])
def test_limited_commands_are_the_best_within_their_limits(tmp_path, state, memory):
    problem = Regulator(state, state, memory=memory)
    planner = planner_of(tmp_path, history=2, memory=memory, tolerance=1e-13)
    plan = planner(*arguments(planner, problem.history(2)))[0][0, :, 0].numpy()
    assert np.abs(plan).max() == slider.FORCE, "limits must be touched, and hold exactly"
    assert_equal(plan, problem.optimum(), tolerance=1e-5)


@pytest.mark.parametrize(("state", "under_way"), [((0.4, 0.0), 1.5), ((-0.3, 0.3), 2.0), ((0.1, -0.9), -2.0)])
def test_slew_limited_commands_are_the_best_that_the_robot_can_follow(tmp_path, state, under_way):
    problem = Regulator(state, under_way=under_way)
    planner = planner_of(tmp_path, extra=", slew: 10", tolerance=1e-13)
    plan = planner(*arguments(planner, problem.history(1)))[0][0, :, 0].numpy()
    steps = np.abs(np.diff(np.concatenate([[under_way], plan])))
    assert steps.max() == pytest.approx(10 * slider.PERIOD, abs=1e-6), "slew must be the limit"
    assert_equal(plan, problem.optimum(slew=10 * slider.PERIOD), tolerance=1e-4)


def test_plans_in_single_precision_keep_all_limits(tmp_path):
    planner = planner_of(tmp_path, extra=", slew: 40")
    decider = Decider(planner, 0)
    for state in ((4.0, 0.0), (-4.0, 2.0), (0.3, -7.0)):
        plan = decider.decide([[*state, 1.5]], [0.0], elapsed=slider.PERIOD, delay=0.01).plan[:, 0]
        assert plan.dtype == np.float32
        assert np.abs(plan).max() <= slider.FORCE
        assert np.abs(np.diff(plan, prepend=1.5)).max() <= 40 * slider.PERIOD + 1e-5


def test_commands_between_the_steps_follow_too(tmp_path):
    coarse = planner_of(tmp_path, extra=", slew: 10")
    planner = ILQR(coarse.rollout, replace(coarse.problem, substeps=5), coarse.settings)
    plan = planner(*arguments(planner, Regulator((2.0, 0.0)).history(1)))[0][0, :, 0].numpy()
    assert len(plan) == 5 * HORIZON
    assert np.abs(np.diff(plan, prepend=0.0)).max() <= 10 * slider.PERIOD / 5 + 1e-6


def test_a_command_without_range_stays_where_it_is(tmp_path):
    planner = planner_of(tmp_path)
    fixed = torch.full((1,), 0.25)
    planner = ILQR(planner.rollout, replace(planner.problem, lower=fixed, upper=fixed), planner.settings)
    plan = planner(*arguments(planner, Regulator((2.0, 0.0)).history(1)))[0]
    assert torch.equal(plan, torch.full_like(plan, 0.25))


@pytest.mark.parametrize("size", [1, 2, 5])
def test_small_programs_in_a_box(size):
    rng = np.random.default_rng(size)
    for _ in range(40):
        root, target = rng.normal(size=(size + 2, size)), rng.normal(size=size + 2)
        lower, upper = -rng.uniform(0, 0.6, size), rng.uniform(0, 0.6, size)
        expected = lsq_linear(root, target, (lower, upper + 1e-12), tol=1e-15, method="bvls").x
        found = in_box(*(torch.from_numpy(array) for array in (root.T @ root, -root.T @ target, lower, upper)))
        assert found is not None
        np.testing.assert_allclose(found[0].numpy(), expected, atol=1e-7)


# Nonlinear ---------------------------------------------------------------------------------------------------------------

_SWING = """
format: 1
name: swing
joints:
  - {name: arm, type: continuous, interface: effort, velocity: 20, effort: 3.0}
control: {rate: 20, physics_rate: 100, history: 1}
tasks:
  up:
    terms:
      - {kind: tolerance, feature: "cos:arm", target: 1.0, bounds: [0, 0], margin: 1.0}
      - {kind: quadratic, feature: "velocity:arm", weight: 0.001}
      - {kind: action, weight: 0.02}
"""


def swing(state, command):
    """A pendulum, its angle counted from upright."""
    speed = state[..., 1] + slider.PERIOD * (9.81 * np.sin(state[..., 0]) - 0.1 * state[..., 1] + command)
    return np.stack([state[..., 0] + slider.PERIOD * speed, speed], axis=-1)


@pytest.fixture(scope="module")
def pendulum(tmp_path_factory):
    """Makes planners in an ensemble that is a pendulum to double precision: least squares on its features finds it."""
    folder = tmp_path_factory.mktemp("swing")
    (folder / "robot.yaml").write_text(_SWING)
    spec = load_robot(folder)
    model = silent(build(spec, ModelSettings(members=2, elites=2, hidden=8, layers=1)))
    rng = np.random.default_rng(0)
    states, commands = rng.uniform([-4, -8], [4, 8], (1000, 2)), rng.uniform(-3, 3, (1000, 1))
    inputs = model.features.inputs([torch.from_numpy(states)], [torch.from_numpy(commands)])
    change = torch.from_numpy(swing(states, commands[:, 0]) - states)
    model.linear.data.copy_(torch.linalg.lstsq(inputs, change, driver="gelsd").solution.expand_as(model.linear))

    def make(**settings):
        used = model if settings.get("kind") == "ilqr" else copy.deepcopy(model).float()
        return make_planner(used, spec, Recipe(robot="swing", planner=Planner.model_validate({"horizon": 40, **settings})))

    return make


@pytest.mark.parametrize("state", [(2.0, 1.0), (0.5, -1.0), (-1.5, 2.0)])
def test_swings_up_as_well_as_long_sampling(pendulum, state):
    history = torch.tensor([[[*state, 0.0]]], dtype=torch.float64)
    planner = pendulum(kind="ilqr", iterations=100, samples=16)
    found = planner.solve(*arguments(planner, history))
    start = planner.solve(*arguments(pendulum(kind="ilqr", iterations=1, samples=16), history))
    sampled = Decider(pendulum(kind="icem", samples=256, iterations=15), 0).decide(history[0], [])
    assert found.converged and found.iterations < 100
    assert found.value > start.value or start.converged
    assert found.value >= sampled.value - 1e-3 * abs(sampled.value)


def test_negative_curvature_does_not_slow_it_down(pendulum):
    planner = pendulum(kind="ilqr", iterations=100, samples=1)
    found = planner.solve(*arguments(planner, torch.tensor([[[-2.14, 3.59, 0.0]]], dtype=torch.float64)))
    assert found.converged and found.iterations <= 15


def test_drawn_starts_lead_out_of_flat_ground(pendulum):
    history = torch.tensor([[[2.04, 0.08, 0.0]]], dtype=torch.float64)
    few, many = (pendulum(kind="ilqr", horizon=60, iterations=50, samples=count) for count in (1, 96))
    lazy, busy = (planner.solve(*arguments(planner, history)).value for planner in (few, many))
    assert lazy < 0 < 10 < busy


def test_a_policy_is_a_start(pendulum):
    planner = pendulum(kind="ilqr", iterations=1, samples=2, policy_samples=1)
    history = torch.tensor([[[2.0, 1.0, 0.0]]], dtype=torch.float64)
    alone = planner.solve(*arguments(planner, history)).value
    known = pendulum(kind="ilqr", iterations=100).forward(*arguments(pendulum(kind="ilqr"), history))[5]
    taken = iter(known.float())
    planner.problem = replace(planner.problem, policy=lambda state, goal: next(taken)[None])
    assert planner.solve(*arguments(planner, history)).value > alone + 0.1


def test_a_task_that_reads_tensors_only_gives_the_same(pendulum):
    history = torch.tensor([[[2.0, 1.0, 0.0]]], dtype=torch.float64)
    planner = pendulum(kind="ilqr", iterations=10)
    expected = planner.solve(*arguments(planner, history)).commands
    planner.problem = replace(planner.problem, plain=True)
    assert torch.equal(planner.solve(*arguments(planner, history)).commands, expected)


@pytest.mark.parametrize(
    ("name", "value"),
    [("horizon", 30), ("iterations", 4), ("tolerance", 0.9), ("samples", 3), ("colour", 0.0), ("std", 0.2), ("discount", 0.9)],
)
def test_every_setting_has_an_effect(pendulum, name, value):
    history = torch.tensor([[[0.3, -3.8, 0.0]]], dtype=torch.float64)
    settings = {"kind": "ilqr", "horizon": 20, "samples": 16, "iterations": 3}
    plain, changed = (pendulum(**settings), pendulum(**{**settings, name: value}))
    a, b = (planner.solve(*arguments(planner, history)).commands for planner in (plain, changed))
    assert a.shape != b.shape or not torch.equal(a, b)


def test_fewer_members_are_another_mean(tmp_path):
    spec = slider.robot(tmp_path)
    model = build(spec, slider.recipe().model)
    initialise(model, Windows(slider.trials(5, noise=0.05), 1, 1), 3)
    recipes = (slider.recipe(kind="ilqr"), slider.recipe(kind="ilqr", members=1))
    both, one = (Decider(make_planner(model, spec, recipe), 0).decide([[0.5, -0.2, 0.0]], [0.0]) for recipe in recipes)
    assert both.imagined.shape[0] == 2 and one.imagined.shape[0] == 1
    assert both.disagreement > 0 and not np.array_equal(both.plan, one.plan)


def test_what_is_predicted_comes_true(pendulum):
    decision = Decider(pendulum(kind="ilqr", iterations=30), 0).decide([[2.0 + 2 * np.pi, 1.0, 0.0]], [])
    state = np.array([2.0 + 2 * np.pi, 1.0])
    for command, predicted in zip(decision.plan[:, 0], decision.predicted, strict=True):
        state = swing(state, command)
        np.testing.assert_allclose(predicted, state, atol=1e-4)
    assert decision.imagined.shape == (2, 40, 2)
    assert decision.disagreement == pytest.approx(0.0, abs=1e-6)


def test_says_whether_it_converged_and_goes_on_from_the_last_plan(pendulum):
    history = torch.tensor([[[2.0, 1.0, 0.0]]], dtype=torch.float64)
    short, long = (pendulum(kind="ilqr", samples=1, iterations=count) for count in (2, 100))
    first = short.solve(*arguments(short, history))
    assert not first.converged and first.iterations == 2
    whole = long.solve(*arguments(long, history))
    again = long.solve(*arguments(long, history, carry=whole.commands))
    assert whole.converged and again.converged
    assert again.iterations < whole.iterations
    assert again.value >= whole.value


# Trouble -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", ["returns", "derivatives"])
def test_what_is_no_number_never_wins_and_never_raises(tmp_path, where):
    planner = planner_of(tmp_path)
    honest = planner.problem.reward

    def broken(state, action, previous, goal):
        rewards = honest(state, action, previous, goal)
        if where == "returns":
            return torch.where(action[..., 0] > 0, torch.full_like(rewards, torch.nan), rewards)
        # Its derivative is 0 times infinity.
        return rewards + torch.sqrt(0.0 * action[..., 0])

    planner.problem = replace(planner.problem, reward=broken)
    found = planner.solve(*arguments(planner, Regulator((-0.5, 0.0)).history(1)))
    assert torch.isfinite(found.commands).all() and np.isfinite(found.value)
    assert not found.converged
    if where == "returns":
        assert float(found.commands.max()) <= 0.0


@pytest.mark.parametrize("extra", ["", ", slew: 10"])
def test_a_history_that_is_no_number_does_not_raise(tmp_path, extra):
    planner = planner_of(tmp_path, extra=extra)
    for wrong in (torch.nan, torch.inf, -1e300):
        value = planner(*arguments(planner, torch.full((1, 1, 3), wrong, dtype=torch.float64)))[2]
        assert float(value) < -1e15


def test_no_return_at_all_gives_the_middle_of_the_limits(tmp_path):
    planner = planner_of(tmp_path)
    planner.problem = replace(planner.problem, reward=lambda state, *_: torch.full_like(state[..., 0], torch.nan))
    outputs = planner(*arguments(planner, Regulator((-0.5, 0.0)).history(1)))
    assert torch.equal(outputs[0], torch.zeros_like(outputs[0]))
    assert float(outputs[2]) == -np.inf


def test_rewards_after_the_end_count_nothing(tmp_path):
    planner = planner_of(tmp_path)
    problem = Regulator((0.5, 0.0))
    planner.problem = replace(planner.problem, done=lambda state: state[..., 0] > 0.3)
    found = planner.solve(*arguments(planner, problem.history(1)))
    assert found.value == pytest.approx(-(problem.residuals(slider.FORCE * found.commands[:, 0].numpy())[:4] ** 2).sum())


def test_a_bundle_of_it_is_refused_before_anything_is_written(tmp_path):
    spec = slider.robot(tmp_path / "robot")
    out = tmp_path / "bundle"
    with pytest.raises(InputError, match=r"planner\.kind is 'ilqr'.*icem"):
        export_bundle(out, slider.exact_model(spec), spec, slider.recipe(kind="ilqr"), slider.trials(3), Provenance({}, 0))
    assert [path.name for path in tmp_path.iterdir()] == ["robot"]


# Decisions off the robot -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["icem", "cem", "mppi", "random", "ilqr"])
def test_deciders_of_all_kinds_go_on_repeat_and_forget(tmp_path, kind):
    spec = slider.robot(tmp_path)
    decider, other = (Decider(make_planner(slider.exact_model(spec), spec, slider.recipe(kind=kind)), 3) for _ in range(2))
    rows = [[[0.5, 0.2, 0.1]], [[0.4, 0.1, 0.2]]]
    decisions = [decider.decide(row, [0.0], number * slider.PERIOD, 0.01) for number, row in enumerate(rows)]
    repeated = [other.decide(row, [0.0], number * slider.PERIOD, 0.01) for number, row in enumerate(rows)]
    decider.reset()
    for a, b in zip(decisions, [*repeated[:1], repeated[1]], strict=True):
        np.testing.assert_array_equal(a.plan, b.plan)
        assert a.plan.shape == (15, 1) and a.predicted.shape == (15, 2) and a.imagined.shape == (2, 15, 2)
    np.testing.assert_array_equal(decider.decide(rows[0], [0.0], 0.0, 0.01).plan, decisions[0].plan)


def test_a_decider_decides_as_the_bundle_does(tmp_path):
    spec = slider.robot(tmp_path / "robot")
    model, recipe = slider.exact_model(spec), slider.recipe()
    bundle = load(export_bundle(tmp_path / "bundle", model, spec, recipe, slider.trials(3), Provenance({}, 0)))
    decider, random, carry = Decider(make_planner(model, spec, recipe), 5), np.random.default_rng(5), bundle.start()
    for number in range(3):
        row = [[0.5 - 0.1 * number, 0.2, 0.1]]
        noise = random.standard_normal(bundle.manifest.noise_size, dtype=np.float32)
        expected = bundle.act(row, [0.0], noise, slider.PERIOD, 0.01, carry)
        carry = expected.carry
        np.testing.assert_allclose(decider.decide(row, [0.0], slider.PERIOD, 0.01).plan, expected.plan, atol=1e-3)


def test_a_history_of_the_wrong_shape_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"history \[1, 3\]"):
        Decider(planner_of(tmp_path), 0).decide([[0.0, 0.0]], [0.0])
