"""Trials of a robot, from its bags or from simulation, as experience of the environment in which an agent learns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
import torch
from numpy.typing import NDArray

from forerun_models.agents.base import Step
from forerun_models.export.observation import ObservationGraph
from forerun_sim.env.environment import RobotEnv
from forerun_sim.env.settings import EnvSettings
from forerun_sim.errors import InputError
from forerun_sim.tasks import TaskFunction
from forerun_sim.trial import Trial


def settings_of_robot(env: gymnasium.Env[Any, Any], env_id: str) -> EnvSettings:
    """What decides the robot's environment ``env``.

    Raises:
        InputError: it is not one of a robot: no trial has its observations, and no bundle runs what was learned in it.
    """
    bare = env.unwrapped
    if not isinstance(bare, RobotEnv):
        raise InputError(
            f"'{env_id}' is no environment of a robot: bags can only be learned, and bundles exported, in forerun/ROBOT-TASK-v0"
        )
    return bare.settings


def steps_of(trials: Sequence[Trial], settings: EnvSettings) -> list[Step]:
    """The transitions of ``trials`` as the environment would have shown and rewarded them, for its own goal.

    Rewards are those of the measured states; the environment's own are those of the true ones. A trial ends where the task would
    have ended it. The command before a trial's first row is not known and taken for the first one.

    Raises:
        InputError: a trial is of another robot, or of another control rate.
    """
    found: list[Step] = []
    for trial in trials:
        found += _steps(trial, settings, TaskFunction(settings.robot, settings.task))
    return found


def _steps(trial: Trial, settings: EnvSettings, task: TaskFunction) -> list[Step]:
    robot, period = settings.robot, settings.robot.control.period
    if trial.robot != robot.name or trial.states.shape[1] != 2 * len(robot.joints):
        raise InputError(f"{trial.source or 'trial'}: is of robot '{trial.robot}', the environment's is '{robot.name}'")
    if abs(trial.period - period) > 0.01 * period:
        raise InputError(f"{trial.source or 'trial'}: its grid has {trial.period:.4g} s a step, the environment {period:.4g} s")
    lower, upper = robot.action_limits(settings.task)
    half = np.where(upper > lower, 0.5 * (upper - lower), 1.0)
    actions = np.clip((trial.actions - 0.5 * (lower + upper)) / half, -1.0, 1.0).astype(np.float32)
    observations = _observations(trial, settings)
    goal = np.array(settings.goal, dtype=float)
    reached, given = trial.states[1:].astype(float), trial.actions[:-1].astype(float)
    before = np.concatenate([given[:1], given[:-1]])
    rewards, ended = task.reward(np, reached, given, before, goal), task.done(np, reached)
    count = int(np.argmax(ended)) + 1 if ended.any() else len(reached)
    return [
        Step(
            observations[row],
            actions[row],
            float(rewards[row]),
            observations[row + 1],
            bool(ended[row]),
            row + 1 == count and not ended[row],
        )
        for row in range(count)
    ]


def _observations(trial: Trial, settings: EnvSettings) -> NDArray[np.float32]:
    """[T, O], by the definition that the bundle's graph has too."""
    graph = ObservationGraph(settings)
    rows = torch.from_numpy(np.concatenate([trial.states, trial.actions], axis=1).astype(np.float32))
    padded = torch.cat([rows[:1].expand(graph.history - 1, -1), rows])
    histories = padded.unfold(0, graph.history, 1).mT
    goal = torch.tensor(settings.goal, dtype=torch.float32).expand(len(rows), -1)
    shown: torch.Tensor = graph(histories, goal)
    return np.asarray(shown.numpy(), np.float32)
