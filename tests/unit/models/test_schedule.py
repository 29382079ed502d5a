"""Which model to train and when to train again: decided by use and data, the same for the same figures."""

from __future__ import annotations

import numpy as np
import pytest

from forerun_models.recipe import Recipe
from forerun_models.training.schedule import RECENT, SCARCE, choose, retrain

RECIPE = Recipe(robot="slider")


def test_scarce_data_give_a_stochastic_model_and_many_an_ensemble() -> None:
    scarce, many = choose(SCARCE - 1), choose(SCARCE)
    assert (scarce.kind, many.kind) == ("stochastic", "ensemble")
    assert scarce.settings(RECIPE).planner.aleatoric and str(SCARCE - 1) in scarce.reason
    assert many.settings(RECIPE) == RECIPE


def test_speed_gives_one_member_without_noise() -> None:
    settings = choose(10**6, "speed").settings(RECIPE)
    assert (settings.model.members, settings.model.elites, settings.planner.ensemble) == (1, 1, "mean")


@pytest.mark.parametrize(
    ("figures", "reason"),
    [
        ({"steps": 100}, "100 steps"),
        ({"steps": 5}, ""),
        ({"steps": 5, "validation": [0.1] * RECENT + [0.11] * RECENT}, ""),
        ({"steps": 5, "validation": [0.1] * RECENT + [0.2] * RECENT}, "validation error rose from 0.1 to 0.2"),
        ({"steps": 5, "validation": [0.1, 9.0]}, ""),
        ({"steps": 5, "disagreements": [0.1] * 99 + [0.3], "threshold": 0.2}, ""),
        ({"steps": 5, "disagreements": [0.1] * 100 + [0.3] * 20, "threshold": 0.2}, "20% of the last 100 plans"),
        ({"steps": 5, "disagreements": [np.nan] * 50, "threshold": 0.2}, ""),
        ({"steps": 5, "disagreements": [0.3] * 50}, ""),
    ],
)
def test_a_model_is_trained_again_when_steps_error_or_disagreement_say_so(figures: dict, reason: str) -> None:
    told = retrain(every=100, **figures)
    assert reason in told and bool(told) == bool(reason)
