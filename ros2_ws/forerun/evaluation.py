"""The k-step table of a bundle on trials, with the models that it must beat."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from forerun_models.bundle import Bundle
from forerun_models.evaluation.kstep import HORIZON, STEPS, cut, errors, rmse
from forerun_models.evaluation.predictors import Linear, Predictor, persistence
from forerun_sim.errors import InputError
from forerun_sim.trial import Trial


@dataclass(frozen=True)
class Evaluation:
    """RMSE_k by model, and the bundle's by trial. ``std`` [S] is the yardstick of the errors, SI."""

    rows: dict[str, dict[int, float]]
    by_trial: dict[str, dict[int, float]]
    steps: tuple[int, ...]
    windows: int
    trials: int
    period: float
    std: list[float]
    bundle: str

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def evaluate(
    bundle: Bundle, trials: Sequence[Trial], reference: Sequence[Trial] | None = None, others: dict[str, Predictor] | None = None
) -> Evaluation:
    """Judges ``bundle`` by the k-step protocol.

    Args:
        bundle: with a model.
        trials: unseen ones, on the bundle's control grid.
        reference: training trials; the yardstick is their spread (else that of the bundle's own training states), and the linear
            model is fitted to them.
        others: further models to stand in the table.

    Raises:
        InputError: no trial is long enough for one window.
        BundleError: the bundle has no model.
    """
    reach = min(HORIZON, max((len(trial) for trial in trials), default=0) - 1)
    if reach < 1:
        raise InputError("there is no trial with at least two rows to predict")
    cuts = cut(trials, bundle.manifest.history, horizon=reach)
    if reference is not None:
        std = np.concatenate([trial.states for trial in reference]).astype(np.float64).std(axis=0)
    else:
        std = np.asarray(bundle.manifest.metrics["state_std"], np.float64)
    std = np.where(std > 1e-9, std, 1.0)
    models: dict[str, Predictor] = {"persistence": persistence}
    if reference is not None:
        models["linear"] = Linear(reference)
    models |= {**(others or {}), "this bundle": bundle.rollout}
    rows, own = {}, np.empty(0)
    for name, predict in models.items():
        own = errors(predict, cuts, std)
        rows[name] = rmse(own)
    by_trial = {trial.source: rmse(own[cuts.trial == i]) for i, trial in enumerate(trials) if (cuts.trial == i).any()}
    steps = tuple(k for k in STEPS if k <= reach)
    return Evaluation(rows, by_trial, steps, len(cuts), len(trials), trials[0].period, std.tolist(), bundle.digest)
