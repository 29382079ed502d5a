"""The simulated plant obeys physics, and (seed, episode) alone decides what it does."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from forerun_sim.errors import InputError, UnstablePhysics
from forerun_sim.plant import Plant, Reading
from forerun_sim.spec import RobotSpec, load_robot

Robot = Callable[..., RobotSpec]
INERTIA, MASS, ARM, GRAVITY = 0.02 + 1.0 * 0.5**2, 1.0, 0.5, 9.81


def run(plant: Plant, commands: np.ndarray, episode: int = 0) -> np.ndarray:
    """True states [T + 1, S] under ``commands`` [T, A]."""
    plant.reset(episode)
    states = [plant.true_state()]
    for command in commands:
        plant.step(command)
        states.append(plant.true_state())
    return np.array(states)


def readings(plant: Plant, commands: np.ndarray, episode: int = 0) -> list[Reading | None]:
    return [plant.reset(episode)] + [plant.step(command) for command in commands]


def exploring(spec: RobotSpec, steps: int, seed: int = 0) -> np.ndarray:
    lower, upper = spec.action_limits()
    return np.random.default_rng(seed).uniform(lower, upper, (steps, spec.action_size))


def test_free_pendulum_keeps_its_energy(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    plant.reset(initial=([2.5], [0.0]))
    energies = []
    for _ in range(250):
        plant.step([0.0])
        angle, speed = plant.true_state()
        energies.append(0.5 * INERTIA * speed**2 - MASS * GRAVITY * ARM * math.cos(angle))
    span = 2 * MASS * GRAVITY * ARM
    assert np.ptp(energies) < 0.02 * span


def test_small_swings_have_the_period_of_the_physical_pendulum(bob: Robot) -> None:
    plant = Plant(bob(control={"rate": 500, "physics_rate": 1000}), randomize=False)
    plant.reset(initial=([0.02], [0.0]))
    angles = []
    for _ in range(3000):
        plant.step([0.0])
        angles.append(plant.true_state()[0])
    signs = np.sign(angles)
    crossings = np.flatnonzero((signs[1:] > 0) & (signs[:-1] < 0))
    expected = 2 * math.pi * math.sqrt(INERTIA / (MASS * GRAVITY * ARM))
    assert np.diff(crossings).mean() / 500 == pytest.approx(expected, rel=0.005)


def test_effort_accelerates_as_inertia_says(bob: Robot) -> None:
    plant = Plant(bob(axis="0 0 1"), randomize=False)  # about the vertical, so that gravity does nothing
    plant.reset(initial=([0.0], [0.0]))
    plant.step([2.0])
    # About the vertical axis through the joint, a body below it turns with its own inertia alone.
    assert plant.true_state()[1] == pytest.approx(2.0 / 0.001 * 0.02, rel=1e-3)


def test_angles_of_continuous_joints_are_not_wrapped(bob: Robot) -> None:
    plant = Plant(bob(), randomize=False)
    plant.reset(initial=([0.0], [25.0]))
    angles = [plant.step([0.0]).position[0] for _ in range(100)]
    assert angles[-1] > 4 * math.pi and np.abs(np.diff(angles)).max() < 1.0


def test_rail_has_hard_stops() -> None:
    plant = Plant(load_robot("cartpole"), randomize=False)
    plant.reset(initial=([1.5, 0.0], [3.0, 0.0]))
    for _ in range(100):
        plant.step([10.0])
    assert plant.true_state()[0] == pytest.approx(2.2, abs=0.02)


@pytest.mark.parametrize("name", ["cartpole", "pendulum", "double_pendulum"])
def test_same_seed_and_episode_give_the_same_run_bit_for_bit(name: str) -> None:
    spec = load_robot(name)
    commands = exploring(spec, 150)
    first, second = Plant(spec, seed=5), Plant(spec, seed=5)
    wanted = readings(first, commands, 3)
    for episode in (0, 1):  # what ran before must not matter
        readings(second, exploring(spec, 200, episode), episode)
    got = readings(second, commands, 3)
    assert first.parameters == second.parameters
    for one, other in zip(wanted, got, strict=True):
        assert one is not None and other is not None
        assert one.time == other.time
        for key in ("position", "velocity", "effort"):
            assert np.array_equal(getattr(one, key), getattr(other, key))


def test_stops_of_an_earlier_episode_leave_no_trace() -> None:
    spec = load_robot("cartpole")
    commands = exploring(spec, 60)
    fresh, used = Plant(spec, seed=1), Plant(spec, seed=1)
    wanted = run(fresh, commands, 2)
    used.reset(0, initial=([2.0, 0.0], [6.0, 0.0]))
    for _ in range(20):
        used.step([10.0])
    assert np.array_equal(run(used, commands, 2), wanted)


def test_other_seed_or_episode_gives_another_plant() -> None:
    spec = load_robot("cartpole")
    parameters = []
    for seed, episode in ((0, 0), (0, 1), (1, 0)):
        plant = Plant(spec, seed=seed)
        plant.reset(episode)
        parameters.append(plant.parameters)
    assert all(parameters[i]["mass.pole"] != parameters[j]["mass.pole"] for i, j in ((0, 1), (0, 2), (1, 2)))


def test_reset_counts_episodes_from_zero() -> None:
    plant, direct = Plant(load_robot("pendulum"), seed=4), Plant(load_robot("pendulum"), seed=4)
    plant.reset()
    first = plant.parameters
    plant.reset()
    assert plant.episode == 1
    direct.reset(0)
    assert direct.parameters == first
    direct.reset(1)
    assert direct.parameters == plant.parameters


def test_parameters_of_a_log_rebuild_its_plant() -> None:
    spec = load_robot("cartpole")
    plant, rebuilt = Plant(spec, seed=2), Plant(spec, randomize=False)
    commands = exploring(spec, 50)
    wanted = run(plant, commands, 7)
    physical = {key: value for key, value in plant.parameters.items() if not key.startswith("initial_")}
    initial = ([plant.parameters[f"initial_position.{name}"] for name in spec.joint_names], wanted[0][2:])
    rebuilt.reset(0, parameters=physical, initial=initial)
    for command, state in zip(commands, wanted[1:], strict=True):
        rebuilt.step(command)
        assert np.array_equal(rebuilt.true_state(), state)
    with pytest.raises(InputError, match=r"no plant parameters named \['mass.pale'\]; there are: mass.cart"):
        rebuilt.reset(0, parameters={"mass.pale": 1.0})


def test_advancing_in_parts_is_advancing_at_once() -> None:
    spec = load_robot("cartpole")
    whole, parts = Plant(spec, seed=0), Plant(spec, seed=0)
    whole.reset(0)
    parts.reset(0)
    whole.advance([5.0], 10)
    for _ in range(10):
        parts.advance([5.0], 1)
    assert np.allclose(whole.true_state(), parts.true_state(), atol=1e-12)
    assert whole.time == parts.time == pytest.approx(0.02)


@pytest.mark.parametrize("command", [[math.nan], [math.inf], [1.0, 2.0], []])
def test_command_that_is_not_finite_or_of_another_size_is_refused(command: list[float]) -> None:
    plant = Plant(load_robot("cartpole"))
    with pytest.raises(InputError, match="needs 1 finite numbers"):
        plant.step(command)


def test_commands_are_cut_to_the_limits() -> None:
    spec = load_robot("cartpole")
    plant, other = Plant(spec), Plant(spec)
    assert np.array_equal(run(plant, np.full((20, 1), 10.0)), run(other, np.full((20, 1), 1e9)))


def test_exploding_physics_is_an_error_and_not_a_trajectory(bob: Robot) -> None:
    # A servo far too stiff for the physics step.
    joints = [{"name": "swing", "type": "revolute", "interface": "position", "position": [-3.0, 3.0]}]
    plant = Plant(bob(type="revolute", joints=joints, actuators={"stiffness": 1e9, "damping": 1e6}))
    plant.reset()
    with pytest.raises(UnstablePhysics, match="'bob': the physics exploded in episode 0"):
        for _ in range(200):
            plant.step([0.5])


def test_unknown_engine_and_task_are_named() -> None:
    spec = load_robot("cartpole")
    with pytest.raises(InputError, match="no engine named 'gazebo'; there are: bullet, mujoco"):
        Plant(spec, engine="gazebo")
    with pytest.raises(InputError, match="no task 'juggle'; it has: swingup, balance"):
        Plant(spec, task="juggle")


def test_robot_of_logs_alone_cannot_be_simulated() -> None:
    logged = load_robot("pendulum").model_copy(update={"urdf": None, "foreign": None})
    with pytest.raises(InputError, match="'pendulum' has no urdf"):
        Plant(logged)
    with pytest.raises(InputError, match="'pendulum' has no 'foreign' plant"):
        Plant(logged, engine="mujoco")
