"""Each randomized quantity changes trajectories as physics says, and nothing else does."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pybullet
import pytest

from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot

Robot = Callable[..., RobotSpec]
ARM, GRAVITY = 0.5, 9.81
INERTIA = 0.02 + ARM**2


def states(plant: Plant, steps: int, start: tuple[float, float], command: float = 0.0, **parameters: float) -> np.ndarray:
    """True states [steps + 1, 2] of bob from ``start`` (angle, speed) under a constant effort."""
    plant.reset(
        0, initial=([start[0]], [start[1]]), parameters={key.replace("__", "."): value for key, value in parameters.items()}
    )
    rows = [plant.true_state()]
    for _ in range(steps):
        plant.step([command])
        rows.append(plant.true_state())
    return np.array(rows)


def period(plant: Plant, **parameters: float) -> float:
    """Period [s] of small swings."""
    angles = states(plant, 400, (0.03, 0.0), **parameters)[:, 0]
    rises = np.flatnonzero((angles[1:] >= 0) & (angles[:-1] < 0))
    at = rises - angles[rises] / (angles[rises + 1] - angles[rises])
    return float(np.diff(at).mean()) / 50


def acceleration(plant: Plant, command: float = 1.0, **parameters: float) -> float:
    """Mean angular acceleration [rad/s^2] at rest, hanging, over one control period."""
    return float(states(plant, 1, (0.0, 0.0), command, **parameters)[1, 1]) / 0.02


def test_double_mass_scales_weight_and_inertia_alike(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    assert acceleration(plant, mass__arm=2.0) == pytest.approx(0.5 * acceleration(plant), rel=0.01)
    assert period(plant, mass__arm=2.0) == pytest.approx(period(plant), rel=1e-3)


def test_more_inertia_slows_the_swing(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    expected = math.sqrt((5 * 0.02 + ARM**2) / (0.02 + ARM**2))
    assert period(plant, inertia__arm=5.0) / period(plant) == pytest.approx(expected, rel=2e-3)


def test_payload_adds_mass_but_no_inertia_of_its_own(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    expected = math.sqrt((0.02 + 2 * ARM**2) / 2 / (0.02 + ARM**2))
    assert period(plant, payload=1.0) / period(plant) == pytest.approx(expected, rel=2e-3)


def test_gravity_sets_the_period(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    assert period(plant, gravity=GRAVITY / 4) / period(plant) == pytest.approx(2.0, rel=2e-3)


@pytest.mark.parametrize("kind", ["damping__swing", "viscous__swing"])
def test_viscous_friction_and_damping_take_speed_away_exponentially(bob: Robot, kind: str) -> None:
    plant = Plant(bob(damping=1e-9), randomize=False)
    speeds = states(plant, 50, (0.0, 4.0), gravity=0.0, **{kind: 0.3})[:, 1]
    assert speeds[-1] == pytest.approx(4.0 * math.exp(-0.3 / INERTIA * 1.0), rel=0.01)


def test_coulomb_friction_takes_speed_away_linearly_and_then_holds(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    speeds = states(plant, 60, (0.0, 1.0), gravity=0.0, coulomb__swing=0.5)[:, 1]
    assert speeds[10] == pytest.approx(1.0 - 0.5 / INERTIA * 0.2, rel=0.01)
    assert abs(speeds[-1]) < 1e-3
    stuck = states(plant, 50, (0.0, 0.0), command=0.4, gravity=0.0, coulomb__swing=0.5)[:, 1]
    assert np.abs(stuck).max() < 1e-9
    assert acceleration(plant, 0.9, gravity=0.0, coulomb__swing=0.5) == pytest.approx(0.4 / INERTIA, rel=1e-3)


def test_strength_is_a_factor_on_the_effort(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    assert acceleration(plant, strength__swing=0.7) == pytest.approx(0.7 * acceleration(plant), rel=1e-3)


def test_lag_lets_the_effort_rise_exponentially(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    plant.reset(0, parameters={"lag.swing": 0.05})
    efforts = [plant.step([2.0]).effort[0] for _ in range(5)]
    expected = [2.0 * (1.0 - math.exp(-0.02 * count / 0.05)) for count in range(1, 6)]
    assert efforts == pytest.approx(expected, rel=1e-6)


def test_delay_shifts_the_effort_in_real_time(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    plant.reset(0, parameters={"delay": 0.035})
    started = None
    for step in range(100):
        plant.advance([1.0], 1)
        if started is None and plant.true_state()[1] != 0:
            started = step
    assert started == 35  # physics steps of 1 ms: in the middle of a control period


def test_observation_delay_shows_an_older_state(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    plant.reset(0, initial=([0.0], [2.0]), parameters={"observation_delay": 0.0125, "gravity": 0.0})
    assert plant.step([0.0]).position[0] == pytest.approx(2.0 * (0.02 - 0.0125), rel=1e-6)


@pytest.mark.parametrize("kind", ["position", "velocity"])
def test_sensor_noise_has_the_sampled_size_and_leaves_the_physics_alone(bob: Robot, kind: str) -> None:
    plant = Plant(bob(), randomize=False)
    plant.reset(0, initial=([0.0], [0.0]), parameters={f"{kind}_noise": 0.05})
    values = [getattr(plant.step([0.0]), kind)[0] for _ in range(1000)]
    assert np.std(values) == pytest.approx(0.05, rel=0.1) and abs(np.mean(values)) < 0.01
    assert np.array_equal(plant.true_state(), [0.0, 0.0])


def test_initial_state_is_drawn_from_the_task(bob: Robot) -> None:
    task = {"initial_position": {"swing": {"uniform": [1.0, 1.5]}}, "initial_velocity": {"swing": {"normal": [0.0, 0.5]}}}
    plant = Plant(bob(tasks={"hang": task}), seed=3)
    starts = []
    for _ in range(40):
        plant.reset()
        starts.append(plant.true_state())
        assert plant.parameters["initial_position.swing"] == plant.true_state()[0]
    angles, speeds = np.array(starts).T
    assert angles.min() >= 1.0 and angles.max() <= 1.5 and np.ptp(angles) > 0.3
    assert 0.3 < speeds.std() < 0.8


SLED = """<robot name="sled">
  <link name="base"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1"/></inertial></link>
  <link name="lift"><inertial><mass value="0.001"/><inertia ixx="1e-4" iyy="1e-4" izz="1e-4"/></inertial></link>
  <link name="block">
    <inertial><mass value="1"/><inertia ixx="0.01" iyy="0.01" izz="0.01"/></inertial>
    <collision><geometry><box size="0.2 0.2 0.2"/></geometry></collision>
  </link>
  <joint name="up" type="prismatic"><parent link="base"/><child link="lift"/><axis xyz="0 0 1"/>
    <limit lower="-1" upper="1"/></joint>
  <joint name="along" type="prismatic"><parent link="lift"/><child link="block"/><axis xyz="1 0 0"/>
    <limit lower="-9" upper="9"/></joint>
</robot>"""


def test_link_friction_slows_what_slides(tmp_path: Path) -> None:
    """No shipped robot touches anything: here a block slides over a floor that the test puts into the engine's world."""
    (tmp_path / "sled.urdf").write_text(SLED)
    joints = [{"name": name, "type": "prismatic"} for name in ("up", "along")]
    robot = {"format": 1, "name": "sled", "urdf": "sled.urdf", "joints": joints, "control": {"rate": 50}}
    (tmp_path / "robot.yaml").write_text(json.dumps(robot))
    plant = Plant(load_robot(tmp_path))
    client = plant._engine._client
    floor = pybullet.createCollisionShape(pybullet.GEOM_PLANE, physicsClientId=client)
    body = pybullet.createMultiBody(0, floor, basePosition=(0, 0, -0.1), physicsClientId=client)
    pybullet.changeDynamics(body, -1, lateralFriction=1.0, physicsClientId=client)
    for friction in (0.0, 0.1, 0.3):
        plant.reset(0, initial=([0.0, 0.0], [0.0, 2.0]), parameters={"link_friction.block": friction})
        for _ in range(20):
            plant.step([])
        assert plant.true_state()[3] == pytest.approx(2.0 - friction * GRAVITY * 0.4, abs=0.03)


def test_one_distribution_is_drawn_for_each_name_by_itself() -> None:
    plant = Plant(load_robot("double_pendulum"), seed=1)
    plant.reset(0)
    factors = [plant.parameters[f"mass.{link}"] / plant.nominal.mass[link] for link in ("upper", "lower")]
    assert factors[0] != factors[1] and all(0.9 <= factor <= 1.1 for factor in factors)


def test_absolute_and_relative_ranges(bob: Robot) -> None:
    absolute = Plant(bob(mass=2.0, randomization={"mass": {"uniform": [0.5, 0.6]}}))
    absolute.reset(0)
    assert 0.5 <= absolute.parameters["mass.arm"] <= 0.6
    relative = Plant(bob(mass=2.0, randomization={"mass": {"arm": {"uniform": [0.5, 0.6], "relative": True}}}))
    relative.reset(0)
    assert 1.0 <= relative.parameters["mass.arm"] <= 1.2


def test_randomizing_one_thing_more_leaves_the_draws_of_the_others(bob: Robot) -> None:
    some = {"mass": {"uniform": [0.5, 2.0]}, "delay": {"uniform": [0.0, 0.05]}}
    before, after = (
        Plant(bob(randomization=some), seed=9),
        Plant(bob(randomization=some | {"gravity": {"uniform": [9, 10]}}), seed=9),
    )
    before.reset(4)
    after.reset(4)
    differing = {key for key, value in before.parameters.items() if value != after.parameters[key]}
    assert differing == {"gravity"}


@pytest.mark.parametrize("name", ["cartpole", "pendulum", "double_pendulum"])
def test_everything_that_a_shipped_robot_randomizes_changes_what_it_does(name: str) -> None:
    spec = load_robot(name)
    lower, upper = spec.action_limits()
    commands = np.random.default_rng(0).uniform(lower, upper, (40, spec.action_size))

    def seen(only: str | None) -> np.ndarray:
        changed = {} if only is None else {only: getattr(spec.randomization, only)}
        varied = spec.model_copy(update={"randomization": type(spec.randomization)(**changed)})
        plant = Plant(varied, seed=2)
        rows = [plant.reset(1)] + [plant.step(command) for command in commands]
        plant.close()
        return np.array([np.concatenate([row.position, row.velocity]) for row in rows if row is not None])

    nominal = seen(None)
    for key in spec.randomization.model_fields_set:
        assert np.abs(seen(key) - nominal).max() > 1e-6, key
