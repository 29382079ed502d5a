"""What decides an environment, beside seeds: robot, task, engine, and how observations and actions are written."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec, load_robot, validate

Units = Literal["normalised", "physical"]
Angles = Literal["plain", "sincos"]
_MOST_HISTORY = 64


@dataclass(frozen=True)
class EnvSettings:
    """One kind of environment; worker processes build theirs from it.

    Attributes:
        robot: the robot.
        task: name of one of its tasks.
        engine: name of a physics engine.
        randomize: whether the plant is drawn anew in each episode.
        actions: units of actions and of the commands in observations.
        angles: how positions of continuous joints are written.
        history: rows of past readings and commands in an observation; 0 is the newest reading alone.
        steps: control steps after which an episode is truncated.
        goal: numbers of the goal where ``reset`` gives none.
        goals_vary: whether each episode draws its own goal instead, as the task says.
    """

    robot: RobotSpec
    task: str
    engine: str
    randomize: bool
    actions: Units
    angles: Angles
    history: int
    steps: int
    goal: tuple[float, ...]
    goals_vary: bool = False

    def to_json(self) -> str:
        """All of it as text, for another process."""
        plain = {key: value for key, value in vars(self).items() if key != "robot"}
        return json.dumps({**plain, "robot": self.robot.model_dump(mode="json"), "folder": str(self.robot.folder)})

    @classmethod
    def from_json(cls, text: str) -> EnvSettings:
        """What ``to_json`` wrote."""
        data: dict[str, Any] = json.loads(text)
        folder = Path(data.pop("folder"))
        robot = validate(RobotSpec, data.pop("robot"), folder / "robot.yaml").at(folder)
        return cls(robot=robot, **{**data, "goal": tuple(data["goal"])})


def env_settings(
    robot: str | Path | RobotSpec,
    task: str | None = None,
    *,
    engine: str = "bullet",
    randomize: bool = True,
    actions: Units = "normalised",
    angles: Angles = "plain",
    history: int = 0,
    duration: float | None = None,
    max_episode_steps: int | None = None,
    goal: Sequence[float] | None = None,
) -> EnvSettings:
    """Checked settings, with what robot.yaml says where an argument is absent.

    Args:
        robot: name of a shipped robot, a robot folder, a robot.yaml, or what ``load_robot`` gave.
        task: the robot's first one if absent.
        engine: see ``forerun_sim.engines.base.ENGINES``.
        randomize: False keeps the plant's parameters at their nominal values; initial states and noise stay random.
        actions: ``normalised`` to [-1, 1] of the task's command limits, or ``physical`` units.
        angles: ``plain``, or ``sincos`` of the positions of continuous joints.
        history: rows in an observation, each a reading and the command that was under way; 0: the newest reading alone.
        duration: of an episode [s]; the task's if absent.
        max_episode_steps: truncates earlier than that.
        goal: numbers of the goal in all episodes; if absent, each episode draws its own where the task says how
            (``goal.random``), and has the task's default where it does not.

    Raises:
        InputError: no such robot or task, or a value is out of range; the message names it.
    """
    spec = robot if isinstance(robot, RobotSpec) else load_robot(robot)
    if not spec.tasks:
        raise InputError(f"robot '{spec.name}' has no tasks, and an environment needs one: add 'tasks' to its robot.yaml")
    if actions not in ("normalised", "physical"):
        raise InputError(f"actions '{actions}' is unknown; allowed: normalised, physical")
    if angles not in ("plain", "sincos"):
        raise InputError(f"angles '{angles}' is unknown; allowed: plain, sincos")
    if not 0 <= history <= _MOST_HISTORY:
        raise InputError(f"history {history}: must be between 0 and {_MOST_HISTORY} rows")
    if duration is not None and not (duration > 0 and math.isfinite(duration)):
        raise InputError(f"duration {duration}: must be a positive number of seconds")
    if max_episode_steps is not None and max_episode_steps < 1:
        raise InputError(f"max_episode_steps {max_episode_steps}: must be at least 1")
    chosen = spec.task(task)
    name = next(known for known, one in spec.tasks.items() if one is chosen)
    steps = math.ceil((chosen.duration if duration is None else duration) * spec.control.rate - 1e-9)
    steps = steps if max_episode_steps is None else min(steps, max_episode_steps)
    numbers = checked_goal(spec, name, chosen.goal.default if goal is None else goal)
    vary = goal is None and bool(chosen.goal.random)
    return EnvSettings(spec, name, engine, randomize, actions, angles, history, steps, numbers, vary)


def checked_goal(robot: RobotSpec, task: str, goal: Sequence[float]) -> tuple[float, ...]:
    """``goal`` as the task takes it.

    Raises:
        InputError: another count of numbers, or one that is not finite.
    """
    names = robot.task(task).goal.names
    numbers = tuple(float(value) for value in goal)
    if len(numbers) != len(names) or not all(map(math.isfinite, numbers)):
        raise InputError(
            f"goal {list(numbers)}: task '{task}' of robot '{robot.name}' takes {len(names)} finite numbers: {list(names)}"
        )
    return numbers
