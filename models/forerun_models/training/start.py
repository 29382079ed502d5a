"""A model before its training: sizes from robot and recipe, statistics from the data."""

from __future__ import annotations

import torch

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.features import Features
from forerun_models.dynamics.model import WorldModel
from forerun_models.dynamics.physical import Physical
from forerun_models.recipe import ModelSettings
from forerun_models.training.windows import Windows
from forerun_sim.spec import RobotSpec


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
def initialise(model: WorldModel, windows: Windows, seed: int) -> None:
    """Draws the weights, and takes statistics and what least squares can tell from ``windows``."""
    generator = torch.Generator().manual_seed(seed)
    model.reset_parameters(generator)
    count = min(len(windows), 200_000)
    index = torch.randperm(len(windows), generator=generator)[:count]
    states, actions = windows.cut(index, 1)
    model.fit_statistics(states, actions)
