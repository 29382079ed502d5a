"""The A1 stands on its own legs: position servos and contacts hold it, and strong pushes throw it over."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from forerun_sim.collect import collect
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tasks import TaskFunction

STANCE = [0.0, 0.9, -1.8] * 4
WEIGHT = 9.81 * 12.4


@pytest.fixture(scope="module")
def a1() -> RobotSpec:
    return load_robot("a1")


@pytest.fixture(scope="module")
def plant(a1: RobotSpec) -> Iterator[Plant]:
    plant = Plant(a1, randomize=False)
    yield plant
    plant.close()


def stand(plant: Plant, seconds: float, push: float = 0.0, episode: int = 0) -> np.ndarray:
    """True states [T, S] while the stance is commanded; after 1 s, ``push`` [N] sideways on the trunk for 0.2 s."""
    plant.reset(episode, parameters={"push_force": 0.0, "push_torque": 0.0})
    period, rows = plant.spec.control.substeps, []
    for step in range(round(seconds * plant.spec.control.rate)):
        if push and 50 <= step < 60:
            for _ in range(period):
                plant.engine.push("trunk", (0.0, push, 0.0), (0.0, 0.0, 0.0))
                plant.advance(STANCE, 1)
        else:
            plant.advance(STANCE, period)
        rows.append(plant.true_state())
    return np.array(rows)


def test_a_standing_command_stands_for_five_seconds(plant: Plant) -> None:
    task = TaskFunction(plant.spec, "stand")
    states = stand(plant, 5.0)
    assert not task.done(np, states).any()
    assert task.success(states, plant.spec.control.period)
    names = plant.spec.joint_names
    assert states[-1][names.index("base_z")] == pytest.approx(0.26, abs=0.01)
    assert np.abs(states[-1][len(names) : len(names) + 6]).max() < 0.02, "it stands still"


def test_strong_pushes_fell_it_and_weak_ones_do_not(plant: Plant) -> None:
    task = TaskFunction(plant.spec, "stand")
    assert not task.done(np, stand(plant, 3.0, push=30.0)).any()
    fallen = stand(plant, 3.0, push=250.0)
    assert task.done(np, fallen).any()
    assert not task.success(fallen, plant.spec.control.period)


def test_without_its_servos_it_collapses(a1: RobotSpec) -> None:
    plant = Plant(a1, randomize=False)
    plant.reset(0, parameters={f"strength.{name}": 0.0 for name in a1.action_names})
    for _ in range(50):
        plant.step(STANCE)
    assert plant.true_state()[a1.joint_names.index("base_z")] < 0.2


def test_the_legs_carry_the_trunk(plant: Plant) -> None:
    """Standing still, the knees' torques balance the weight: half of it on each side, at the lever of a bent leg."""
    stand(plant, 2.0)
    reading = plant.step(STANCE)
    assert reading is not None
    names = list(plant.spec.joint_names)
    knees = [reading.effort[names.index(f"{leg}_lower_joint")] for leg in ("FR", "FL", "RR", "RL")]
    lever = 0.2 * np.sin(0.9)
    assert sum(knees) == pytest.approx(WEIGHT * lever, rel=0.25)


def test_randomized_episodes_stay_with_the_physics(a1: RobotSpec) -> None:
    """Flailing about for 2 s under random commands, pushes and parameters explodes in no episode."""
    recordings = collect(a1, episodes=3, seed=4, steps=100)
    states = [np.concatenate([recording.position, recording.velocity], axis=1) for recording in recordings]
    assert len(states) == 3
    assert not recordings.discarded
    assert max(np.abs(rows[:, a1.joint_names.index("base_z")]).max() for rows in states) < 2.0
    assert all(np.isfinite(rows).all() for rows in states)


def test_the_same_seed_gives_the_same_episode_whatever_came_before(a1: RobotSpec) -> None:
    first, second = (list(collect(a1, episodes=1, first_episode=start, seed=7, steps=40)) for start in (2, 2))
    later = list(collect(a1, episodes=3, seed=7, steps=40))[2]
    assert np.array_equal(first[0].position, second[0].position)
    assert np.array_equal(first[0].position, later.position)
