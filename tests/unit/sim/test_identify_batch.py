"""Robots simulated many at once, without an engine: they move as in the engines, under the same drives and sensors."""

from __future__ import annotations

import numpy as np
import pytest

from forerun_sim.collect import collect
from forerun_sim.identify.batch import Batch, suits
from forerun_sim.identify.segments import Segments, cut, yardstick
from forerun_sim.identify.simulate import Simulation
from forerun_sim.identify.vectors import Pose, cross, shifted, turned, vector
from forerun_sim.kinematics import rotation
from forerun_sim.spec import RobotSpec, load_robot

# Frictions, losses, gears, rotors, shifted masses, lags: whatever a robot of joints can have.
CHANGES = {
    "pendulum": {"coulomb.shoulder": 0.05, "gear_loss.shoulder": 0.1, "stiction.shoulder": 0.03, "delay": 0.0137},
    "cartpole": {"coulomb.slider": 0.3, "com.pole.x": 0.05, "payload": 0.02, "gravity_tilt.y": 0.1},
    "double_pendulum": {"armature.elbow": 0.004, "com.upper.x": 0.02, "lag.elbow": 0.008, "position_bias.elbow": 0.1},
    "so101": {"backlash.Elbow": 0.02, "mass.upper_arm": 0.2},
}


def pieces(spec: RobotSpec, steps: int) -> tuple[Segments, np.ndarray]:
    runs = collect(spec, episodes=1, seed=3, steps=60, randomize=False)
    trials = [run.trial(spec) for run in runs]
    return cut(trials, steps, 4), yardstick(trials)


@pytest.mark.parametrize("name", CHANGES)
def test_many_at_once_move_as_in_the_engines(name: str) -> None:
    spec, steps = load_robot(name), 15
    segments, scale = pieces(spec, steps)
    batch = Batch(spec)
    for engine, most in (("mujoco_urdf", 2e-3), ("bullet", 2e-2)):
        simulation = Simulation(spec, engine)
        known = {key: value for key, value in CHANGES[name].items() if key in simulation.nominal.flat()}
        assert len(known) >= len(CHANGES[name]) - 1
        both = [simulation.nominal, simulation.nominal.changed(known)]
        of = np.repeat([0, 1], len(segments))
        before, given, actions = (np.tile(part, (2, 1, 1)) for part in (segments.before, segments.given, segments.actions))
        found = batch.predict(both, of, before, given, actions)
        assert found.shape == (2 * len(segments), steps, len(scale))
        for kind in ("observe", "measured"):
            starts = getattr(batch, kind)(both, of, before, given)
            alone = [getattr(simulation, kind)(both[place], *rows) for place, *rows in zip(of, before, given, strict=True)]
            assert np.median(np.abs(starts - alone) / scale) < most, kind
        for row, place in enumerate(of):
            alone = simulation.predict(both[place], before[row], given[row], actions[row])
            assert np.sqrt((((found[row] - alone) / scale) ** 2).mean()) < most, (engine, row)
        simulation.close()
    # The changes matter.
    assert np.abs((found[: len(segments)] - found[len(segments) :]) / scale).max() > 0.02


def test_robots_that_touch_things_or_move_about_are_the_engines_own() -> None:
    assert suits(load_robot("double_pendulum")) and suits(load_robot("panda"))
    for name in ("husky", "a1", "panda_push"):  # wheels, feet, a table
        assert not suits(load_robot(name))


def test_turned_and_shifted_tensors_are_those_of_matrices() -> None:
    rng = np.random.default_rng(0)
    turn, angle, arm, mass = rotation((0.3, -0.8, 1.1)), 0.7, rng.standard_normal(3), 2.0
    about = turn @ rotation((0.0, 0.0, angle))
    root = rng.standard_normal((3, 3))
    inertia, moment = root @ root.T, rng.standard_normal(3)
    pose = Pose(turn, vector(arm[:, None]), np.cos([angle]), np.sin([angle]))

    def parts(matrix: np.ndarray) -> np.ndarray:
        return matrix[[0, 1, 2, 0, 0, 1], [0, 1, 2, 1, 2, 2]]

    found = np.array(turned(pose, vector(parts(inertia)[:, None])))[:, 0]
    np.testing.assert_allclose(found, parts(about @ inertia @ about.T))
    # The tensor of a body of this first moment about a point from which it is at ``arm``.
    gained = np.array(shifted(vector(arm[:, None]), vector(moment[:, None]), np.array([mass])))[:, 0]
    both = 2 * arm @ moment + mass * arm @ arm
    np.testing.assert_allclose(
        gained, parts(both * np.eye(3) - np.outer(arm, moment) - np.outer(moment, arm) - mass * np.outer(arm, arm))
    )
    np.testing.assert_allclose(np.array(cross(vector(arm[:, None]), vector(moment[:, None])))[:, 0], np.cross(arm, moment))
    np.testing.assert_allclose(np.array(pose.out(pose.into(vector(moment[:, None]))))[:, 0], moment)


def test_drives_that_hold_an_arms_weight_do_so_at_once_too() -> None:
    spec = load_robot("panda_velocity")
    segments, scale = pieces(spec, 5)
    simulation = Simulation(spec, "mujoco_urdf")
    heavier = simulation.nominal.changed({"mass.panda_hand": 1.5 * simulation.nominal.mass["panda_hand"]})
    at = np.zeros(len(segments), int)
    found = Batch(spec).predict([heavier], at, segments.before, segments.given, segments.actions)
    for row in range(2):
        alone = simulation.predict(heavier, segments.before[row], segments.given[row], segments.actions[row])
        assert np.sqrt((((found[row] - alone) / scale) ** 2).mean()) < 5e-3
    simulation.close()
