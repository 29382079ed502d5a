"""A model before its training: its sizes, and its weights and statistics, by chance and from the data or from a run before."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.features import Features
from forerun_models.dynamics.model import WorldModel
from forerun_models.dynamics.physical import Physical
from forerun_models.recipe import ModelSettings
from forerun_models.training.windows import Windows
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec

if TYPE_CHECKING:
    from forerun_models.training.run import Run


def build(robot: RobotSpec, settings: ModelSettings) -> WorldModel:
    """A model of the right kind and shape for ``robot``, weights not yet drawn.

    Raises:
        InputError: the kind is none for this robot.
    """
    continuous = [joint.type == "continuous" for joint in robot.joints]
    features = Features(continuous, robot.action_size, settings.history or robot.control.history)
    model: WorldModel
    if settings.kind == "rigid_body":
        model = Physical(robot, features, settings.members, settings.hidden, settings.rigid_body)
    else:
        model = Ensemble(features, settings.members, settings.hidden, settings.layers)
    model.elites = torch.arange(settings.elites)
    return model


@torch.no_grad()
def initialise(model: WorldModel, windows: Windows, seed: int, start: WorldModel | None = None) -> None:
    """Draws the weights, and takes statistics and what least squares can tell from ``windows``; or takes weights and statistics
    of ``start``, a model of the same shape, and judges it by the spread of ``windows``."""
    generator = torch.Generator().manual_seed(seed)
    if start is None:
        model.reset_parameters(generator)
    count = min(len(windows), 200_000)
    index = torch.randperm(len(windows), generator=generator)[:count]
    states, actions = windows.cut(index, 1)
    if start is None:
        model.fit_statistics(states, actions)
    else:
        model.load_state_dict(start.state_dict())
        model.judge_by(states)


def taken_from(start: Run, robot: RobotSpec, settings: ModelSettings) -> WorldModel:
    """The model of ``start``, with as many members as ``settings`` want, its best ones.

    Raises:
        InputError: it is a model of another robot, of another shape, or has fewer members.
    """
    known, found = start.robot, start.model
    if known.name != robot.name:
        raise InputError(f"{start.folder}: holds a model of robot '{known.name}'; start '{robot.name}' from a run of its own")
    for what, before, now in (
        ("the joints", known.joint_names, robot.joint_names),
        ("the actuated joints", known.action_names, robot.action_names),
        ("control.rate [Hz]", known.control.rate, robot.control.rate),
    ):
        if before != now:
            raise InputError(
                f"{start.folder}: when it was trained {what} of robot '{robot.name}' were {_shown(before)}, now they are "
                f"{_shown(now)}; train a start for the robot as it is"
            )
    if settings.members > found.members:
        raise InputError(
            f"{start.folder}: has {found.members} members, and the recipe wants model.members {settings.members}; "
            "no more can go on than there are"
        )
    best = found.elites.tolist()
    order = [*best, *(member for member in range(found.members) if member not in best)]
    chosen = found.chosen(torch.tensor(order[: settings.members]))
    chosen.elites = torch.arange(settings.elites)
    if _shapes(chosen) != _shapes(build(robot, settings)):
        raise InputError(
            f"{start.folder}: its model has another shape than the recipe's: {_differences(start.recipe.model, settings)}; "
            f"go on with the same model, as {start.folder / 'recipe.yaml'} has it"
        )
    return chosen


def _shapes(model: WorldModel) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in model.state_dict().items()}


def _differences(before: ModelSettings, now: ModelSettings) -> str:
    """Keys of a model's settings that are not the same."""
    first, second = ({**one.model_dump(), **one.rigid_body.model_dump()} for one in (before, now))
    names = [name for name in first if name not in ("members", "elites", "rigid_body") and first[name] != second[name]]
    return ", ".join(f"{name} {first[name]} there, {second[name]} here" for name in names) or "the robot's history differs"


def _shown(value: object) -> str:
    return ", ".join(value) if isinstance(value, tuple) else str(value)
