"""Gymnasium environments: what an agent sees and does, and that (seed, episode) decides it."""

from __future__ import annotations

import subprocess
import sys
import warnings
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from forerun_sim.env import ENVIRONMENTS, RobotEnv, RobotVectorEnv, env_id, env_settings, register_robots
from forerun_sim.env.scalar import ScalarTask
from forerun_sim.env.settings import EnvSettings
from forerun_sim.errors import InputError
from forerun_sim.spec import Randomization, RobotSpec, load_robot
from forerun_sim.tasks import TaskFunction

SHIPPED = tuple(name for name in ENVIRONMENTS if name != "forerun/robot-v0")
SWINGUP = "forerun/cartpole-swingup-v0"
Make = Callable[..., RobotEnv]
Bob = Callable[..., RobotSpec]


@pytest.fixture
def make() -> Iterator[Make]:
    """Makes the environment of a shipped robot, a path or a spec, and closes it."""
    made: list[RobotEnv] = []

    def build(name: Any, **kwargs: Any) -> RobotEnv:
        env = gymnasium.make(name, **kwargs).unwrapped if isinstance(name, str) else RobotEnv(name, **kwargs)
        assert isinstance(env, RobotEnv)
        made.append(env)
        return env

    yield build
    for env in made:
        env.close()


def swinging(**changes: Any) -> dict[str, Any]:
    """Keys of bob's robot.yaml with a task that ends after half a second."""
    task = {"duration": 0.5, "terms": [{"kind": "quadratic", "feature": "position:swing"}], **changes}
    return {"tasks": {"swing": task}}


def run(env: RobotEnv, steps: int = 25, **reset: Any) -> list[np.ndarray]:
    """Observations and rewards under actions that are always the same."""
    actions = np.random.default_rng(0).uniform(-1.0, 1.0, (steps, *env.action_space.shape))
    seen = [env.reset(**reset)[0]]
    for action in actions:
        observation, reward, terminated, truncated, _ = env.step(action)
        seen.append(np.append(observation, reward))
        if terminated or truncated:
            break
    return seen


def same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    return len(one) == len(other) and all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("name", SHIPPED)
def test_gymnasium_accepts_every_shipped_environment(make: Make, name: str) -> None:
    env = make(name)
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(env)
    told = [str(warning.message) for warning in caught]
    # Positions and velocities have no bounds that always hold, and the spaces say so.
    assert [text for text in told if "infinity" not in text] == []


@pytest.mark.parametrize("name", SHIPPED)
def test_stable_baselines_accepts_every_shipped_environment(make: Make, name: str) -> None:
    checker = pytest.importorskip("stable_baselines3.common.env_checker", reason="Stable-Baselines3 is not installed")
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        checker.check_env(make(name))


def test_an_environment_can_be_named_without_an_import() -> None:
    code = f"import gymnasium; print(gymnasium.make('forerun_sim.env:{SWINGUP}').reset(seed=1)[0].shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "(4,)" in done.stdout


def test_every_task_of_a_robot_with_a_body_is_registered() -> None:
    for name in ("cartpole", "pendulum", "double_pendulum"):
        assert {env_id(name, task) for task in load_robot(name).tasks} <= set(ENVIRONMENTS)
    assert env_id("double_pendulum", "acrobot") == "forerun/double-pendulum-acrobot-v0"


def test_a_broken_robot_on_the_path_is_named_and_hides_no_other(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "robots" / "wreck").mkdir(parents=True)
    (tmp_path / "robots" / "wreck" / "robot.yaml").write_text("format: 1\nname: wreck\njoint: []\n")
    monkeypatch.setenv("FORERUN_PATH", str(tmp_path))
    with pytest.warns(UserWarning, match=r"robot 'wreck': .*unknown key 'joint'"):
        assert SWINGUP in register_robots()


def test_a_users_own_robot_is_made_from_its_file(bob: Bob, make: Make) -> None:
    folder = bob(**swinging()).folder
    env = make("forerun/robot-v0", robot=str(folder / "robot.yaml"), task="swing", history=2)
    assert env.robot.name == "bob" and env.observation_space.shape == (6,)
    with pytest.raises(InputError, match="'bob' has no task 'fly'; it has: swing"):
        make("forerun/robot-v0", robot=folder, task="fly")


@pytest.mark.parametrize("name", SHIPPED)
def test_rewards_on_floats_are_those_of_the_task(name: str) -> None:
    kwargs = gymnasium.spec(name).kwargs
    spec = load_robot(kwargs["robot"])
    function, random = TaskFunction(spec, kwargs["task"]), np.random.default_rng(3)
    scalar = ScalarTask(spec, kwargs["task"])
    lower, upper = spec.action_limits(kwargs["task"])
    for _ in range(20):
        state = random.normal(0.0, 2.0, spec.state_size)
        action, previous = random.uniform(lower, upper), random.uniform(lower, upper)
        goal = random.normal(0.0, 1.0, function.goal_size)
        reward, done = scalar.judge(state.tolist(), action.tolist(), previous.tolist(), goal.tolist())
        assert reward == pytest.approx(function.reward(np, state, action, previous, goal), rel=1e-9, abs=1e-12)
        assert done == bool(function.done(np, state))


def test_a_users_reward_class_gets_arrays(bob: Bob, make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "class Heat:\n    def __init__(self, spec):\n        pass\n\n"
    source += "    def reward(self, xp, state, action, previous_action, goal):\n        return -xp.linalg.norm(action, axis=-1)\n"
    (tmp_path / "heat_of_bob.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    env = make(bob(**swinging(terms=[], python="heat_of_bob:Heat")))
    env.reset(seed=0)
    assert env.step([0.5])[1] == pytest.approx(-2.5)


@pytest.mark.parametrize("name", SHIPPED)
def test_a_seed_gives_the_same_episodes_whatever_ran_before(make: Make, name: str) -> None:
    env, other = make(name), make(name)
    first, second = run(env, seed=7), run(env)
    run(other, seed=1)
    assert same(run(other, seed=7), first) and same(run(other), second)
    assert same(run(other, options={"episode": 0}), first)
    assert not same(first, second)


def test_reset_tells_seed_episode_and_plant(make: Make) -> None:
    env = make(SWINGUP)
    told = [env.reset(seed=5)[1], env.reset()[1]]
    assert [(info["seed"], info["episode_number"]) for info in told] == [(5, 0), (5, 1)]
    assert told[0]["parameters"]["mass.pole"] != told[1]["parameters"]["mass.pole"]
    info = env.reset(options={"parameters": {"mass.pole": 0.2}, "initial": ([0.0, 1.0], [0.0, 0.0])})[1]
    assert info["parameters"]["mass.pole"] == 0.2 and np.allclose(env.state, [0.0, 1.0, 0.0, 0.0])
    nominal = make(SWINGUP, randomize=False)
    assert nominal.reset(seed=5)[1]["parameters"]["mass.pole"] == nominal.reset()[1]["parameters"]["mass.pole"]


def test_what_varies_can_be_exchanged_between_episodes(make: Make) -> None:
    env = make(SWINGUP)
    env.plant.randomization = Randomization()
    assert env.reset(seed=0)[1]["parameters"]["mass.pole"] == env.reset()[1]["parameters"]["mass.pole"]


def test_without_a_seed_runs_differ(make: Make) -> None:
    assert not same(run(make(SWINGUP)), run(make(SWINGUP)))


def test_episodes_are_cut_at_the_tasks_duration_and_tell_success(bob: Bob, make: Make) -> None:
    everywhere = {"success": [{"feature": "position:swing", "bounds": [-100.0, 100.0]}], "hold": 0.2}
    env = make(bob(**swinging(**everywhere)))
    env.reset(seed=0)
    ends = [env.step([0.0]) for _ in range(25)]
    assert [end[3] for end in ends] == [False] * 24 + [True] and not any(end[2] for end in ends)
    assert ends[-1][4] == {"unstable": False, "success": True, "is_success": True} and ends[0][4] == {}
    with pytest.raises(ResetNeeded):
        env.step([0.0])
    nowhere = {"success": [{"feature": "position:swing", "bounds": [50.0, 100.0]}], "hold": 0.2}
    other = make(bob(**swinging(**nowhere)), duration=0.04)
    other.reset(seed=0)
    assert other.step([0.0])[3] is False
    assert other.step([0.0])[4]["success"] is False


def test_a_task_ends_its_episode_by_the_true_state(make: Make) -> None:
    env = make("forerun/cartpole-balance-v0")
    env.reset(seed=0, options={"initial": ([0.0, np.pi], [0.0, 0.0])})
    for _ in range(200):
        *_, terminated, truncated, info = env.step([1.0])
        if terminated:
            break
    assert terminated and not truncated and info["success"] is False
    assert TaskFunction(env.robot, "balance").done(np, env.state)


def test_rewards_are_of_the_true_state(bob: Bob, make: Make) -> None:
    env = make(bob(sensors={"position_noise": 0.5}, **swinging()))
    env.reset(seed=0)
    observation, reward, *_ = env.step([0.3])
    assert reward == pytest.approx(-(env.state[0] ** 2))
    assert observation[0] != pytest.approx(env.state[0], abs=1e-3)


def test_exploding_physics_cuts_the_episode_and_is_counted(bob: Bob, make: Make) -> None:
    joints = [{"name": "swing", "type": "revolute", "interface": "position", "position": [-3.0, 3.0], "effort": 1e9}]
    robot = bob(type="revolute", joints=joints, actuators={"stiffness": 1e9, "damping": 1e6}, **swinging())
    env = make(robot)
    env.reset(seed=0)
    for _ in range(20):
        observation, reward, terminated, truncated, info = env.step([0.5])
        if truncated:
            break
    assert truncated and not terminated and reward == 0.0 and np.isfinite(observation).all()
    assert info["unstable"] and "the physics exploded in episode 0" in info["reason"]
    assert env.unstable_episodes == 1
    assert np.isfinite(env.reset()[0]).all()


def test_a_reading_that_drops_out_repeats_the_last(bob: Bob, make: Make) -> None:
    env = make(bob(sensors={"dropout": 0.5}, **swinging(duration=4.0)))
    seen = [env.reset(seed=0, options={"initial": ([1.0], [0.0])})[0]] + [env.step([0.0])[0] for _ in range(199)]
    repeated = np.mean([np.array_equal(one, other) for one, other in pairwise(seen)])
    assert 0.35 < repeated < 0.65


def test_actions_mean_the_same_in_both_units(make: Make) -> None:
    scaled, physical = make(SWINGUP), make(SWINGUP, actions="physical")
    assert physical.action_space.high == pytest.approx([10.0]) and scaled.action_space.high == pytest.approx([1.0])
    scaled.reset(seed=3)
    physical.reset(seed=3)
    for action in np.linspace(-1.0, 1.0, 30):
        assert np.array_equal(scaled.step([action])[0], physical.step([10.0 * action])[0])


def test_commands_keep_to_limits_and_slew(make: Make) -> None:
    env = make("forerun/pendulum-swingup-v0")
    joint = env.robot.actuated[0]
    assert joint.slew is not None
    env.reset(seed=0)
    before = env.command
    for action in (1.0, -1.0, -1.0, 5.0):
        env.step([action])
        assert np.abs(env.command - before).max() <= joint.slew * env.robot.control.period + 1e-9
        assert np.abs(env.command).max() <= joint.command_limits[1]
        before = env.command


def test_a_narrowed_task_leaves_the_robots_actions_as_many_as_they_are(make: Make) -> None:
    env = make("forerun/double-pendulum-acrobot-v0")
    env.reset(seed=0)
    env.step([1.0, 1.0])
    assert env.action_space.shape == (2,) and env.command[0] == 0.0 and env.command[1] > 0.0


def test_history_holds_readings_with_the_command_that_was_under_way(make: Make) -> None:
    plain, stacked = make(SWINGUP), make(SWINGUP, history=3)
    assert stacked.observation_names[:6] == (
        "position:slider@-2", "position:hinge@-2", "velocity:slider@-2", "velocity:hinge@-2", "command:slider@-2",
        "position:slider@-1",
    )  # fmt: skip
    rows = [np.append(plain.reset(seed=2)[0], 0.0)]
    seen = stacked.reset(seed=2)[0].reshape(3, 5)
    assert np.array_equal(seen, np.tile(rows[0], (3, 1)).astype(np.float32))
    for action in (0.2, -0.5, 0.3, 0.1):
        rows.append(np.append(plain.step([action])[0], action))
        seen = stacked.step([action])[0].reshape(3, 5)
    assert np.allclose(seen, rows[-3:], atol=1e-6)


def test_angles_as_sine_and_cosine(make: Make) -> None:
    plain, turned = make(SWINGUP), make(SWINGUP, angles="sincos")
    x, angle, *speeds = plain.reset(seed=2)[0]
    assert turned.reset(seed=2)[0] == pytest.approx([x, np.sin(angle), np.cos(angle), *speeds], abs=1e-6)
    assert turned.observation_names[:3] == ("position:slider", "sin:hinge", "cos:hinge")
    assert turned.observation_space.high[1] == 1.0


def test_the_goal_is_seen_and_can_be_set(bob: Bob, make: Make) -> None:
    goal = {"names": ["angle"], "default": [0.3]}
    robot = bob(**swinging(goal=goal, terms=[{"kind": "quadratic", "feature": "position:swing", "goal": 0}]))
    env = make(robot)
    assert env.observation_names[-1] == "goal:angle" and env.reset(seed=0)[0][-1] == np.float32(0.3)
    assert env.reset(options={"goal": [1.0]})[0][-1] == 1.0
    reward = env.step([0.0])[1]
    assert reward == pytest.approx(-((env.state[0] - 1.0) ** 2))
    assert make(robot, goal=[-0.5]).reset(seed=0)[0][-1] == -0.5
    with pytest.raises(InputError, match=r"goal \[1.0, 2.0\]: task 'swing' of robot 'bob' takes 1 finite numbers: \['angle'\]"):
        env.reset(options={"goal": [1.0, 2.0]})


@pytest.mark.parametrize("name", [SWINGUP, "forerun/panda-reach-v0", "forerun/husky-drive-v0"])
def test_pictures_show_the_robot_and_change_nothing(make: Make, name: str) -> None:
    blind, seen = make(name), make(name, render_mode="rgb_array")
    wanted = run(blind, steps=10, seed=1)
    assert blind.render() is None
    seen.reset(seed=1)
    before = seen.render()
    assert same(run(seen, steps=10, seed=1), wanted)
    after = seen.render()
    assert before is not None and after is not None and after.shape == (360, 480, 3) and after.dtype == np.uint8
    assert np.mean((after != after[0, 0]).any(axis=-1)) > 0.005 and not np.array_equal(before, after)


def test_pictures_of_a_robots_camera_can_be_the_observations(make: Make) -> None:
    sights, numbers = make("forerun/pendulum-swingup-v0", camera="front"), make("forerun/pendulum-swingup-v0")
    check_env(sights, skip_render_check=True)
    seen, _ = sights.reset(seed=3)
    numbers.reset(seed=3)
    assert seen.shape == (32, 32, 3) and seen.dtype == np.uint8 and sights.observation_space.contains(seen)
    for action in ([1.0], [1.0], [-1.0]):
        assert sights.step(action)[1] == numbers.step(action)[1]
    hanging, _ = sights.reset(options={"initial": ([0.0], [0.0])})
    upright, _ = sights.reset(options={"initial": ([np.pi], [0.0])})
    dark = [np.argwhere(picture.min(axis=2) < 100)[:, 0].mean() for picture in (hanging, upright)]
    assert dark[0] > 18 and dark[1] < 13  # rows from above: the arm hangs down, and stands


def test_a_camera_that_is_not_there_is_named() -> None:
    with pytest.raises(InputError, match="no camera 'rear'; it has: front"):
        RobotEnv("pendulum", camera="rear")
    with pytest.raises(InputError, match="need the engine bullet"):
        RobotEnv("pendulum", camera="front", engine="mujoco")


def test_only_bullet_draws_pictures(make: Make) -> None:
    env = make(SWINGUP, engine="mujoco", render_mode="rgb_array")
    env.reset(seed=0)
    with pytest.raises(InputError, match="make the environment with engine='bullet'"):
        env.render()
    with pytest.raises(InputError, match="render_mode 'human' is not available; allowed: None, rgb_array"):
        RobotEnv("cartpole", render_mode="human")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"actions": "volts"}, "actions 'volts' is unknown; allowed: normalised, physical"),
        ({"angles": "degrees"}, "angles 'degrees' is unknown; allowed: plain, sincos"),
        ({"history": 65}, "history 65: must be between 0 and 64"),
        ({"duration": 0.0}, "duration 0.0: must be a positive number"),
        ({"engine": "gazebo"}, "no engine named 'gazebo'"),
        ({"max_episode_steps": 0}, "max_episode_steps 0: must be at least 1"),
    ],
)
def test_wrong_settings_are_named(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        RobotEnv("cartpole", **wrong)


def test_wrong_actions_and_options_are_named(make: Make) -> None:
    env = make(SWINGUP)
    with pytest.raises(ResetNeeded):
        env.step([0.0])
    env.reset(seed=0)
    with pytest.raises(InputError, match=r"action of shape \(2,\): needs 1 numbers: \['slider'\]"):
        env.step([0.0, 0.0])
    with pytest.raises(InputError, match="needs 1 finite numbers"):
        env.step([np.nan])
    with pytest.raises(InputError, match=r"no options named \['goals'\]; there are: episode, goal, initial, parameters"):
        env.reset(options={"goals": []})


def test_a_robot_without_tasks_says_what_it_lacks(bob: Bob) -> None:
    with pytest.raises(InputError, match="'bob' has no tasks, and an environment needs one: add 'tasks'"):
        RobotEnv(bob())


def test_settings_survive_the_way_to_another_process(bob: Bob) -> None:
    for spec in (bob(**swinging()), *(load_robot(name) for name in ("cartpole", "double_pendulum", "pendulum"))):
        settings = env_settings(spec, history=2, angles="sincos")
        again = EnvSettings.from_json(settings.to_json())
        assert again == settings and again.robot.folder == spec.folder


def test_the_duration_can_be_changed_for_one_and_for_many(make: Make) -> None:
    longer = make(SWINGUP, duration=8.1)
    assert longer.robot.task("swingup").duration == 8.0
    assert env_settings("cartpole", duration=8.1).steps == 405 and env_settings("cartpole").steps == 400
    many = gymnasium.make_vec(SWINGUP, num_envs=1, workers=0, max_episode_steps=3)
    assert isinstance(many, RobotVectorEnv)
    many.reset(seed=0)
    assert [bool(many.step([[0.0]])[3][0]) for _ in range(3)] == [False, False, True]
    many.close()


def test_goals_vary_by_themselves_where_the_task_says_how(make: Make) -> None:
    env = make("forerun/so101-reach-v0")
    seen = []
    for seed in (4, 4, 5):
        observation, info = env.reset(seed=seed)
        seen.append(tuple(info["goal"]))
        assert observation[-3:] == pytest.approx(info["goal"]), "the observation ends in the goal"
    ranges = env.robot.task("reach").goal.random
    assert all(low <= value <= high for value, (low, high) in zip(seen[0], (one.uniform for one in ranges.values()), strict=True))
    assert seen[0] == seen[1] != seen[2], "(seed, episode) decides the goal"
    assert tuple(env.reset()[1]["goal"]) != seen[2], "the next episode has another"
    assert tuple(env.reset(options={"goal": [0.2, 0.0, 0.1]})[1]["goal"]) == (0.2, 0.0, 0.1)
    assert tuple(make("forerun/so101-reach-v0", goal=[0.2, 0.1, 0.1]).reset(seed=4)[1]["goal"]) == (0.2, 0.1, 0.1)
    vector = RobotVectorEnv(2, env.robot, workers=1)
    try:
        infos = vector.reset(seed=4)[1]
        assert tuple(infos["goal"][0]) == seen[0] and tuple(infos["goal"][1]) == seen[2]
    finally:
        vector.close()


def test_a_range_for_a_number_that_the_goal_lacks_is_named(bob: Bob) -> None:
    goal = {"names": ["angle"], "default": [0.0], "random": {"angel": {"uniform": [0.0, 1.0]}}}
    terms = [{"kind": "quadratic", "feature": "position:swing", "goal": 0}]
    with pytest.raises(InputError, match=r"goal.random: the goal has no number 'angel'; it has: \['angle'\]"):
        bob(tasks={"hold": {"duration": 1.0, "goal": goal, "terms": terms}})
