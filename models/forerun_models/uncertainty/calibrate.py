"""Post-hoc recalibration: factors on both variances, then the shape of the errors' tails.

Per step and dimension the variance is modelled as a * aleatoric + b * epistemic with a, b >= 0 of greatest Gaussian likelihood
(Levi et al. 2022 scale one variance; two factors keep the split). That likelihood is the Itakura-Saito divergence between squared
errors and variances, so the multiplicative updates of Fevotte et al. (2009) find it. What a Gaussian cannot say, the quantiles of
the standardised errors do (Kuleshov et al. 2018). They are taken from trials whose factors were fitted on other trials, because
the next trial will be as unknown as each of these was.

Trials differ more than windows do, and few are held out: what intervals hold on the next trial is a matter of which ones these
were. So trials that the model learned from count too, with errors larger by as much as those on held-out trials are larger than
theirs, as far as that is more than chance between trials.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle import Calibration, Forecast
from forerun_models.bundle.forecast import as_history
from forerun_models.evaluation.kstep import Cuts, cut
from forerun_sim.trial import Trial

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

LEVELS = (0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99)
STEPS = (1, 2, 3, 5, 7, 10, 15, 25, 35, 50)
WINDOWS = 1500
"""At most so many windows: neighbouring ones tell the same."""
_UPDATES = 150
_FOLDS = 5
_TRIALS = 4
"""Of both kinds, that tell by how much they differ."""
_ERRORS = 10
"""Windows for each level: of fewer, a quantile says nothing."""


def held_out_forecast(
    imagine: Callable[[Array, Array], Forecast],
    trials: Sequence[Trial],
    history: int,
    horizon: int,
    windows: int = WINDOWS,
) -> tuple[Cuts, Forecast]:
    """Windows of ``trials``, evenly spread, and what ``imagine`` makes of them: of histories [N, K, S+A] and actions [N, H, A] a
    raw forecast.

    Raises:
        InputError: no trial is long enough for one window.
    """
    rows = sum(max(0, len(trial) - horizon) for trial in trials)
    cuts = cut(trials, history, horizon=horizon, stride=max(1, -(-rows // windows)))
    rows_before = as_history(cuts.past_states, cuts.past_actions, cuts.actions, history)
    return cuts, imagine(rows_before, cuts.actions)


def calibrate(
    forecast: Forecast, future: NDArray[np.float32], trial: NDArray[np.int64], learned: NDArray[np.bool_] | None = None
) -> Calibration | None:
    """Fits the factors.

    Args:
        forecast: raw, of windows.
        future: [N, H, S] what came.
        trial: [N] number of each window's trial.
        learned: [N] whether the model learned from it; absent: from none.

    Returns:
        None where there are too few windows to tell.
    """
    if len(future) < _ERRORS * len(LEVELS):
        return None
    horizon = future.shape[1]
    steps = np.array(sorted({*(k for k in STEPS if k <= horizon), horizon}))
    at = steps - 1
    squared = (future[:, at].astype(np.float64) - forecast.mean[:, at]) ** 2
    # Where a dimension never moves the error is 0: a floor keeps its factor finite and its share of no account.
    squared = np.maximum(squared, 1e-12 * np.maximum(squared.mean(axis=0), 1e-12))
    aleatoric, epistemic = (np.maximum(part[:, at], 1e-18) for part in (forecast.aleatoric, forecast.epistemic))
    a, b = factors(squared, aleatoric, epistemic)
    if learned is not None and learned.any():
        squared[learned] *= grown(squared / (a * aleatoric + b * epistemic), trial, learned)[:, None]
        a, b = factors(squared, aleatoric, epistemic)
    numbers = np.unique(trial)
    z = np.empty_like(squared)
    for fold in range(min(_FOLDS, len(numbers))):
        judged = np.isin(trial, numbers[fold::_FOLDS])
        fitted = ~judged if len(numbers) > 1 else judged
        own = factors(squared[fitted], aleatoric[fitted], epistemic[fitted])
        z[judged] = np.sqrt(squared[judged] / (own[0] * aleatoric[judged] + own[1] * epistemic[judged]))
    quantiles = np.moveaxis(np.quantile(z, LEVELS, axis=0), 0, -1)
    return Calibration(steps, a, b, np.array(LEVELS), quantiles, len(numbers))


def tells(held_out: int, learned: int) -> bool:
    """Whether so many trials of both kinds tell by how much they differ."""
    return min(held_out, learned) >= 1 and held_out + learned >= _TRIALS


def grown(squared: Floats, trial: NDArray[np.int64], learned: NDArray[np.bool_]) -> Floats:
    """[M] by how much standardised squared errors [N, M, S] of held-out trials are larger than those of ``learned`` ones; 1
    where trials of a kind differ as much (the positive part of James and Stein's estimate). For trials that tell (``tells``)."""
    groups = [np.unique(trial[part]) for part in (~learned, learned)]
    # A trial is told by its usual error: a wild one would say nothing of the others.
    held, own = (np.log([np.median(squared[trial == number], axis=(0, 2)) for number in group]) for group in groups)
    scatter = sum(((part - part.mean(axis=0)) ** 2).sum(axis=0) for part in (held, own)) / (len(held) + len(own) - 2)
    growth = held.mean(axis=0) - own.mean(axis=0)
    by_chance = scatter * (1.0 / len(held) + 1.0 / len(own))
    sure = np.maximum(0.0, 1.0 - by_chance / np.maximum(growth**2, 1e-12))
    return np.asarray(np.exp(np.maximum(growth, 0.0) * sure))


def factors(squared: Floats, aleatoric: Floats, epistemic: Floats) -> tuple[Floats, Floats]:
    """a, b [...] of greatest likelihood for squared errors [N, ...] of variance a * aleatoric + b * epistemic."""
    halves = 0.5 * (squared / aleatoric).mean(axis=0), 0.5 * (squared / epistemic).mean(axis=0)
    a, b = (np.minimum(half, 1e12) for half in halves)
    for _ in range(_UPDATES):
        variance = a * aleatoric + b * epistemic
        weight, inverse = squared / variance**2, 1.0 / variance
        a = a * np.sqrt((aleatoric * weight).sum(axis=0) / (aleatoric * inverse).sum(axis=0))
        b = b * np.sqrt((epistemic * weight).sum(axis=0) / (epistemic * inverse).sum(axis=0))
    return a, b
