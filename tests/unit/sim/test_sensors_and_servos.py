"""Readings are what such sensors give; servos do what position and velocity interfaces promise."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest

from forerun_sim.plant import Plant, Reading
from forerun_sim.spec import RobotSpec

Robot = Callable[..., RobotSpec]


def spun(plant: Plant, steps: int, speed: float = 1.0) -> list[Reading]:
    """Readings of a joint that turns at ``speed`` without gravity; those that drop out are missing."""
    plant.reset(0, initial=([0.0], [speed]), parameters={"gravity": 0.0})
    return [reading for _ in range(steps) if (reading := plant.step([0.0])) is not None]


def test_quantised_positions_are_whole_counts(bob: Robot) -> None:
    plant = Plant(bob(sensors={"position_quantum": 0.01, "velocity_quantum": 0.3}), randomize=False)
    for reading in spun(plant, 50, 1.234):
        assert reading.position[0] / 0.01 == pytest.approx(round(reading.position[0] / 0.01), abs=1e-9)
        assert reading.velocity[0] == pytest.approx(1.2)


def test_difference_velocity_is_the_difference_of_the_readings(bob: Robot) -> None:
    plant = Plant(bob(sensors={"velocity_source": "difference", "position_quantum": 0.001}), randomize=False)
    rows = spun(plant, 30, 1.2345)
    for older, newer in itertools.pairwise(rows):
        step = (newer.position[0] - older.position[0]) / (newer.time - older.time)
        assert newer.velocity[0] == pytest.approx(step)


def test_difference_velocity_at_the_sensors_own_rate_has_its_quantum(bob: Robot) -> None:
    sensors = {"velocity_source": "difference", "position_quantum": 0.00038, "rate": 500}
    plant = Plant(bob(sensors=sensors), randomize=False)
    speeds = np.array([reading.velocity[0] for reading in spun(plant, 200, 1.23)])
    counts = speeds / (0.00038 * 500)
    assert np.allclose(counts, np.round(counts), atol=1e-6)
    assert speeds.mean() == pytest.approx(1.23, abs=0.05) and speeds.std() > 0.02


def test_readings_drop_out_as_often_as_stated(bob: Robot) -> None:
    plant = Plant(bob(sensors={"dropout": 0.3}), randomize=False)
    assert len(spun(plant, 1000)) == pytest.approx(700, abs=50)


def test_position_servo_goes_where_it_is_told_and_begins_where_it_is(bob: Robot) -> None:
    joints = [{"name": "swing", "type": "revolute", "interface": "position", "position": [-3.0, 3.0], "effort": 50.0}]
    plant = Plant(bob(type="revolute", joints=joints, actuators={"stiffness": 200.0, "damping": 12.0}), randomize=False)
    plant.reset(0, initial=([0.5], [0.0]))
    assert plant.step([1.0]) is not None
    for _ in range(100):
        plant.step([1.0])
    sag = 9.81 * 0.5 * np.sin(plant.true_state()[0]) / 200.0
    assert plant.true_state()[0] == pytest.approx(1.0 - sag, abs=1e-3)


def test_position_servo_is_as_strong_as_its_effort_limit(bob: Robot) -> None:
    joints = [{"name": "swing", "type": "revolute", "interface": "position", "position": [-3.0, 3.0], "effort": 2.0}]
    plant = Plant(bob(type="revolute", joints=joints, actuators={"stiffness": 500.0, "damping": 20.0}), randomize=False)
    plant.reset(0)
    efforts = [plant.step([3.0]).effort[0] for _ in range(100)]
    assert max(np.abs(efforts)) <= 2.0
    assert plant.true_state()[0] < 1.0


def test_velocity_servo_holds_its_speed(bob: Robot) -> None:
    joints = [{"name": "swing", "type": "continuous", "interface": "velocity", "velocity": 5.0}]
    plant = Plant(bob(joints=joints, actuators={"damping": 50.0}), randomize=False)
    plant.reset(0)
    for _ in range(50):
        plant.step([2.0])
    assert plant.true_state()[1] == pytest.approx(2.0, abs=0.15)
