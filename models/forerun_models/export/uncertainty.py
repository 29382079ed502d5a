"""What a bundle says of its model's uncertainty, from trials that no weight was trained on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from forerun_models.bundle import Calibration, Forecast, unroll
from forerun_models.bundle.forecast import Step, follow
from forerun_models.dynamics.model import WorldModel
from forerun_models.evaluation.kstep import HORIZON
from forerun_models.export.graphs import AdvanceGraph, DynamicsGraph
from forerun_models.uncertainty.calibrate import calibrate, held_out_forecast
from forerun_models.uncertainty.familiarity import QUANTILE, SECONDS, evidence, surprise
from forerun_models.uncertainty.use import disagreement
from forerun_sim.trial import Trial

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """``thresholds`` for the controller, ``calibration`` of the variances where there was something to fit it on."""

    thresholds: dict[str, float]
    calibration: Calibration | None


def held_out_uncertainty(model: WorldModel, trials: Sequence[Trial], horizon: int, *, calibrated: bool) -> Known:
    """Measures ``model`` on ``trials``; the threshold is of plans of ``horizon`` steps. ``calibrated`` False: no calibration."""
    imagine = imagination(model)
    longest = max(len(trial) for trial in trials) - 1
    reach = min(max(horizon, HORIZON) if calibrated else horizon, longest)
    cuts, forecast = held_out_forecast(imagine, trials, model.features.history, reach)
    ahead, std = min(horizon, reach), model.features.state_std.double().numpy()
    spread = disagreement(forecast.members[:, :, :ahead].astype(np.float64), std).mean(axis=1)
    thresholds = {"disagreement": float(np.quantile(spread, QUANTILE))}
    calibration = calibrate(forecast, cuts.future, cuts.trial) if calibrated else None
    if calibration is not None:
        values, weights = surprise(forecast.calibrated(calibration), cuts.future, std, ahead)
        told = evidence(values, weights, cuts.trial, cuts.row, round(SECONDS / trials[0].period))
        thresholds["surprise"] = float(np.quantile(told, QUANTILE))
    return Known(thresholds, calibration)


def imagination(model: WorldModel) -> Callable[[Array, Array], Forecast]:
    """The raw forecast of ``model`` from histories [N, K, S+A] under actions [N, H, A]."""
    first, later = _as_step(DynamicsGraph(model)), _as_step(AdvanceGraph(model))

    def imagine(history: Array, actions: Array) -> Forecast:
        if model.memory_sizes:
            return follow(first, later, history, actions)
        return unroll(first, history, actions, model.state_size)

    return imagine


def _as_step(graph: nn.Module) -> Step:
    """``graph`` over arrays: mean, log-variance, and what goes on, the last of its outputs."""

    @torch.no_grad()
    def step(before: Array, action: Array) -> tuple[Array, Array, Array]:
        mean, log_variance, *others = graph(torch.from_numpy(before), torch.from_numpy(np.ascontiguousarray(action)))
        return mean.numpy(), log_variance.numpy(), others[-1].numpy()

    return step
