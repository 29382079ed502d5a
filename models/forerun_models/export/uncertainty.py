"""What a bundle says of its model's uncertainty, from trials that no weight was trained on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from forerun_models.bundle import Calibration
from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.evaluation.kstep import HORIZON
from forerun_models.export.graphs import DynamicsGraph
from forerun_models.uncertainty.calibrate import calibrate, held_out_forecast
from forerun_models.uncertainty.use import disagreement
from forerun_sim.trial import Trial

Array = NDArray[np.float32]

FAMILIAR = 0.99
"""Share of the held-out windows whose disagreement counts as usual."""


@dataclass(frozen=True)
class Known:
    """``thresholds`` for the controller, ``calibration`` of the variances where there was something to fit it on."""

    thresholds: dict[str, float]
    calibration: Calibration | None


def held_out_uncertainty(model: Ensemble, trials: Sequence[Trial], horizon: int, *, calibrated: bool) -> Known:
    """Measures ``model`` on ``trials``; the threshold is of plans of ``horizon`` steps. ``calibrated`` False: no calibration."""
    graph = DynamicsGraph(model)

    @torch.no_grad()
    def predict(history: Array, action: Array) -> tuple[Array, Array, Array]:
        mean, log_variance, following = graph(torch.from_numpy(history), torch.from_numpy(action))
        return mean.numpy(), log_variance.numpy(), following.numpy()

    longest = max(len(trial) for trial in trials) - 1
    reach = min(max(horizon, HORIZON) if calibrated else horizon, longest)
    cuts, forecast = held_out_forecast(predict, trials, model.features.history, reach)
    spread = disagreement(forecast.members[:, :, :horizon].astype(np.float64), model.features.state_std.double().numpy())
    threshold = float(np.quantile(spread.mean(axis=1), FAMILIAR))
    calibration = calibrate(forecast, cuts.future, len(trials)) if calibrated else None
    return Known({"disagreement": threshold}, calibration)
