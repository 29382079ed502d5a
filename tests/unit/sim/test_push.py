"""The panda pushes a box over its table: what the hand does moves the box, and the reward sees it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pytest

from forerun_sim.kinematics import Kinematics
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot
from forerun_sim.tasks import TaskFunction
from forerun_sim.urdf import robot_urdf

BOX = slice(7, 10)


@pytest.fixture(scope="module")
def plant() -> Iterator[Plant]:
    plant = Plant(load_robot("panda_push"), randomize=False, seed=1)
    yield plant
    plant.close()


def run(plant: Plant, command: Sequence[float], steps: int, episode: int = 0, **parameters: float) -> np.ndarray:
    """True states [T, S] of an episode under constant joint velocities."""
    plant.reset(episode, parameters={key.replace("__", "."): value for key, value in parameters.items()})
    rows = [plant.true_state()]
    for _ in range(steps):
        plant.step(command)
        rows.append(plant.true_state())
    return np.array(rows)


def test_turning_the_arm_pushes_the_box_along(plant: Plant) -> None:
    states = run(plant, [0.35, 0, 0, 0, 0, 0, 0], 100)
    hand = Kinematics(robot_urdf(plant.spec).frames(plant.spec.joint_names)).point(np, states[:, :10], "panda_grasptarget")
    moved = states[-1, BOX] - states[0, BOX]
    assert moved[1] > 0.15
    assert np.all(states[:, 8] - hand[:, 1] > 0.03), "the fingers stay on their side of it"
    touched = int(np.argmax(np.abs(states[:, 8] - states[0, 8]) > 0.002))
    assert np.ptp(states[: touched - 1, 7:10], axis=0).max() < 0.002, "it moves only when it is touched"
    task = TaskFunction(plant.spec, "push")
    rewards = task.reward(np, states, np.zeros((101, 7)), np.zeros((101, 7)), task.default_goal)
    assert rewards.max() > rewards[0] + 0.4


def test_an_arm_that_stands_still_or_is_lifted_leaves_the_box_alone(plant: Plant) -> None:
    for command in ([0.0] * 7, [0.0, -0.4, 0, 0, 0, 0, 0]):
        states = run(plant, command, 60)
        assert np.abs(states[-1, BOX] - states[0, BOX]).max() < 0.002


def test_a_goal_that_the_box_reaches_is_a_success(plant: Plant) -> None:
    states = run(plant, [0.35, 0, 0, 0, 0, 0, 0], 60)
    for _ in range(40):
        plant.step([0.0] * 7)
        states = np.vstack([states, plant.true_state()])
    task = TaskFunction(plant.spec, "push")
    there = np.array([*states[-1, 7:9], 0.03])
    assert task.success(states, plant.spec.control.period, there)
    assert not task.success(states, plant.spec.control.period, np.array([0.0, 0.0, 0.03]))
