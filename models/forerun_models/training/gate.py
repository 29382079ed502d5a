"""The gate: what a candidate must show before it may touch the robot. Each check leaves a row with its figure and its limits.

- **real**: its error on real trials that neither it nor its parent was trained or stopped on is smaller than the parent's.
- **replay**, **earlier**: on simulated trials, and on real ones from before, that were kept apart, it has not forgotten what its
  parent knew. A robot that differs from every simulated one pulls a model away from all of them, so an error in simulation as
  large as the parent's on the robot is allowed: with such a model the robot was controlled until now.
- **calibration**: with factors fitted on the trials that stopped the training, intervals that should hold 90 % do so on others.
- **plan**: a planner that follows a trajectory finds one in it; where it does, the check leaves no row.
- **latency**: plans fit into the control period, by the processor time that they take on this machine. A busy machine slows all
  plans, so the slowest are compared with the parent's, which take turns with them.
- **control**: it drives a simulator identified from the real trials about as well as its parent does. This one is made where
  bundles can be driven (``forerun.training.control_check``).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from forerun_models.bundle import Bundle
from forerun_models.bundle.timing import in_turns
from forerun_models.dynamics.model import WorldModel
from forerun_models.evaluation.kstep import STEPS, Cuts, cut, errors, rmse
from forerun_models.export.uncertainty import imagination
from forerun_models.planners.trajectory.feedback import NoTrajectory
from forerun_models.recipe import Finetuning
from forerun_models.uncertainty.calibrate import calibrate, held_out_forecast
from forerun_sim.trial import Trial

LEVEL = 0.9
"""Probability of the intervals whose coverage is checked."""
_PLANS = 100
_FEW = 20
"""Windows of whose coverage nothing can be said."""
_SLOWER = 1.25
"""How many times as long as its parent's a candidate's slowest plans may take where neither fits into the period."""


@dataclass(frozen=True)
class Check:
    """One row of a verdict: passed where ``low <= figure <= high``; ``text`` says what was measured.

    With a figure of nan nobody could judge, which ``text`` explains; that stands in nobody's way.
    """

    name: str
    figure: float
    low: float
    high: float
    passed: bool
    text: str

    @property
    def outcome(self) -> str:
        """In words."""
        if self.passed:
            return "not judged" if math.isnan(self.figure) else "passed"
        return "failed"


@dataclass(frozen=True)
class Errors:
    """Of one model on one set of windows: ``mean`` over the steps of the normalised RMSE, ``kstep`` is RMSE_k."""

    mean: float
    kstep: dict[int, float]
    windows: int


def check(name: str, figure: float, low: float, high: float, text: str) -> Check:
    """A row; a figure that is not finite does not pass."""
    return Check(name, figure, low, high, bool(math.isfinite(figure) and low <= figure <= high), text)


def prediction(model: WorldModel, trials: Sequence[Trial], horizon: int, std: Any) -> Errors:
    """Errors of ``model`` on ``trials`` up to ``horizon`` steps (fewer where no trial is longer), in ``std`` [S].

    Raises:
        InputError: no trial has two rows.
    """
    cuts = windows(trials, model.features.history, horizon)
    squared = errors(lambda states, past, actions: predict(model, states, past, actions), cuts, std)
    return Errors(float(np.sqrt(squared.mean(axis=(0, 2))).mean()), rmse(squared, STEPS), len(cuts))


def windows(trials: Sequence[Trial], history: int, horizon: int) -> Cuts:
    """Windows of ``horizon`` steps, or as many as the longest trial has."""
    return cut(trials, history, horizon=min(horizon, max(len(trial) for trial in trials) - 1))


def better(settings: Finetuning, before: Errors, after: Errors, judges: int) -> Check:
    """The check **real**."""
    limit = settings.promote_below * before.mean
    text = (
        f"{after.mean:.4g} against the parent's {before.mean:.4g} on {judges} held-out trial(s), {after.windows} windows; "
        f"below {settings.promote_below:g} times the parent's error is asked for"
    )
    # Exactly the limit is not below it.
    return check("real", after.mean, 0.0, math.nextafter(limit, 0.0), text)


def remembers(settings: Finetuning, name: str, before: Errors, after: Errors, on_the_robot: float) -> Check:
    """The checks **replay** and **earlier**; ``on_the_robot`` is the parent's error on the real trials."""
    limit = max(settings.forget_below * before.mean, on_the_robot)
    text = (
        f"{after.mean:.4g} on {name} trials kept apart, the parent's {before.mean:.4g}, {after.windows} windows; at most "
        f"{limit:.4g} is allowed: {settings.forget_below:g} times the parent's error, or its error on the robot"
    )
    return check(name, after.mean, 0.0, limit, text)


def calibrated(settings: Finetuning, model: WorldModel, stop: Sequence[Trial], judge: Sequence[Trial], horizon: int) -> Check:
    """The check **calibration**; passed, with a word, where there are too few windows to tell."""
    low, high = settings.coverage
    imagine, history = imagination(model), model.features.history
    reach = min(horizon, *(max(len(trial) for trial in part) - 1 for part in (stop, judge)))
    fitted, fitted_on = held_out_forecast(imagine, stop, history, reach)
    factors = calibrate(fitted_on, fitted.future, fitted.trial)
    cuts, forecast = held_out_forecast(imagine, judge, history, reach)
    if factors is None or len(cuts) < _FEW:
        return Check("calibration", math.nan, low, high, True, "too few windows to tell")
    forecast = forecast.calibrated(factors)
    z = np.abs(forecast.mean.astype(np.float64) - cuts.future) / np.sqrt(np.maximum(forecast.variance, 1e-18))
    share = float((z <= factors.width(LEVEL, reach)).mean())
    text = f"intervals for {LEVEL:.0%} hold {share:.1%} of {len(cuts)} windows of {reach} steps; {low:.0%} to {high:.0%} may be"
    return check("calibration", share, low, high, text)


def plans(missing: NoTrajectory) -> Check:
    """The check **plan** of a candidate in whose model nothing leads to the target."""
    return check("plan", 0.0, 1.0, 1.0, str(missing))


def in_time(settings: Finetuning, bundle: Bundle, parent: Bundle) -> Check:
    """The check **latency** of a bundle with an agent: its slowest plans fit into the period, or are no slower than those of its
    ``parent`` in the same moments, where a busy machine slows both; half of its plans fit in any case."""
    timed = [bundle, parent] if parent.has_agent else [bundle]
    seconds = in_turns(timed, _PLANS, time.thread_time)
    usual, slowest = float(np.median(seconds[0])), np.quantile(seconds, 0.99, axis=1)
    limit = settings.latency * bundle.manifest.period
    allowed = max(limit, _SLOWER * float(slowest[-1])) if parent.has_agent and usual <= limit else limit
    theirs = f", of its parent's in the same moments {1e3 * slowest[1]:.3g} ms" if parent.has_agent else ""
    text = (
        f"99 of 100 plans took at most {1e3 * slowest[0]:.3g} ms of processor time{theirs}, half of them {1e3 * usual:.3g} ms; "
        f"{1e3 * allowed:.3g} ms are allowed for 99 of 100, {1e3 * limit:.3g} ms for half"
    )
    return check("latency", float(slowest[0]), 0.0, allowed, text)


@torch.no_grad()
def predict(model: WorldModel, past_states: Any, past_actions: Any, actions: Any) -> Any:
    """The elites' mean, as ``Bundle.rollout`` computes it."""
    states, given, future = (torch.as_tensor(array) for array in (past_states, past_actions, actions))
    wide = [array.expand(model.members, *array.shape).unbind(2) for array in (states, given, future)]
    if model.memory_sizes:
        return torch.stack(model.rollout(*wide))[:, model.elites].mean(dim=1).transpose(0, 1).numpy()
    window, commands, predicted = list(wide[0]), list(wide[1]), []
    for action in wide[2]:
        commands = [*commands, action]
        mean = model.step(window, commands)[0][model.elites].mean(dim=0)
        window, commands = [*window[1:], mean.expand(model.members, *mean.shape)], commands[1:]
        predicted.append(mean)
    return torch.stack(predicted, dim=1).numpy()
