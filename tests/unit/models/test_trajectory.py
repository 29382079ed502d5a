"""Trajectories planned ahead: optimal where the optimum is known, and followed by a bundle."""

from __future__ import annotations

import copy
import dataclasses
import math
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.linalg import solve_discrete_are
from tests.support import slider

from forerun.control.agent import BundlePolicy
from forerun_models.bundle import load
from forerun_models.dynamics.model import WorldModel
from forerun_models.export import Provenance, export_bundle
from forerun_models.planners.decide import Decider
from forerun_models.planners.make import make_exportable, make_for_bundle
from forerun_models.planners.problem import problem_of
from forerun_models.planners.trajectory.costs import Costs
from forerun_models.planners.trajectory.course import Course, stands
from forerun_models.planners.trajectory.feedback import holding, step_back
from forerun_models.planners.trajectory.motion import Motion
from forerun_models.planners.trajectory.plan import plan_course
from forerun_models.planners.trajectory.rehearsal import rehearse
from forerun_models.planners.trajectory.tracker import Tracker
from forerun_models.recipe import ModelSettings, Planner, Recipe, RigidBodySettings, Scales, Tracking
from forerun_models.training.start import build
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tasks import TaskFunction
from forerun_sim.trial import Trial

SWING = Recipe(
    robot="pendulum",
    task="swingup",
    model=ModelSettings(
        kind="rigid_body",
        members=2,
        elites=2,
        hidden=4,
        history=2,
        rigid_body=RigidBodySettings(recurrent=4, context=1, offset=0),
    ),
    planner=Planner.model_validate(
        {
            "kind": "trajectory",
            "horizon": 3,
            "trajectory": {"target": {"shoulder": math.pi}, "seconds": 3.0, "knot": 3, "starts": 4, "iterations": 12}
            | {"scales": {"effort": 20.0, "motion": 100.0}},
        }
    ),
)
"""The pendulum from hanging to upright."""


def slide(folder: Path, start: float, **settings: object) -> Course:
    """The slider's way from ``start`` [m] to 0, in its exact model."""
    path = slider.robot(folder).folder / "robot.yaml"
    path.write_text(path.read_text() + f"    initial_position: {{slider: {{value: {start}}}}}\n")
    spec = load_robot(folder)
    recipe = slider.recipe(kind="trajectory", trajectory={"starts": 2, "iterations": 12, **settings})
    model = slider.exact_model(spec)
    return plan_course(model, spec, recipe, problem_of(spec, TaskFunction(spec, None), model.features.state_std))


def test_holding_solves_riccatis_equation() -> None:
    state, change = np.diag([2.0, 0.5]), np.array([[0.3]])
    expected = solve_discrete_are(slider.A, slider.B, state, change)
    found = holding(slider.A, slider.B, state, change)
    assert found == pytest.approx(expected, rel=1e-9)
    before, gain = step_back(found, slider.A, slider.B, change)
    assert before + state == pytest.approx(expected, rel=1e-9)
    assert np.abs(np.linalg.eigvals(slider.A + slider.B @ gain)).max() < 1


def test_what_nothing_can_hold_is_refused() -> None:
    with pytest.raises(InputError, match="no feedback holds"):
        holding(np.diag([1.2, 0.5]), np.array([[0.0], [1.0]]), np.eye(2), np.eye(1))


def test_transfer_of_least_effort_is_the_known_one(tmp_path: Path) -> None:
    """From 1 m to 0 within T the least integral of u^2 is 12 / T^3, by a force that rises evenly (once it has begun)."""
    course = slide(tmp_path, 1.0, seconds=4.0, knot=1, scales={"effort": 1000.0})
    assert course.parts["effort"] == pytest.approx(12 / 4**3, rel=0.06)
    moments = np.arange(80) * slider.PERIOD + slider.PERIOD / 2
    expected = -6 / 4**2 * (1 - 2 * moments / 4)
    assert course.commands[5:-6, 0].numpy() == pytest.approx(expected[5:-5], abs=0.04)
    assert course.states[-2].abs().max() < 0.03


def test_trajectory_keeps_to_the_commands_limits(tmp_path: Path) -> None:
    course = slide(tmp_path, 4.0, seconds=2.5, knot=1, scales={"motion": 1000.0})
    assert 0.5 * slider.FORCE < float(course.commands.abs().max()) < 0.9 * slider.FORCE


def test_quadratic_touches_the_costs() -> None:
    """Its gradient is that of the weighted costs."""
    torch.manual_seed(0)
    inside = torch.tensor([0.3])
    costs = Costs(
        Scales(time=2.0, work=3.0, effort=4.0, roughness=0.5, motion=6.0),
        lambda state: state[..., 0] - inside[0],
        0.2,
        torch.tensor([1]),
        torch.tensor([5.0]),
        torch.tensor([0.0]),
        2,
        0.05,
        300,
        0.2,
    )
    z = torch.randn(2, 5, 5, dtype=torch.float64).requires_grad_()
    w = torch.randn(2, 4, 1, dtype=torch.float64).requires_grad_()
    weights = costs.weights(costs.values(z, w)).detach()
    (weights * costs.values(z, w)).sum().backward()
    found = costs.quadratic(z.detach(), w.detach(), weights)
    assert z.grad is not None and w.grad is not None
    assert found.gradient[..., :5].numpy() == pytest.approx(z.grad[:, 1:].numpy(), rel=3e-2, abs=1e-4)
    assert found.gradient[..., 5:].numpy() == pytest.approx(w.grad.numpy(), rel=1e-3, abs=1e-5)
    assert float(torch.linalg.eigvalsh(found.curvature).min()) > -1e-12


@cache
def pendulum() -> tuple[RobotSpec, WorldModel]:
    """The pendulum and an untrained model of it: the physics of its URDF."""
    spec = load_robot("pendulum")
    model = build(spec, SWING.model)
    model.reset_parameters(torch.Generator().manual_seed(0))
    return spec, model.eval()


@cache
def tracker() -> Tracker:
    spec, model = pendulum()
    found = make_for_bundle(model, spec, SWING)
    assert isinstance(found, Tracker)
    return found


def decide(state: list[float], **given: float) -> np.ndarray:
    decider = Decider(tracker(), 0)
    decider.carry["carry_row"][:] = given.get("row", 0.0)
    return decider.decide([[*state, given.get("before", 0.0)]] * 2, [], elapsed=given.get("elapsed", 0.0)).plan


def test_bundle_swings_the_pendulum_up_and_holds_it(tmp_path: Path) -> None:
    spec, model = pendulum()
    # All the way round, at all speeds: no plan leads beyond.
    rows = np.random.default_rng(0).uniform(-1.0, 1.0, (400, 3)).astype(np.float32) * np.array([math.pi, 10.0, 1.0], np.float32)
    export_bundle(
        tmp_path / "bundle",
        model,
        spec,
        SWING,
        [Trial(rows[:, :2], rows[:, 2:], spec.control.period, "pendulum")],
        Provenance({}, 0),
    )
    bundle = load(tmp_path / "bundle", robot="pendulum")
    plant = Plant(spec, engine="mujoco_urdf", task="swingup", randomize=False)
    policy = BundlePolicy(bundle, 0, spec.control.period)
    reading = plant.reset(0, initial=([0.0], [0.0]))
    for step in range(round(7.0 / spec.control.period)):
        reading = plant.step(policy(step, reading)) or reading
    assert plant.true_state() == pytest.approx([math.pi, 0.0], abs=0.1)


def test_whole_turns_change_nothing() -> None:
    for row in (0, 50, 140):
        state = tracker().points[row, :2].tolist()
        turned = [state[0] + 4 * math.pi, state[1]]
        assert decide(turned, row=row) == pytest.approx(decide(state, row=row), abs=1e-3)


def test_time_moves_along_the_trajectory_and_its_end_is_held() -> None:
    points, commands = tracker().points, tracker().commands
    row = 40
    state, before = points[row, :2].tolist(), float(points[row, 2])
    given = decide(state, row=row - 3, before=before, elapsed=3 * pendulum()[0].control.period)
    assert given[0] == pytest.approx(commands[row].numpy(), abs=1e-3)
    late = decide([math.pi, 0.0], row=len(points) - 1, elapsed=5.0)
    assert late == pytest.approx(np.zeros_like(late), abs=0.02)


def test_who_is_far_away_goes_on_from_elsewhere() -> None:
    points = tracker().points
    decider = Decider(tracker(), 0)
    decider.carry["carry_row"][:] = len(points) - 1
    assert decider.decide([points[80].tolist()] * 2, []).carry["carry_row"] == pytest.approx([80], abs=2)


def lost_once() -> tuple[Decider, float]:
    """A tracker that has just lost its robot, and the pause that follows."""
    decider = Decider(tracker(), 0)
    decider.carry["carry_row"][:] = 50
    state = tracker().points[50].tolist()
    state[1] += 60.0
    decision = decider.decide([state] * 2, [])
    assert decision.plan[0, 0] * state[1] < 0  # slowed down
    return decider, SWING.planner.trajectory.pause


def test_who_is_lost_rests_before_beginning_again() -> None:
    decider, pause = lost_once()
    assert decider.carry["carry_rest"] == pytest.approx([pause]) and decider.carry["carry_misses"] == [1]
    decider.decide([[0.2, 3.0, 0.0]] * 2, [], elapsed=pause)  # still moving
    assert decider.carry["carry_rest"] == pytest.approx([pause])
    decider.decide([[0.0, 0.0, 0.0]] * 2, [], elapsed=0.6 * pause)
    assert decider.carry["carry_rest"] == pytest.approx([0.4 * pause]) and decider.carry["carry_row"] == [0]
    decider.decide([[0.0, 0.0, 0.0]] * 2, [], elapsed=0.6 * pause)
    assert decider.carry["carry_rest"] == [0] and decider.carry["carry_row"] == [0]
    decider.decide([[0.0, 0.0, 0.0]] * 2, [], elapsed=pendulum()[0].control.period)
    assert decider.carry["carry_row"] == [1]


def test_each_further_miss_is_followed_by_a_longer_rest() -> None:
    decider, pause = lost_once()
    for misses, factor in ((1, 2), (2, 4), (4, 16), (20, 16)):
        decider.carry |= {"carry_row": np.float32([50]), "carry_rest": np.float32([0]), "carry_misses": np.float32([misses])}
        decider.decide([[2.0, 60.0, 0.0]] * 2, [])
        assert decider.carry["carry_rest"] == pytest.approx([factor * pause])
    decider.carry |= {"carry_row": np.float32([len(tracker().points) - 1]), "carry_rest": np.float32([0])}
    decider.decide([[math.pi, 0.0, 0.0]] * 2, [])
    assert decider.carry["carry_misses"] == [0]  # who stands has missed nothing


def test_lost_robot_is_led_back_and_swings_up_after_all() -> None:
    spec, _ = pendulum()
    plant = Plant(spec, engine="mujoco_urdf", task="swingup", randomize=False)
    decider, command = Decider(tracker(), 0), np.zeros(1)
    reading = plant.reset(0, initial=([1.0], [30.0]))
    rested = False
    for step in range(round(8.0 / spec.control.period)):
        row = [*reading.position, *reading.velocity, *command]
        decision = decider.decide([row] * 2, [], elapsed=spec.control.period if step else 0.0)
        command = decision.plan[0].astype(float)
        rested |= bool(decision.carry["carry_rest"] > 0)
        reading = plant.step(command) or reading
    plant.close()
    assert rested
    assert np.cos(plant.true_state()[0]) < -0.99 and decision.carry["carry_misses"] == [0]


def test_rehearsal_tells_a_feedback_that_holds_from_one_that_does_not() -> None:
    spec, model = pendulum()
    settings, problem = SWING.planner.trajectory, problem_of(spec, TaskFunction(spec, "swingup"), model.features.state_std)
    motion = Motion(model, None, torch.zeros(2), problem.middle, torch.tensor([0]), spec.control.period)
    course = plan_course(model, spec, SWING, problem)
    assert course.share > 0.7 and course.lost >= 10.0
    loose = dataclasses.replace(course, gains=0.0 * course.gains)
    assert rehearse(motion, problem, loose, settings.tracking, 0).share < 0.5


def test_late_sensors_do_not_bend_the_trajectory() -> None:
    """Velocities that are logged late are no less than those that the robot has."""
    spec, model = pendulum()
    late = copy.deepcopy(model)
    with torch.no_grad():
        late.get_parameter("lateness").fill_(0.6)
    start, middle = torch.zeros(2), torch.zeros(1)
    swings = [Motion(one, None, start, middle, torch.tensor([0]), spec.control.period, knot=20) for one in (model, late)]
    pushed = torch.tensor([[0.5, 1.0, 0.0]], dtype=torch.float64), torch.tensor([[0.4]], dtype=torch.float64)
    exact, seen = (swing.along(*pushed).numpy() for swing in swings)
    assert np.abs(exact[0, -1] - exact[0, 0]).max() > 0.3
    assert seen == pytest.approx(exact, abs=1e-6)


def test_unfit_models_and_targets_are_refused(tmp_path: Path) -> None:
    spec, model = pendulum()
    remembering = slider.robot(tmp_path / "long", history=3)
    with pytest.raises(InputError, match=r"reads 3 rows .* set model.history to 1"):
        make_for_bundle(slider.exact_model(remembering), remembering, slider.recipe(kind="trajectory"))
    wrong = SWING.planner.trajectory.model_copy(update={"target": {"knee": 0.0}})
    recipe = SWING.model_copy(update={"planner": SWING.planner.model_copy(update={"trajectory": wrong})})
    with pytest.raises(InputError, match=r"no joint 'knee'; joints: shoulder"):
        make_for_bundle(model, spec, recipe)
    with pytest.raises(InputError, match="draws no samples"):
        make_exportable(model, spec, SWING)


def test_robot_that_sticks_is_held_where_it_came_to_rest() -> None:
    """Three coordinates: a position, its velocity, a command."""
    tracking = Tracking(position=0.1, stuck=0.3)
    moves, rests = torch.tensor([0.05, 1.0, 0.4]), torch.tensor([0.04, 0.1, 0.4])
    assert stands(moves, moves[1:2], torch.zeros(3), tracking).tolist() == [0, 0, 0]
    stand = stands(rests, rests[1:2], torch.zeros(3), tracking)
    assert stand.numpy() == pytest.approx([0.04, 0.0, 0.4])
    pulled = torch.tensor([0.06, 0.0, 0.0])
    for _ in range(50):
        stand = stands(pulled, pulled[1:2], stand, tracking)
    assert stand.numpy() == pytest.approx([0.04, 0.0, 0.0], abs=0.01)  # the place stays, the command that holds it is found
    assert stands(moves, moves[1:2], stand, tracking).numpy() == pytest.approx(stand.numpy())
    away = torch.tensor([0.3, 0.0, 0.1])
    assert stands(away, away[1:2], stand, tracking).numpy() == pytest.approx([0.3, 0.0, 0.1])
