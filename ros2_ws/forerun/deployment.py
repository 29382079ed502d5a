"""What an agent's return in training is worth on the robot: its bundle in the controller node, over ROS 2, against the simulator.

The simulator is the one that the agent learned in; between them lie processes, messages and the control grid
(``forerun.lockstep``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from forerun.demo.measure import score
from forerun.report import Episode
from forerun_models.agents.base import Agent
from forerun_models.agents.environment import make_environment
from forerun_models.agents.evaluate import play
from forerun_models.agents.folder import About
from forerun_models.bundle import load
from forerun_sim.spec import load_robot
from forerun_sim.tasks import TaskFunction
from forerun_sim.trial import Trial


@dataclass(frozen=True)
class Setting:
    """The simulated robot: ``randomize`` and ``engine`` as in training, ``duration`` [s] of an episode."""

    robot: str
    task: str
    duration: float
    engine: str = "bullet"
    randomize: bool = True
    seed: int = 0


def judged(trials: Sequence[Trial], setting: Setting) -> list[Episode]:
    """The trials with their rewards until the task ends them."""
    task = TaskFunction(load_robot(setting.robot), setting.task)
    return [_until_its_end(score(trial, task, setting.duration), task) for trial in trials]


def _until_its_end(episode: Episode, task: TaskFunction) -> Episode:
    """The episode with the rewards until the task ends it, as environments count them; a robot goes on."""
    states, actions = episode.states, episode.actions
    ended = np.flatnonzero(task.done(np, states[2:]))
    if not len(ended):
        return episode
    last = int(ended[0]) + 1
    goal = np.broadcast_to(task.default_goal, (last, task.goal_size))
    rewards = task.reward(np, states[2 : last + 2], actions[1 : last + 1], actions[:last], goal)
    return replace(episode, total=float(rewards.sum()), success=False)


def setting_of(bundle: Path, duration: float | None = None, seed: int = 0) -> Setting:
    """The setting in which the agent of ``bundle`` learned, as its bundle says it.

    Raises:
        BundleError: no bundle.
    """
    manifest = load(bundle).manifest
    options = dict(manifest.trained_on.get("options", {}))
    task = load_robot(manifest.robot).task(manifest.task)
    return Setting(
        robot=str(options.get("robot", manifest.robot)),
        task=manifest.task,
        duration=float(duration or options.get("duration", task.duration)),
        engine=str(options.get("engine", "bullet")),
        randomize=bool(options.get("randomize", True)),
        seed=seed,
    )


def in_environment(agent: Agent, about: About, setting: Setting, numbers: Sequence[int]) -> list[float]:
    """Returns of the same episodes, ``numbers`` of the setting's seed, towards the default goal, in the agent's environment."""
    environment = make_environment(about.env, type(agent), about.options)
    actor = agent.actor(explore=False)
    goal = load_robot(setting.robot).task(setting.task).goal.default
    returns = [play(actor, environment, setting.seed, number, {"episode": number, "goal": goal}).total for number in numbers]
    environment.close()
    return returns


def kept(trained: float, deployed: float) -> float:
    """Share of a return that is left, 1 where nothing is lost; also for returns below 0, where 0.9 is a tenth worse."""
    return 1.0 - (trained - deployed) / max(abs(trained), 1e-9)
