"""The world model of kind rigid_body: its physics is that of the URDF, it learns what it should, bundles predict as it does."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from forerun.bench.physics import Parameters, Physics, derivative
from forerun_models.bundle import load
from forerun_models.dynamics.drives import OtherDrives
from forerun_models.dynamics.physical import Physical, late
from forerun_models.dynamics.rigid import RigidBody, polynomial, solve
from forerun_models.export import Provenance, export_bundle
from forerun_models.planners.stepwise import StepwiseRollout
from forerun_models.recipe import LeastSquares, ModelSettings, Phase, Planner, Recipe, RigidBodySettings, Training
from forerun_models.training.least_squares import fit_physics
from forerun_models.training.run import load_run, train
from forerun_models.training.start import build, initialise
from forerun_models.training.trainer import Source, Trainer
from forerun_models.training.windows import Windows
from forerun_sim.engines.mass_matrix import MassMatrix
from forerun_sim.errors import InputError
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial
from forerun_sim.urdf import robot_urdf

ROBOT = "double_pendulum"
SMALL = ModelSettings(
    kind="rigid_body", members=2, elites=2, hidden=4, history=4, rigid_body=RigidBodySettings(recurrent=4, context=1)
)


@cache
def trials(count: int = 4, delay: float = 0.0) -> tuple[Trial, ...]:
    """Runs of the published double pendulum under random torques, which act ``delay`` [s] late."""
    random = np.random.default_rng(0)
    actions = random.normal(size=(count, 60, 2)).astype(np.float32)
    first = random.normal(scale=(1.0, 1.0, 2.0, 2.0), size=(count, 1, 4)).astype(np.float32)
    physics = Physics(delay=delay)
    states = np.concatenate([first, physics(first, np.zeros((count, 0, 2), np.float32), actions)[:, :-1]], axis=1)
    return tuple(Trial(s, a, 0.01, ROBOT) for s, a in zip(states, actions, strict=True))


def model(settings: ModelSettings = SMALL) -> Physical:
    """Initialised by the data, with a network that says something."""
    found = build(load_robot(ROBOT), settings)
    assert isinstance(found, Physical)
    initialise(found, Windows(trials(), found.features.history, 2), 0)
    generator = torch.Generator().manual_seed(1)
    for parameter in found.parameters():
        parameter.data += 0.05 * torch.randn(parameter.shape, generator=generator)
    return found.eval()


@pytest.mark.parametrize("name", ["double_pendulum", "cartpole", "pendulum"])
@torch.no_grad()
def test_the_mass_matrix_is_that_of_the_urdf(name: str) -> None:
    robot = load_robot(name)
    joints = len(robot.joints)
    known = MassMatrix(robot_urdf(robot), robot.joint_names)
    known.load({}, {}, {}, [0.0] * joints)
    body = RigidBody(polynomial(robot), 1, [0.0] * joints)
    for q in np.random.default_rng(0).normal(size=(5, joints)):
        position = torch.tensor(q, dtype=torch.float32).reshape(1, 1, joints)
        rows, _ = body(body.coefficients(), position, torch.zeros(1, 1, joints))
        for column in range(joints):
            unit = torch.eye(joints)[column].reshape(1, 1, joints)
            np.testing.assert_allclose(solve(rows, unit)[0, 0], known.inverse(list(q))[:, column], rtol=2e-4, atol=1e-4)


@torch.no_grad()
def test_accelerations_are_those_of_the_published_equations() -> None:
    parameters = replace(Parameters(), viscous=(0.0, 0.0), coulomb=(0.0, 0.0), rotor=0.0)
    random = np.random.default_rng(0)
    state, torque = random.normal(scale=3.0, size=(20, 4)), random.normal(size=(20, 2))
    body = RigidBody(polynomial(load_robot(ROBOT)), 1, [0.0, 0.0])
    q, dq = torch.tensor(state, dtype=torch.float32)[None].tensor_split(2, dim=-1)
    rows, bias = body(body.coefficients(), q, dq)
    found = solve(rows, torch.tensor(torque, dtype=torch.float32) - bias)
    np.testing.assert_allclose(found[0], derivative(parameters, state, torque)[:, 2:], rtol=2e-3, atol=2e-2)


def test_a_command_acts_when_its_delay_has_passed() -> None:
    assert late(0.0, 2, 3).tolist() == [[1, 0, 0], [1, 0, 0]]
    assert late(0.6, 2, 3).tolist() == [[0, 1, 0], [1, 0, 0]]
    assert late(1.5, 4, 3).tolist() == [[0, 0, 1], [0, 0, 1], [0, 1, 0], [0, 1, 0]]


def test_the_delay_of_a_robot_is_learned_from_its_trials() -> None:
    settings = SMALL.model_copy(update={"members": 1, "elites": 1, "history": 3})
    windows = Windows(trials(4, delay=0.01), 3, 1)
    found = build(load_robot(ROBOT), settings)
    assert isinstance(found, Physical)
    initialise(found, windows, 0)
    found.drive.data = late(0.0, 2, 3)[..., None].repeat(1, 1, 1, 2)
    # Nothing but the drive may explain the delay.
    for parameter in found.parameters():
        parameter.requires_grad_(parameter is found.drive)
    phases = (Phase(epochs=1, horizon=1),)
    training = Training(batch=32, steps_per_epoch=30, phases=phases, learning_rate=0.05, validation_horizon=1)
    Trainer(found, [Source(windows)], windows, training, 0).epoch()
    assert found.drive.detach().mean(dim=(0, 1)).argmax(dim=0).tolist() == [1, 1], "one control step late, both joints"


def test_masses_and_delay_are_found_by_least_squares() -> None:
    windows = Windows(trials(4, delay=0.01), SMALL.history, 20)
    found = build(load_robot(ROBOT), SMALL.model_copy(update={"members": 1, "elites": 1}))
    assert isinstance(found, Physical)
    initialise(found, windows, 0)
    with torch.no_grad():
        found.network.weights[-1].zero_(), found.reading.weights[-1].zero_()
        found.body.bodies[..., 0] += torch.tensor([0.1, -0.1])  # half the logarithm of a mass
    states, actions = (array[None] for array in windows.cut(torch.arange(0, len(windows), 4)))
    truth, given = states.unbind(2), actions.unbind(2)

    @torch.no_grad()
    def error() -> float:
        last = found.rollout(truth[: SMALL.history], given[: SMALL.history - 1], given[SMALL.history - 1 :])[-1]
        return float(((last - truth[-1]) / found.features.state_std).square().mean().sqrt())

    before = error()
    fit_physics(found, windows, LeastSquares(iterations=6, windows=40, horizon=20), torch.Generator().manual_seed(0))
    assert before > 0.1 and error() < 0.5 * before
    assert found.drive.mean(dim=1).argmax(dim=1).tolist() == [[1, 1]], "one control step late, both joints"


@torch.no_grad()
def test_a_model_that_follows_its_own_predictions_believes_what_it_believed() -> None:
    ours = model()
    states, actions = Windows(trials(), 12, 1).cut(torch.arange(8))
    states, actions = states.expand(2, -1, -1, -1).unbind(2), actions.expand(2, -1, -1, -1).unbind(2)
    predicted = ours.rollout(states[:4], actions[:3], actions[3:11])
    memory = ours.begin([*states[:1], *states[1:4], *predicted], actions[:11])
    again = ours.advance(memory, actions[11])[0]
    expected = ours.rollout(states[:4], actions[:3], actions[3:12])[-1]
    free = ours.advance(ours.begin(predicted[-4:], actions[8:11]), actions[11])[0]
    assert (again - expected).abs().max() <= 0.2 * (free - expected).abs().max() + 0.05


def test_bundles_predict_and_plan_as_the_model_does(tmp_path: Path) -> None:
    ours, robot = model(), load_robot(ROBOT)
    recipe = Recipe(robot=ROBOT, model=SMALL, planner=Planner(horizon=2, samples=16, iterations=1, elites=2))
    export_bundle(tmp_path / "bundle", ours, robot, recipe, trials()[:1], Provenance({}, 0))
    bundle = load(tmp_path / "bundle")
    states, actions = Windows(trials(), 4, 10).cut(torch.arange(6))
    predicted = bundle.rollout(states[:, :4].numpy(), actions[:, :3].numpy(), actions[:, 3:].numpy())
    with torch.no_grad():
        wide = [part.expand(2, -1, -1, -1).unbind(2) for part in (states[:, :4], actions[:, :3], actions[:, 3:])]
        expected = torch.stack(ours.rollout(*wide))[:, ours.elites].mean(dim=1).transpose(0, 1)
    np.testing.assert_allclose(predicted, expected, rtol=1e-4, atol=1e-4)
    history = torch.cat([states[0, :4], actions[0, :4]], dim=1)
    noise = np.zeros(bundle.manifest.noise_size, np.float32)
    decision = bundle.act(history.numpy(), np.zeros(len(bundle.manifest.goal_names)), noise, 0.0, 0.0, bundle.start())
    assert np.isfinite(decision.plan).all() and np.isfinite(decision.disagreement)


@torch.no_grad()
def test_planners_follow_particles_as_the_model_predicts_them() -> None:
    ours = model()
    states, actions = Windows(trials(), 4, 5).cut(torch.tensor(3))
    future = torch.randn(5, 2, 6, generator=torch.Generator().manual_seed(0))
    rolled = StepwiseRollout(ours)(list(states[:4]), list(actions[:3]), future)
    wide = [[row.expand(2, 6, -1) for row in rows] for rows in (states[:4], actions[:3])]
    expected = ours.rollout(*wide, [row.T.expand(2, 6, 2) for row in future])
    np.testing.assert_allclose(rolled.transpose(2, 3), torch.stack(expected), atol=1e-5)


def test_a_killed_training_goes_on_bit_by_bit(tmp_path: Path) -> None:
    phases = [{"epochs": 2, "horizon": 2}, {"epochs": 2, "horizon": 3}]
    training = {"batch": 8, "steps_per_epoch": 2, "phases": phases, "validation_horizon": 3, "averaging": 0.5, "mirror": True}
    recipe = Recipe.model_validate({"robot": ROBOT, "model": SMALL.model_dump(), "training": training})
    robot = load_robot(ROBOT)
    whole = train(trials(), robot, recipe, 0, tmp_path / "whole")

    class Killed(Exception):
        pass

    def kill(epoch: object, of: int) -> None:
        if (tmp_path / "broken" / "checkpoint.pt").exists() and getattr(epoch, "number", 0) == 1:
            raise Killed

    with pytest.raises(Killed):
        train(trials(), robot, recipe, 0, tmp_path / "broken", on_epoch=kill)
    train(trials(), robot, recipe, 0, tmp_path / "broken", resume=True)
    again = load_run(tmp_path / "broken").model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in whole.model.state_dict().items())


def test_the_last_weights_stay_where_the_held_out_trials_are_no_judge() -> None:
    windows, found = Windows(trials(), 4, 2), model()
    phases = (Phase(epochs=1, horizon=2),)
    training = Training(batch=8, steps_per_epoch=1, phases=phases, validation_horizon=2, choose="last", patience=1)
    trainer = Trainer(found, [Source(windows)], windows, training, 0)
    trainer.progress.best.zero_()
    trainer.epoch()
    trained = found.drive.detach().clone()
    trainer.restore_best()
    assert torch.equal(found.drive, trained)


def test_robots_without_such_physics_are_refused() -> None:
    with pytest.raises(InputError, match="up to six joints"):
        build(load_robot("panda"), SMALL)
    pendulum = load_robot("pendulum")
    turned = tuple(joint.model_copy(update={"interface": "velocity"}) for joint in pendulum.joints)
    with pytest.raises(InputError, match="takes other commands"):
        build(pendulum.model_copy(update={"joints": turned}), SMALL)
    with pytest.raises(InputError, match="fixed base"):
        build(load_robot("husky"), SMALL)


def test_a_robot_with_other_drives_moves_the_same_under_the_commands_made_for_it() -> None:
    random, steady = np.random.default_rng(0), torch.ones(50, 40, 2)
    actions = torch.from_numpy(random.normal(size=(50, 40, 2)).astype(np.float32))

    def commands(variety: float, dry: float, velocities: torch.Tensor, given: torch.Tensor) -> torch.Tensor:
        drives = OtherDrives(variety, torch.tensor([dry, 0.0]))
        return drives(velocities, torch.ones(2), given, torch.Generator().manual_seed(0))

    strength = commands(0.2, 0.0, 0 * steady, actions) / actions
    torch.testing.assert_close(strength, strength[:, :1].expand_as(strength), rtol=1e-4, atol=1e-4)
    same = (strength[:, 0] - 1).abs().amax(dim=1) < 1e-6
    assert 0.3 < float(same.float().mean()) < 0.7 and float(torch.log(strength[~same, 0]).std()) > 0.05
    # What makes up for friction is odd in the velocity, on the joint that has friction, about what is off zero.
    forth, still, back = (commands(0.1, 0.5, factor * steady, 0 * actions) for factor in (1.0, 0.0, -1.0))
    torch.testing.assert_close(forth - still, still - back)
    assert float((forth - still)[..., 0].std()) > 0 and not forth[..., 1].any()


@torch.no_grad()
def test_forces_about_the_middle_of_a_step_follow_fast_motion_better() -> None:
    def followed(substeps: int, integrator: str) -> torch.Tensor:
        changed = SMALL.rigid_body.model_copy(update={"substeps": substeps, "integrator": integrator, "friction": 1e-6})
        found = build(
            load_robot("double_pendulum_ideal"), SMALL.model_copy(update={"rigid_body": changed, "members": 1, "elites": 1})
        )
        initialise(found, Windows(trials(), SMALL.history, 2), 0)
        still = torch.zeros(1, 20, 2)
        first = torch.randn(1, 20, 4, generator=torch.Generator().manual_seed(0)) * torch.tensor([1.0, 1.0, 6.0, 8.0])
        return found.rollout([first], [], [still] * 30)[-1][..., :2]

    exact = followed(40, "midpoint")
    euler, leapfrog, midpoint = (
        float((followed(2, integrator) - exact).square().mean().sqrt()) for integrator in ("euler", "leapfrog", "midpoint")
    )
    assert leapfrog < 0.6 * euler and midpoint < 0.6 * euler
