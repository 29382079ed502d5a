"""What a bundle says of its model's uncertainty, from trials that no weight was trained on, and from those that told some."""

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
from forerun_models.training.replay import learned_from
from forerun_models.uncertainty.calibrate import calibrate, held_out_forecast, tells
from forerun_models.uncertainty.familiarity import QUANTILE, SECONDS, evidence, surprise
from forerun_models.uncertainty.use import disagreement
from forerun_sim.trial import Trial

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Known:
    """``thresholds`` for the controller, ``calibration`` of the variances where there was something to fit it on."""

    thresholds: dict[str, float]
    calibration: Calibration | None


def held_out_uncertainty(model: WorldModel, held_out: Sequence[Trial], replay: Sequence[Trial], horizon: int) -> Known:
    """What is usual for ``model``, in plans of ``horizon`` steps, on trials ``held_out`` from its training; its variances are
    calibrated on those and on trials of its ``replay``.

    With no trial held out the threshold is from the replay, and nothing is calibrated.
    """
    imagine, std = imagination(model), model.features.state_std.double().numpy()
    judges = held_out or replay
    longest = max(len(trial) for trial in judges) - 1
    cuts, forecast = held_out_forecast(imagine, judges, model.features.history, min(horizon, longest))
    spread = disagreement(forecast.members.astype(np.float64), std).mean(axis=1)
    thresholds = {"disagreement": float(np.quantile(spread, QUANTILE))}
    if not held_out:
        return Known(thresholds, None)
    # Of a model that was fine-tuned the newest data, those of the robot, are like what will come.
    learned = [trial for trial in replay if learned_from(trial)] or list(replay)
    trials = [*held_out, *(learned if tells(len(held_out), len(learned)) else ())]
    cuts, forecast = held_out_forecast(imagine, trials, model.features.history, min(max(horizon, HORIZON), longest))
    calibration = calibrate(forecast, cuts.future, cuts.trial, cuts.trial >= len(held_out))
    if calibration is not None:
        ahead = min(horizon, cuts.future.shape[1])
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
