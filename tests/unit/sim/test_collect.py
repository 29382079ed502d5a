"""Collected episodes cover the state space, respect the limits, and depend on (seed, episode) alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forerun.bags import load_trials, write_trials
from forerun_sim.collect import Recording, collect
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot

Robot = Callable[..., RobotSpec]
SHIPPED = ("cartpole", "pendulum", "double_pendulum")


def same(one: Recording, other: Recording) -> bool:
    arrays = ("time", "position", "velocity", "effort", "command_time", "command")
    return one.meta == other.meta and all(np.array_equal(getattr(one, key), getattr(other, key)) for key in arrays)


def test_recordings_do_not_depend_on_workers_or_on_what_ran_before() -> None:
    spec = load_robot("cartpole")
    alone = list(collect(spec, episodes=5, seed=1, steps=40))
    spread = list(collect(spec, episodes=5, seed=1, steps=40, workers=2))
    later = list(collect(spec, episodes=2, seed=1, steps=40, first_episode=3))
    assert all(same(one, other) for one, other in zip(alone, spread, strict=True))
    assert all(same(one, other) for one, other in zip(alone[3:], later, strict=True))
    assert not same(alone[0], alone[1])


@pytest.mark.parametrize("name", SHIPPED)
def test_commands_stay_within_limits_and_slew(name: str) -> None:
    spec = load_robot(name)
    lower, upper = spec.action_limits()
    change = np.array([joint.slew or np.inf for joint in spec.actuated]) * spec.control.period
    for recording in collect(spec, episodes=12, seed=2, steps=150):
        assert (recording.command >= lower).all() and (recording.command <= upper).all()
        assert (np.abs(np.diff(recording.command, axis=0)) <= change + 1e-9).all()


@pytest.mark.parametrize("name", SHIPPED)
def test_episodes_cover_the_state_space(name: str) -> None:
    spec = load_robot(name)
    recordings = list(collect(spec, episodes=40, seed=0, steps=100))
    angles = np.concatenate([recording.position[:, -1] for recording in recordings])
    counts, _ = np.histogram(np.mod(angles, 2 * np.pi), bins=8, range=(0, 2 * np.pi))
    assert counts.min() > 0.02 * counts.sum()
    commands = np.concatenate([recording.command for recording in recordings])
    assert (np.abs(commands).mean(axis=0) > 0.1 * spec.action_limits()[1]).all()


def test_cart_mostly_stays_off_its_stops() -> None:
    positions = np.concatenate([r.position[:, 0] for r in collect(load_robot("cartpole"), episodes=40, seed=4, steps=200)])
    assert np.mean(np.abs(positions) > 2.0) < 0.01
    assert np.abs(positions).max() > 1.0


def test_task_limits_and_task_starts_are_used() -> None:
    spec = load_robot("double_pendulum")
    for recording in collect(spec, task="acrobot", episodes=3, initial="task", steps=20):
        assert (recording.command[:, 0] == 0).all() and (recording.command[:, 1] != 0).any()
        assert (np.abs(recording.position[0]) < 0.3).all()


def test_recording_is_a_trial_on_the_control_grid() -> None:
    spec = load_robot("pendulum")
    recording = next(collect(spec, episodes=1, seed=0, steps=30))
    trial = recording.trial(spec)
    assert trial.states.shape == (30, 2) and trial.actions.shape == (30, 1) and trial.period == 0.02
    assert np.allclose(trial.states[:, 0], recording.position[:, 0]) and np.allclose(trial.actions, recording.command)
    assert np.allclose(recording.command_time, np.arange(30) * 0.02)
    assert json.loads(json.dumps(recording.meta))["parameters"]["mass.arm"] > 0


def test_lost_readings_are_missing_from_the_log_and_bridged_on_the_grid(bob: Robot) -> None:
    spec = bob(sensors={"dropout": 0.4})
    recording = next(collect(spec, episodes=1, seed=0, steps=60))
    assert 20 < len(recording.time) < 50 and len(recording.command) == 60
    assert np.isfinite(recording.trial(spec).states).all()


def test_unstable_episodes_are_left_out_and_listed(bob: Robot) -> None:
    joints = [{"name": "swing", "type": "revolute", "interface": "position", "position": [-3.0, 3.0]}]
    stiff = {"stiffness": {"swing": 1e9}, "damping": {"swing": 1e6}}
    collection = collect(bob(type="revolute", joints=joints, actuators=stiff), episodes=3, seed=0, steps=50)
    assert list(collection) == [] and collection.discarded == [0, 1, 2]


def test_wrong_arguments_are_refused() -> None:
    spec = load_robot("pendulum")
    with pytest.raises(InputError, match="no task 'juggle'"):
        collect(spec, episodes=1, task="juggle")
    with pytest.raises(InputError, match="initial 'anywhere' is unknown"):
        collect(spec, episodes=1, initial="anywhere")  # type: ignore[arg-type]


def test_all_that_was_drawn_and_every_push_is_logged_with_the_trial(bob: Robot, tmp_path: Path) -> None:
    disturbed = {"push_force": 3.0, "push_torque": 0.2, "push_interval": 0.3, "push_duration": 0.05}
    spec = bob(disturbances=disturbed)
    recording = next(collect(spec, episodes=1, seed=2, steps=100))
    write_trials(tmp_path / "bag", [recording], spec)
    (trial,) = load_trials([tmp_path / "bag"], spec)
    logged = trial.meta["parameters"]
    plant = Plant(spec, seed=2)
    assert set(plant.nominal.flat()) <= set(logged)
    assert logged["push_force"] == 3.0 and "initial_position.swing" in logged
    pushes = trial.meta["pushes"]
    assert len(pushes) >= 2 and all(push["link"] == "arm" and push["duration"] == 0.05 for push in pushes)
    assert all(np.linalg.norm(push["force"]) == pytest.approx(3.0) for push in pushes)
    plant.reset(0)
    for command in recording.command[:-1]:
        plant.step(command)
    assert [push.time for push in plant.pushes] == [push["time"] for push in pushes]


def test_where_control_periods_vary_a_recording_and_its_bag_give_the_same_trial(bob: Robot, tmp_path: Path) -> None:
    spec = bob(disturbances={"period_jitter": 0.004})
    recording = next(collect(spec, episodes=1, seed=0, steps=80))
    assert np.diff(recording.command_time).std() > 0.002
    write_trials(tmp_path / "bag", [recording], spec)
    (read,) = load_trials([tmp_path / "bag"], spec)
    made = recording.trial(spec)
    rows = min(len(read), len(made))
    assert rows > 70 and abs(len(read) - len(made)) <= 1
    assert np.allclose(made.states[:rows], read.states[:rows], atol=1e-5)
    assert np.allclose(made.actions[: rows - 1], read.actions[: rows - 1], atol=1e-5)
