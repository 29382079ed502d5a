"""The bundle of an agent that plans: its experience becomes trials of the robot, on which a model of the robot is trained.

The agent's own model predicts observations of any environment; a bundle's predicts the robot's physical state, history and all,
so that it can be fine-tuned, evaluated and compensated for delay like every other bundle. The agent's value and policy go
along as they are: what it observes is the robot's state and the goal.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forerun_models.agents.environment import make_environment
from forerun_models.agents.experience import settings_of_robot
from forerun_models.agents.folder import About
from forerun_models.agents.mpc import MpcAgent
from forerun_models.agents.planned_value import PlannedValue
from forerun_models.agents.terminal_value import TerminalValue
from forerun_models.export.export import Provenance, export_bundle, task_name
from forerun_models.planners.networks import Networks
from forerun_models.recipe import Recipe, load_recipe
from forerun_models.training.run import train
from forerun_sim.env.settings import EnvSettings
from forerun_sim.errors import InputError
from forerun_sim.trial import Trial


def export_planning(
    out: str | Path, agent: MpcAgent, about: About, metrics: Mapping[str, float], recipe: Recipe | None = None
) -> Path:
    """Writes the bundle ``out``.

    Args:
        out: a folder that does not exist yet.
        agent: has learned as ``about`` says.
        about: of its run.
        metrics: go into the bundle's.
        recipe: of the model and its planner; if absent the robot's own, with the agent's planner. For another task than the
            agent's it gets no value.

    Raises:
        InputError: its environment is not one of a robot, or shows more than the robot's state.
        BundleError: ``out`` exists.
    """
    environment = make_environment(about.env, MpcAgent, about.options)
    try:
        settings = settings_of_robot(environment.env, about.env)
    finally:
        environment.close()
    if settings.history:
        raise InputError(
            f"'{about.env}' shows more than the robot's state: an agent that plans is exported from an environment with history=0"
        )
    robot = settings.robot
    if recipe is None:
        recipe = load_recipe(None, robot.name).model_copy(update={"task": settings.task, "planner": agent.settings.planner})
    networks = None
    if agent.value is not None and task_name(robot, recipe) == task_name(robot, Recipe(robot=robot.name, task=settings.task)):
        networks = networks_of(agent.value, settings)
        # A value is worth what it was learned with.
        planner = recipe.planner.model_copy(update={"discount": agent.value.settings.discount})
        recipe = recipe.model_copy(update={"planner": planner})
    with tempfile.TemporaryDirectory() as folder:
        run = train(trials_of(agent, settings), robot, recipe, about.seed, Path(folder) / "run")
    trained_on = {**run.trained_on, "environment": about.env, "options": dict(about.options)}
    provenance = Provenance(trained_on, about.seed, dict(metrics), held_out=run.held_out)
    return export_bundle(out, run.model, robot, recipe, run.replay, provenance, networks)


def trials_of(agent: MpcAgent, settings: EnvSettings) -> list[Trial]:
    """What the agent has seen, an episode each, in physical units."""
    robot, data = settings.robot, agent.buffer.all()
    lower, upper = robot.action_limits(settings.task)
    given = 0.5 * (lower + upper) + 0.5 * (upper - lower) * np.clip(data["action"], -1.0, 1.0)
    found = []
    for number in np.unique(data["episode"]):
        rows = np.flatnonzero(data["episode"] == number)
        states = states_of(np.concatenate([data["observation"][rows], data["following"][rows[-1:]]]), settings)
        actions = np.concatenate([given[rows], given[rows[-1:]]]).astype(np.float32)
        found.append(Trial(states, actions, robot.control.period, robot.name, source=f"{agent.env.id}#{number}"))
    return found


def states_of(observations: NDArray[np.float32], settings: EnvSettings) -> NDArray[np.float32]:
    """States [T, S] of an episode's ``observations`` [T, O], without history. Joints of which sine and cosine are shown turn less
    than half a turn a step."""
    columns, place = [], 0
    for turns in turning(settings):
        if turns:
            columns.append(np.unwrap(np.arctan2(observations[:, place], observations[:, place + 1])))
        else:
            columns.append(observations[:, place])
        place += 1 + turns
    speeds = observations[:, place : place + len(columns)]
    return np.column_stack([*columns, speeds]).astype(np.float32)


def networks_of(value: TerminalValue | PlannedValue, settings: EnvSettings) -> Networks:
    """Value and, where there is one, policy as a robot's planner takes them."""
    turns = turning(settings)
    numbers = [number for number, one in enumerate(turns) if one]
    size = 2 * len(turns)
    # The environment shows a joint's sine and cosine in the joint's place, the networks get them behind all that is straight.
    straight: list[int] = []
    sines: list[int] = []
    place = 0
    for one in (*turns, *([False] * (size - len(turns)))):
        (sines if one else straight).append(place)
        place += 1 + one
    rest = list(range(place, value.observations))
    return value.networks([*straight, *sines, *(place + 1 for place in sines), *rest], numbers)


def turning(settings: EnvSettings) -> list[bool]:
    """Whether the environment shows sine and cosine of each joint's position."""
    return [settings.angles == "sincos" and joint.type == "continuous" for joint in settings.robot.joints]
