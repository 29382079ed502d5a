"""Which kind of model to train, by its use and the data at hand, and when to train it again. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from forerun_models.recipe import Recipe

Use = Literal["planning", "speed"]
Kind = Literal["stochastic", "ensemble", "deterministic"]

SCARCE = 5_000
"""Rows below which a model's own noise must stand in for what was not seen."""
RECENT = 10
"""How many of the newest figures are compared with what was usual."""
RISE = 1.2
"""Times the best validation error so far from which on a model has fallen behind."""
DRIFT = 0.1
"""Share of plans above the threshold of held-out data (which 1 in 100 exceeds there) from which on the world has changed."""


@dataclass(frozen=True)
class Choice:
    """A kind of model and why."""

    kind: Kind
    reason: str

    def settings(self, recipe: Recipe) -> Recipe:
        """``recipe`` for this kind: ``stochastic`` plans through the members' noise, ``deterministic`` has one member only."""
        if self.kind == "stochastic":
            planner = {**recipe.planner.model_dump(), "ensemble": "tsinf", "aleatoric": True}
            return Recipe.model_validate({**recipe.as_data(), "planner": planner})
        if self.kind == "deterministic":
            model = {**recipe.model.model_dump(), "members": 1, "elites": 1}
            planner = {**recipe.planner.model_dump(), "ensemble": "mean", "aleatoric": False, "particles": 1, "members": None}
            return Recipe.model_validate({**recipe.as_data(), "model": model, "planner": planner})
        return recipe


def choose(rows: int, use: Use = "planning") -> Choice:
    """The kind for ``rows`` of data and a ``use``; in the order in which the rules stand here."""
    if use == "speed":
        return Choice("deterministic", "speed decides: one member, no noise")
    if rows < SCARCE:
        return Choice("stochastic", f"{rows} rows are scarce (below {SCARCE}): plans go through the model's noise too")
    return Choice("ensemble", f"{rows} rows: members that disagree tell what is not known")


def retrain(
    steps: int,
    every: int,
    validation: Sequence[float] = (),
    disagreements: Sequence[float] = (),
    threshold: float = float("inf"),
) -> str:
    """Why it is time to train again; empty where it is not.

    Args:
        steps: since the last training.
        every: after how many steps it is time in any case.
        validation: errors on new data since the last training, oldest first.
        disagreements: of the plans since then, oldest first; those that are not finite are left out.
        threshold: the bundle's (``thresholds["disagreement"]``).
    """
    if steps >= every:
        return f"{steps} steps since the last training (every {every})"
    if len(validation) >= 2 * RECENT:
        usual, now = (float(np.median(part)) for part in (validation[:RECENT], validation[-RECENT:]))
        if now > RISE * usual:
            return f"the validation error rose from {usual:.3g} to {now:.3g}"
    known = np.asarray(disagreements, float)
    known = known[np.isfinite(known)][-10 * RECENT :]
    if len(known) >= RECENT and float((known > threshold).mean()) > DRIFT:
        return f"{(known > threshold).mean():.0%} of the last {len(known)} plans disagree more than held-out data did"
    return ""
