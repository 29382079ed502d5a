"""Trials become the experience that an agent would have had in the environment, and agents begin with it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from forerun_models.agents.experience import settings_of_robot, steps_of
from forerun_models.agents.learn import learn, load_learned
from forerun_sim.env.environment import RobotEnv
from forerun_sim.errors import InputError
from forerun_sim.trial import Trial

ENV = "forerun/pendulum-swingup-v0"
OPTIONS = {"randomize": False, "duration": 1.0}


def played(seed=0, rows=20, **settings):
    """Observations, rewards and commands of an episode whose actions ``seed`` decides; the last command leads out of it."""
    env = RobotEnv("pendulum", "swingup", **OPTIONS, **settings)
    observation, _ = env.reset(seed=seed)
    draws = np.random.default_rng(seed)
    seen, rewards, commands = [observation], [], []
    for _ in range(rows):
        observation, reward, *_ = env.step(draws.uniform(-1, 1, 1))
        seen.append(observation)
        rewards.append(reward)
        commands.append(env.command)
    env.close()
    return np.array(seen), np.array(rewards), np.array([*commands, commands[-1]]), env.settings


def trial_of(seed=0):
    """The same as a robot's log would tell it."""
    seen, _, commands, settings = played(seed)
    return Trial(seen, commands.astype(np.float32), settings.robot.control.period, "pendulum")


@pytest.mark.parametrize("settings", [{}, {"angles": "sincos"}, {"angles": "sincos", "history": 2}])
def test_a_trial_becomes_what_the_environment_showed(settings):
    seen, rewards, commands, chosen = played(**settings)
    steps = steps_of([trial_of()], chosen)
    assert len(steps) == len(rewards)
    known = settings.get("history", 0)  # the command before the first row is not
    np.testing.assert_allclose([step.observation for step in steps[known:]], seen[known:-1], atol=1e-5)
    np.testing.assert_allclose([step.following for step in steps[known:]], seen[1 + known :], atol=1e-5)
    middle, half = (f(chosen.robot.action_limits(chosen.task)) for f in (np.mean, np.ptp))
    np.testing.assert_allclose([step.action for step in steps], (commands[:-1] - middle) / (0.5 * half), atol=1e-5)
    # Sensors are noisy, and rewards come from the true state.
    np.testing.assert_allclose([step.reward for step in steps], rewards, atol=0.1)
    assert [step.truncated for step in steps] == [False] * (len(steps) - 1) + [True]
    assert not any(step.terminated for step in steps)


def test_a_trial_ends_where_the_task_would_have_ended_it():
    env = RobotEnv("pendulum", "balance", **OPTIONS)
    env.close()
    trial = trial_of()
    states = np.zeros_like(trial.states)
    states[:, 0] = np.pi * np.linspace(1.0, 0.0, len(states))  # it falls
    steps = steps_of([replace(trial, states=states)], env.settings)
    assert 5 < len(steps) < 20
    assert [step.terminated for step in steps] == [False] * (len(steps) - 1) + [True]
    assert not any(step.truncated for step in steps)


@pytest.mark.parametrize(
    ("changes", "told"), [({"robot": "cartpole"}, "robot 'cartpole'"), ({"period": 0.5}, "0.5 s a step"), ({}, None)]
)
def test_trials_that_do_not_fit_are_refused(changes, told):
    *_, settings = played(rows=1)
    trial = replace(trial_of(), source="bag#1", **changes)
    if told is None:
        assert steps_of([trial], settings)
        return
    with pytest.raises(InputError, match=f"bag#1.*{told}"):
        steps_of([trial], settings)


def test_an_agent_learns_from_trials_alone_and_goes_on_with_them(tmp_path):
    recipe = tmp_path / "sac.yaml"
    recipe.write_text("{hidden: [8, 8], batch: 16, warm_up: 10, capacity: 500}")
    made = {"recipe": recipe, "options": OPTIONS, "start": [trial_of(0), trial_of(1)], "offline_updates": 5, "eval_episodes": 1}
    made |= {"eval_every": 10, "tensorboard": False}
    run = learn(ENV, "sac", 0, 0, tmp_path / "run", **made)
    assert [row["env_steps"] for row in run.rows] == [0]
    assert len(run.agent.buffer) == 40
    _, agent = load_learned(tmp_path / "run")
    assert agent.updates == 5
    further = learn(ENV, "sac", 10, 0, tmp_path / "run", **made, resume=True)
    assert [row["env_steps"] for row in further.rows] == [0, 10]
    assert further.agent.updates == 15


def test_trials_are_of_robots_only(tmp_path):
    with pytest.raises(InputError, match=r"Pendulum-v1.*forerun/ROBOT-TASK"):
        learn("Pendulum-v1", "sac", 0, 0, tmp_path / "run", start=[trial_of()], tensorboard=False)
    with pytest.raises(InputError, match="steps"):
        learn("Pendulum-v1", "sac", 0, 0, tmp_path / "other", tensorboard=False)


def test_settings_of_a_robots_environment_are_at_hand():
    env = RobotEnv("pendulum", "swingup", **OPTIONS)
    assert settings_of_robot(env, ENV).task == "swingup"
    env.close()
