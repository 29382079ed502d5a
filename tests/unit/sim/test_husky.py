"""The husky drives on its wheels: friction moves it, skid steering turns it, and its pose is part of its state."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from forerun_sim.collect import collect
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tasks import TaskFunction

RADIUS, TRACK = 0.17775, 0.5708


@pytest.fixture(scope="module")
def husky() -> RobotSpec:
    return load_robot("husky")


@pytest.fixture(scope="module")
def plant(husky: RobotSpec) -> Iterator[Plant]:
    plant = Plant(husky, randomize=False)
    yield plant
    plant.close()


def drive(plant: Plant, command: Sequence[float], seconds: float, heading: float = 0.0, **parameters: float) -> np.ndarray:
    """True states [T, S] from the origin, turned by ``heading``, under a constant command."""
    size = len(plant.spec.joints)
    position = np.zeros(size)
    position[plant.spec.joint_names.index("base_yaw")] = heading
    named = {key.replace("__", "."): value for key, value in parameters.items()}
    plant.reset(0, initial=(position, np.zeros(size)), parameters=named)
    rows = []
    for _ in range(round(seconds * plant.spec.control.rate)):
        plant.step(command)
        rows.append(plant.true_state())
    return np.array(rows)


@pytest.mark.parametrize("heading", [0.0, 2.5])
def test_equal_wheels_drive_straight_ahead_at_the_wheels_speed(plant: Plant, heading: float) -> None:
    states = drive(plant, [3.0] * 4, 4.0, heading)
    x, y, yaw = states[-1][:3]
    along = x * math.cos(heading) + y * math.sin(heading)
    across = y * math.cos(heading) - x * math.sin(heading)
    assert yaw == pytest.approx(heading, abs=0.05)
    assert abs(across) < 0.1
    wheels = states[-1][3:7].mean()
    assert along == pytest.approx(RADIUS * wheels, rel=0.06), "rolling with little slip"
    assert 0.8 * RADIUS * 3.0 * 4.0 < along < RADIUS * 3.0 * 4.0


def test_opposite_sides_turn_it_more_slowly_than_without_skidding(plant: Plant) -> None:
    left, right = drive(plant, [-3.0, 3.0, -3.0, 3.0], 4.0), drive(plant, [3.0, -3.0, 3.0, -3.0], 4.0)
    ideal = 2 * 3.0 * RADIUS / TRACK
    rate = (left[-1][2] - left[39][2]) / 2.0
    assert 0.2 * ideal < rate < 0.8 * ideal, "its wheels scrub sideways"
    assert right[-1][2] == pytest.approx(-left[-1][2], rel=0.1)
    assert np.hypot(*left[-1][:2]) < 1.0, "nearly on the spot"


def test_on_ice_the_wheels_spin_and_it_stays(plant: Plant) -> None:
    wheels = ("front_left", "front_right", "rear_left", "rear_right")
    ice = {f"link_friction__{wheel}_wheel_link": 0.0 for wheel in wheels}
    states = drive(plant, [5.0] * 4, 2.0, **ice)
    assert abs(states[-1][0]) < 0.02
    assert states[-1][10:14].min() > 4.0


def test_zero_speed_brakes_it(plant: Plant) -> None:
    drive(plant, [5.0] * 4, 3.0)
    before = plant.true_state()[0]
    for _ in range(40):
        plant.step([0.0] * 4)
    after = plant.true_state()
    assert np.abs(after[7:]).max() < 0.02
    assert 0.0 < after[0] - before < 0.5


def test_the_goal_pose_is_an_input_of_the_task(husky: RobotSpec) -> None:
    task = TaskFunction(husky, "drive")
    state, stop = np.zeros(14), np.zeros(4)
    state[:3] = [2.0, 1.0, 0.0]
    here = task.reward(np, state, stop, stop, np.array([2.0, 1.0, 0.0]))
    turned = task.reward(np, state, stop, stop, np.array([2.0, 1.0, 1.0]))
    far = task.reward(np, state, stop, stop, np.array([-2.0, 1.0, 0.0]))
    assert here == pytest.approx(1.0)
    assert far < turned < here
    rows = np.tile(state, (40, 1))
    assert task.success(rows, husky.control.period)
    assert not task.success(rows, husky.control.period, np.array([0.0, 0.0, 0.0]))


def test_a_simple_driver_reaches_the_goal_pose(plant: Plant) -> None:
    """Turn towards the place, drive there, turn to the heading: a task that wheels and friction allow."""
    task, period = TaskFunction(plant.spec, "drive"), plant.spec.control.period
    goal = np.array([1.5, 0.8, 0.3])
    reading = plant.reset(3, parameters={"push_force": 0.0})
    states, arrived = [], False
    for _ in range(round(16.0 / period)):
        x, y, yaw = reading.position[:3]
        away = math.hypot(goal[0] - x, goal[1] - y)
        arrived = arrived or away < 0.1
        aim = goal[2] if arrived else math.atan2(goal[1] - y, goal[0] - x)
        error = math.remainder(aim - yaw, math.tau)
        turn = np.clip(6.0 * error, -3.5, 3.5) if abs(error) > 0.05 else 0.0
        ahead = 0.0 if arrived or abs(error) > 0.4 else min(3.0, 6.0 * away)
        reading = plant.step([ahead - turn, ahead + turn, ahead - turn, ahead + turn]) or reading
        states.append(plant.true_state())
    assert task.success(np.array(states), period, goal)
    assert not task.success(np.array(states), period, goal * 2.0)


def test_episodes_show_its_pose_and_its_wheels_everywhere(husky: RobotSpec) -> None:
    recordings = list(collect(husky, episodes=6, seed=3, steps=100))
    assert len(recordings) == 6
    starts = np.array([recording.position[0, :3] for recording in recordings])
    assert starts[:, :2].min() < -1.0
    assert starts[:, :2].max() > 1.0
    travelled = [np.hypot(*(recording.position[-1, :2] - recording.position[0, :2])) for recording in recordings]
    assert max(travelled) > 0.3
    trial = recordings[0].trial(husky)
    assert trial.states.shape == (100, 14)
    assert trial.actions.shape == (100, 4)
