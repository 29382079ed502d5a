"""An inertial measurement unit reports turning and specific force as the base feels them."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from forerun_sim.kinematics import rotation
from forerun_sim.plant import Imu, Plant
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.spec.scene import coordinates

Robot = Callable[..., RobotSpec]
NAMES = coordinates("base", "floating")
BALL = """<robot name="ball">
  <link name="shell"><inertial><mass value="2"/><inertia ixx="0.03" iyy="0.03" izz="0.03"/></inertial></link>
  <link name="weight"><inertial><mass value="0.001"/><inertia ixx="1e-6" iyy="1e-6" izz="1e-6"/></inertial></link>
  <joint name="turn" type="continuous"><parent link="shell"/><child link="weight"/><axis xyz="0 0 1"/></joint>
</robot>
"""


@pytest.fixture
def ball(tmp_path: Path) -> Robot:
    """A ball of 2 kg in free space, with equal inertia about all axes: what it turns with, it keeps."""

    def build(**changes: object) -> RobotSpec:
        (tmp_path / "ball.urdf").write_text(BALL)
        joints = [{"name": name, "type": "prismatic" if name[-1] in "xyz" else "continuous"} for name in NAMES]
        robot: dict[str, object] = {
            "format": 1,
            "name": "ball",
            "urdf": "ball.urdf",
            "base": "floating",
            "joints": [*joints, {"name": "turn", "type": "continuous"}],
            "control": {"rate": 50, "physics_rate": 1000},
            "sensors": {"imu": {}},
        }
        (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot | changes))
        return load_robot(tmp_path)

    return build


def reported(plant: Plant, steps: int) -> list[Imu]:
    units = []
    for _ in range(steps):
        reading = plant.step([])
        assert reading is not None and reading.imu is not None
        units.append(reading.imu)
    return units


def test_it_feels_the_ground_before_and_nothing_in_free_fall(ball: Robot) -> None:
    plant = Plant(ball(), randomize=False)
    first = plant.reset(0)
    assert first.imu is not None and first.imu.specific_force == pytest.approx([0.0, 0.0, 9.81])
    for unit in reported(plant, 20):
        assert unit.specific_force == pytest.approx([0.0, 0.0, 0.0], abs=1e-6)
        assert unit.angular_velocity == pytest.approx([0.0, 0.0, 0.0], abs=1e-9)


def test_it_turns_in_the_bases_own_frame(ball: Robot) -> None:
    roll, pitch, yaw = 0.4, -0.5, 1.2
    turning = np.array([0.5, -0.3, 0.8])  # rad/s about the base's axes
    sr, cr, tp, cp = math.sin(roll), math.cos(roll), math.tan(pitch), math.cos(pitch)
    rates = np.array([[1, sr * tp, cr * tp], [0, cr, -sr], [0, sr / cp, cr / cp]]) @ turning
    plant = Plant(ball(), randomize=False)
    initial = ([0, 0, 0, roll, pitch, yaw, 0.0], [0, 0, 0, *rates, 0.0])
    plant.reset(0, initial=initial, parameters={"gravity": 0.0})
    for unit in reported(plant, 25):
        assert unit.angular_velocity == pytest.approx(turning, abs=2e-3)


def test_it_feels_a_push_along_the_bases_axes(ball: Robot) -> None:
    # Pushed all the time from the second physics step on.
    spec = ball(disturbances={"push_force": 8.0, "push_interval": 1e-6, "push_duration": 100.0, "push_links": ["shell"]})
    plant = Plant(spec, randomize=False)
    angles = (0.3, 0.6, -0.9)
    plant.reset(1, initial=([0, 0, 0, *angles, 0.0], [0.0] * 7))
    plant.step([])
    expected = rotation(angles).T @ np.array(plant.pushes[0].force) / 2.001
    for unit in reported(plant, 5):
        assert unit.specific_force == pytest.approx(expected, abs=0.05)


def test_a_unit_that_is_bolted_down_tells_where_gravity_points(bob: Robot) -> None:
    plant = Plant(bob(sensors={"imu": {}}), randomize=False)
    plant.reset(0, initial=([1.0], [0.0]), parameters={"gravity_tilt.x": 0.2})
    for _ in range(3):
        reading = plant.step([0.0])
        assert reading is not None and reading.imu is not None
        expected = [0.0, -9.81 * math.sin(0.2), 9.81 * math.cos(0.2)]
        assert reading.imu.specific_force == pytest.approx(expected)


def test_its_noise_and_bias_have_the_stated_size(ball: Robot) -> None:
    imu = {"gyro_noise": 0.01, "gyro_bias": {"x": 0.02}, "accelerometer_noise": 0.2, "accelerometer_bias": 0.5}
    plant = Plant(ball(sensors={"imu": imu}), randomize=False)
    plant.reset(0, parameters={"gravity": 0.0})
    units = reported(plant, 800)
    turning, force = (np.array([getattr(unit, kind) for unit in units]) for kind in ("angular_velocity", "specific_force"))
    assert turning.mean(axis=0) == pytest.approx([0.02, 0.0, 0.0], abs=0.002)
    assert turning.std(axis=0) == pytest.approx(0.01, rel=0.1)
    assert force.mean(axis=0) == pytest.approx(0.5, abs=0.03) and force.std(axis=0) == pytest.approx(0.2, rel=0.1)


def test_its_bias_is_drawn_per_episode_and_told(ball: Robot) -> None:
    varied = {"gyro_bias": {"normal": [0.0, 0.01]}, "accelerometer_bias": {"z": {"uniform": [0.1, 0.2]}}}
    plant = Plant(ball(randomization=varied), seed=2)
    drawn = []
    for episode in range(3):
        reading = plant.reset(episode, initial=([0.0] * 7, [0.0] * 7))
        drawn.append([plant.parameters[f"gyro_bias.{axis}"] for axis in "xyz"])
        assert reading.imu is not None and reading.imu.angular_velocity == pytest.approx(drawn[-1])
        assert 9.91 <= reading.imu.specific_force[2] <= 10.01
    assert len({bias for row in drawn for bias in row}) == 9


def test_a_robot_without_a_unit_reports_none(bob: Robot) -> None:
    assert Plant(bob()).reset(0).imu is None
