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


def test_an_encoders_bias_is_added_to_what_it_reads(bob: Robot) -> None:
    plant = Plant(bob(sensors={"position_bias": {"swing": -0.02}}), randomize=False)
    for reading in spun(plant, 5):
        assert reading.position[0] == pytest.approx(reading.time - 0.02, abs=1e-9)
        assert reading.velocity[0] == pytest.approx(1.0)


def test_an_encoders_drift_grows_with_the_root_of_time(bob: Robot) -> None:
    plant = Plant(bob(sensors={"position_drift": 0.03}), randomize=False)
    early, late = [], []
    for episode in range(150):
        first = plant.reset(episode, initial=([0.0], [0.0]))
        rows = [reading.position[0] for _ in range(50) if (reading := plant.step([0.0])) is not None]
        assert first.position[0] == 0.0
        early.append(rows[11])
        late.append(rows[49])
    assert np.std(late) == pytest.approx(0.03, rel=0.2) and np.std(early) == pytest.approx(0.03 * 0.24**0.5, rel=0.2)
    assert np.array_equal(plant.true_state(), [0.0, 0.0])


def test_losses_noise_and_drift_follow_from_seed_and_episode(bob: Robot) -> None:
    sensors = {"position_noise": 0.01, "position_drift": 0.02, "velocity_noise": 0.1, "dropout": 0.3}
    plant, other = Plant(bob(sensors=sensors), seed=1), Plant(bob(sensors=sensors), seed=1)

    def seen(of: Plant, episode: int) -> list[list[float] | None]:
        rows = [of.reset(episode)] + [of.step([0.0]) for _ in range(150)]
        return [None if row is None else [row.time, row.position[0], row.velocity[0]] for row in rows]

    wanted = seen(plant, 3)
    seen(other, 0)
    assert seen(other, 3) == wanted and seen(other, 4) != wanted
    # What is lost does not depend on how large the noise is, nor one kind of noise on another.
    silent = Plant(bob(sensors=sensors | {"position_noise": 0.0}), seed=1)
    for one, row in zip(wanted, seen(silent, 3), strict=True):
        assert (one is None) == (row is None) and (one is None or row is None or one[2] == row[2])


LATE = {"delay": 0.0127, "velocity_source": "difference", "rate": 400, "position_noise": 0.001}


@pytest.mark.parametrize("delay", [0.0, 0.0004, 0.0127, 0.05])
def test_readings_do_not_depend_on_how_the_plant_is_stepped(bob: Robot, delay: float) -> None:
    """A plant that steps asks for the state only where a reading looks; one that is advanced must guess where that is."""
    spec = bob(sensors=LATE | {"delay": delay})
    steps, parts = Plant(spec, seed=0), Plant(spec, seed=0)
    initial = ([2.0], [0.0])
    steps.reset(0, initial=initial)
    parts.reset(0, initial=initial)
    rng = np.random.default_rng(0)
    for command in rng.uniform(-5, 5, 60):
        wanted = steps.step([command])
        left = 20
        while left:
            count = min(int(rng.integers(1, 9)), left)
            parts.advance([command], count)
            left -= count
        got = parts.read()
        assert wanted is not None and got is not None and wanted.time == got.time
        for key in ("position", "velocity", "effort"):
            assert getattr(wanted, key) == pytest.approx(getattr(got, key), abs=1e-9)
        assert np.allclose(steps.true_state(), parts.true_state(), atol=1e-9)


def test_a_late_reading_is_the_truth_of_then_to_the_last_bit(bob: Robot) -> None:
    plant = Plant(bob(sensors={"delay": 0.007}), randomize=False)
    truth = Plant(bob(), randomize=False)
    plant.reset(0, initial=([2.0], [0.0]))
    truth.reset(0, initial=([2.0], [0.0]))
    states = [truth.true_state()]
    for _ in range(400):
        truth.advance([1.0], 1)
        states.append(truth.true_state())
    for step in range(1, 21):
        reading = plant.step([1.0])
        assert reading is not None
        assert reading.position[0] == states[20 * step - 7][0] and reading.velocity[0] == states[20 * step - 7][1]


def test_after_another_way_of_stepping_what_was_not_looked_at_is_interpolated(bob: Robot) -> None:
    plant, truth = (Plant(bob(sensors={"delay": delay}), randomize=False) for delay in (0.012, 0.0))
    for each in (plant, truth):
        each.reset(0, initial=([2.0], [0.0]))
        each.step([1.0])
    truth.advance([1.0], 1)
    plant.advance([1.0], 13)
    late, then = plant.read(), truth.read()
    assert late is not None and then is not None
    assert late.position == pytest.approx(then.position, abs=1e-4) and late.velocity == pytest.approx(then.velocity, abs=1e-2)
