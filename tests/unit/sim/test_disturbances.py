"""Pushes and periods that vary: as often and as strong as stated, and from (seed, episode) alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from forerun_sim.disturbances import Push, Pushes
from forerun_sim.errors import InputError
from forerun_sim.kinematics import Vector
from forerun_sim.plant import Plant
from forerun_sim.randomization import stream
from forerun_sim.spec import RobotSpec, load_robot

Robot = Callable[..., RobotSpec]
INERTIA = 0.02 + 0.5**2
OFTEN = {"push_force": 6.0, "push_torque": 2.0, "push_interval": 0.3, "push_duration": 0.05}


def pushed(plant: Plant, episode: int, command: float = 0.0, steps: int = 200) -> tuple[Push, ...]:
    plant.reset(episode)
    for _ in range(steps):
        plant.step([command])
    return plant.pushes


def test_a_push_moves_the_robot_as_newton_says(bob: Robot) -> None:
    push = {"push_force": 6.0, "push_torque": 2.0, "push_interval": 0.05, "push_duration": 0.01}
    plant = Plant(bob(disturbances=push), randomize=False)
    for episode in range(5):
        plant.reset(episode, initial=([0.0], [0.0]), parameters={"gravity": 0.0})
        while not plant.pushes:
            assert plant.true_state()[1] == 0.0
            plant.advance([0.0], 1)
        plant.advance([0.0], 9)
        (force_x, _, _), (_, torque_y, _) = plant.pushes[0].force, plant.pushes[0].torque
        # The arm hangs 0.5 m below a joint about -y.
        assert plant.true_state()[1] == pytest.approx((0.5 * force_x - torque_y) * 0.01 / INERTIA, rel=0.01)


def test_pushes_follow_from_seed_and_episode_and_not_from_the_robot(bob: Robot) -> None:
    spec = bob(disturbances=OFTEN)
    wanted = pushed(Plant(spec, seed=3), 5)
    assert len(wanted) > 5
    other = Plant(spec, seed=3)
    pushed(other, 2)
    assert pushed(other, 5, command=2.0) == wanted
    assert pushed(other, 6) != wanted and pushed(Plant(spec, seed=4), 5) != wanted
    other.reset(5)
    for _ in range(4000):
        other.advance([0.0], 1)
    assert other.pushes == wanted


def test_pushes_come_as_often_and_as_strong_as_stated(bob: Robot) -> None:
    nominal = Plant(bob(disturbances=OFTEN), randomize=False).nominal
    pushes = Pushes(["arm", "hand"], 0.001)
    pushes.reset(nominal, lambda: stream(0, 0, "pushes"))
    steps: list[int] = []
    for step in range(400_000):
        if step >= pushes.begin:
            pushes.apply(step, lambda link, force, torque: steps.append(1))
    happened = pushes.happened
    assert len(steps) == pytest.approx(50 * len(happened), abs=50)  # each lasts 50 physics steps
    begins = np.array([push.time for push in happened])
    assert np.diff(begins).min() >= 0.05 - 1e-9  # one after the other
    assert np.diff(begins).mean() == pytest.approx(0.3, rel=0.1)
    forces, torques = (np.array([getattr(push, kind) for push in happened]) for kind in ("force", "torque"))
    assert np.linalg.norm(forces, axis=1) == pytest.approx(6.0) and np.linalg.norm(torques, axis=1) == pytest.approx(2.0)
    assert np.abs(forces.mean(axis=0)).max() < 0.5 and np.var(forces, axis=0) == pytest.approx(12.0, rel=0.15)
    assert np.mean([push.link == "arm" for push in happened]) == pytest.approx(0.5, abs=0.06)


def test_push_quantities_are_randomized_and_told(bob: Robot) -> None:
    plant = Plant(bob(disturbances=OFTEN, randomization={"push_force": {"uniform": [1.0, 3.0]}}), seed=1)
    sizes = []
    for episode in range(4):
        happened = pushed(plant, episode, steps=60)
        sizes.append(plant.parameters["push_force"])
        for push in happened:
            assert np.linalg.norm(push.force) == pytest.approx(sizes[-1])
    assert len(set(sizes)) == 4 and all(1.0 <= size <= 3.0 for size in sizes)


def test_nobody_is_pushed_where_nothing_says_so(bob: Robot) -> None:
    plant = Plant(bob(disturbances=OFTEN | {"push_interval": 0.0}))
    assert pushed(plant, 0) == ()


def test_links_to_push_must_be_there(bob: Robot) -> None:
    spec = bob(disturbances=OFTEN | {"push_links": ["arm"]})
    assert {push.link for push in pushed(Plant(spec), 0)} == {"arm"}
    with pytest.raises(InputError, match="push_links: no link 'hand' that moves; there are: arm"):
        Plant(bob(disturbances=OFTEN | {"push_links": ["hand"]}))


def test_periods_vary_as_stated_and_stamps_tell_the_true_time(bob: Robot) -> None:
    plant = Plant(bob(disturbances={"period_jitter": 0.003}), randomize=False)

    def times(episode: int) -> np.ndarray:
        readings = [plant.reset(episode, initial=([0.0], [1.0]), parameters={"gravity": 0.0})]
        readings += [reading for _ in range(600) if (reading := plant.step([0.0])) is not None]
        assert [row.position[0] for row in readings] == pytest.approx([row.time for row in readings], rel=1e-6)
        return np.array([row.time for row in readings])

    first = times(0)
    periods = np.diff(first)
    assert periods.mean() == pytest.approx(0.02, rel=0.05) and periods.std() == pytest.approx(0.003, rel=0.15)
    assert not np.array_equal(times(1), first) and np.array_equal(times(0), first)


@pytest.mark.parametrize("delay", [0.0, 0.007, 0.0135, 0.034])
def test_late_readings_are_right_where_periods_vary(bob: Robot, delay: float) -> None:
    plant = Plant(bob(disturbances={"period_jitter": 0.004}, sensors={"delay": delay}), randomize=False)
    truth = Plant(bob(), randomize=False)
    truth.reset(0, initial=([2.0], [0.0]))
    states = [truth.true_state()]
    for _ in range(1500):
        truth.advance([1.0], 1)
        states.append(truth.true_state())
    plant.reset(0, initial=([2.0], [0.0]))
    for _ in range(50):
        reading = plant.step([1.0])
        assert reading is not None
        then = max(reading.time - delay, 0.0) / 0.001
        expected = np.array([np.interp(then, np.arange(1501), column) for column in np.array(states).T])
        assert [reading.position[0], reading.velocity[0]] == pytest.approx(expected, abs=1e-9)


def test_a_period_is_never_shorter_than_a_physics_step(bob: Robot) -> None:
    plant = Plant(bob(disturbances={"period_jitter": 0.1}), randomize=False)
    stamps = [plant.reset(0).time] + [reading.time for _ in range(100) if (reading := plant.step([0.0])) is not None]
    assert np.diff(stamps).min() == pytest.approx(0.001)


def test_directions_do_not_depend_on_sizes(bob: Robot) -> None:
    small, large = (pushed(Plant(bob(disturbances=OFTEN | {"push_force": size})), 0) for size in (1.0, 2.0))

    def along(push: Push) -> Vector:
        x, y, z = (value / np.linalg.norm(push.force) for value in push.force)
        return x, y, z

    for one, other in zip(small, large, strict=True):
        assert along(one) == pytest.approx(along(other)) and one.time == other.time


CRATE = """<robot name="crate">
  <link name="hull">
    <inertial><origin xyz="0 0 0.02"/><mass value="2"/><inertia ixx="0.02" iyy="0.03" izz="0.04"/></inertial>
    <collision><geometry><box size="0.4 0.3 0.2"/></geometry></collision>
  </link>
  <link name="arm">
    <inertial><origin xyz="0.1 0 0.1"/><mass value="0.5"/><inertia ixx="0.002" iyy="0.002" izz="0.001"/></inertial>
    <collision><origin xyz="0.3 0 -0.1"/><geometry><sphere radius="0.05"/></geometry></collision>
  </link>
  <joint name="lift" type="revolute"><parent link="hull"/><child link="arm"/><axis xyz="0 1 0"/>
    <limit lower="-2" upper="2" effort="9" velocity="20"/></joint>
</robot>"""
SEEN_BY_CAMERAS = ("light_strength",)
COORDINATES = [f"base_{part}" for part in ("x", "y", "z", "roll", "pitch", "yaw")]


@pytest.fixture
def crate(tmp_path: Path) -> RobotSpec:
    """A crate with an arm, thrown upon the ground, with something of everything that a plant can have."""
    (tmp_path / "crate.urdf").write_text(CRATE)
    joints = [{"name": name, "type": "prismatic" if name[-2] == "_" else "continuous"} for name in COORDINATES]
    lift = {"name": "lift", "type": "revolute", "interface": "position", "position": [-2.0, 2.0], "effort": 6.0}
    robot = {
        "format": 1,
        "name": "crate",
        "urdf": "crate.urdf",
        "base": "floating",
        "ground": {},
        "joints": [*joints, lift],
        "control": {"rate": 50, "physics_rate": 1000},
        "sensors": {"imu": {"gyro_noise": 0.01, "accelerometer_noise": 0.1}, "position_noise": 0.001, "velocity_noise": 0.01},
        "actuators": {
            "stiffness": 20.0,
            "damping": 1.0,
            "lag": 0.004,
            "no_load_speed": 9.0,
            "armature": 0.002,
            "backlash": 0.01,
            "coulomb": {"lift": 0.2},
        },
        "disturbances": {"push_force": 3.0, "push_torque": 0.2, "push_interval": 0.2, "push_duration": 0.05},
    }
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot))
    return load_robot(tmp_path)


def test_nothing_that_can_be_randomized_is_without_effect(crate: RobotSpec) -> None:
    plant = Plant(crate, randomize=False)
    place = [0.0, 0.0, 0.3, 0.3, -0.2, 0.1, 0.4]
    values = {key: value for key, value in plant.nominal.flat().items() if key not in SEEN_BY_CAMERAS}
    around = {key: 0.6 for key in values if key.startswith("restitution")}
    around |= {key: 0.1 for key in values if key.startswith("stiction.")}

    def run(**changed: float) -> list[float]:
        first = plant.reset(0, initial=(place, [1.0, 0.2, 0.0, 0.5, 0.0, 1.0, 0.0]), parameters=around | changed)
        rows = [first, *(plant.step([0.4 + 0.8 * (step % 2)]) for step in range(50))]
        seen: list[float] = []
        for row in rows:
            assert row is None or row.imu is not None
            imu = [] if row is None or row.imu is None else [*row.imu.angular_velocity, *row.imu.specific_force]
            seen += [-1.0] if row is None else [row.time, *row.position, *row.velocity, *row.effort, *imu]
        return seen

    nominal = run()
    assert run() == nominal
    assert len({key.partition(".")[0] for key in values}) >= 36
    rates = {"dropout": 0.3, "period_jitter": 0.003, "link_friction": 0.1}
    dead = [
        key
        for key, value in values.items()
        if run(**{key: rates.get(key.partition(".")[0], 1.3 * around.get(key, value) or 0.03)}) == nominal
    ]
    assert not dead
