"""An RSSM of a robot's states: what it expects goes on from where the robot is, and on around a turning joint."""

from __future__ import annotations

import numpy as np
import torch

from forerun_models.latent.settings import LatentSettings
from forerun_models.latent.states import LatentStates
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial

SETTINGS = LatentSettings(
    latent="gaussian", groups=4, min_std=0.05, deter=16, hidden=16, bins=3, decoder_std=0.1, free_nats=0.0, symlog=False
)


def turning(speed: float, rows: int = 80) -> Trial:
    """A pendulum that turns at one speed [rad/s], by itself; 50 Hz."""
    position = 0.02 * speed * np.arange(rows)
    states = np.stack([position, np.full(rows, speed)], axis=1).astype(np.float32)
    return Trial(states, np.zeros((rows, 1), np.float32), 0.02, "pendulum")


def test_predictions_go_on_around_a_joint_that_turns() -> None:
    torch.set_num_threads(1)
    model = LatentStates(load_robot("pendulum"), [turning(speed) for speed in (4.0, 5.0, 6.0)], SETTINGS, seed=0)
    model.learn(updates=120, batch=8, length=16, rate=0.01)
    trial = turning(5.0)
    past, future = trial.states[None, 10:20], trial.states[20:60]
    predicted = model(past, trial.actions[None, 10:19], trial.actions[None, 19:59])[0]
    assert predicted.shape == (40, 2)
    assert abs(predicted[0] - future[0]).max() < 0.3
    moved = predicted[-1, 0] - past[0, -1, 0]
    assert abs(moved - 4.0) < 1.5 and past[0, -1, 0] < np.pi < predicted[-1, 0]  # 0.8 s at 5 rad/s, past half a turn


def test_the_same_seed_gives_the_same_predictions() -> None:
    trial, told = turning(5.0), []
    for _ in range(2):
        model = LatentStates(load_robot("pendulum"), [trial], SETTINGS, seed=3)
        model.learn(updates=2, batch=2, length=8, rate=0.01)
        told.append(model(trial.states[None, :5], trial.actions[None, :4], trial.actions[None, 4:9]))
    assert np.array_equal(*told)
