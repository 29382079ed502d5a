"""A model before its training: sizes from robot and recipe, statistics and linear path from the data."""

from __future__ import annotations

import torch

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.features import Features
from forerun_models.recipe import ModelSettings
from forerun_models.training.windows import Windows
from forerun_sim.spec import RobotSpec


def build(robot: RobotSpec, settings: ModelSettings) -> Ensemble:
    """An ensemble of the right shape for ``robot``, weights not yet drawn."""
    continuous = [joint.type == "continuous" for joint in robot.joints]
    features = Features(continuous, robot.action_size, settings.history or robot.control.history)
    model = Ensemble(features, settings.members, settings.hidden, settings.layers)
    model.elites = torch.arange(settings.elites)
    return model


@torch.no_grad()
def initialise(model: Ensemble, windows: Windows, seed: int) -> None:
    """Draws the weights, takes the standardisation from ``windows`` and sets the linear path by least squares."""
    generator = torch.Generator().manual_seed(seed)
    model.reset_parameters(generator)
    count = min(len(windows), 200_000)
    index = torch.randperm(len(windows), generator=generator)[:count]
    states, actions = windows.cut(index)
    history = windows.history
    states, actions = states[:, : history + 1], actions[:, :history]
    features = model.features
    features.fit(states, actions)
    inputs = features.inputs(states[:, :-1].unbind(1), actions.unbind(1))
    targets = (states[:, -1] - states[:, -2] - features.target_mean) / features.target_std
    model.fit_linear(inputs, targets)
