"""Intervals over trials: windows of one trial are no independent draws, whole trials nearly are (Efron and Tibshirani 1993)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DRAWS = 500
COVERAGE = 0.9


@dataclass(frozen=True)
class Estimate:
    """A figure and the interval that holds it in 90 of 100 draws of trials; nan where there is but one trial."""

    value: float
    low: float
    high: float


def root_mean(squared: Floats, trial: Ints, seed: int = 0) -> Estimate:
    """Root of the mean of ``squared`` [N] of windows of the trials ``trial`` [N]."""
    weights = _draws(trial, seed)
    sums, counts = (np.bincount(trial, values, minlength=weights.shape[1]) for values in (squared, np.ones(len(trial))))
    return _estimate(np.sqrt(squared.mean()), np.sqrt((weights @ sums) / (weights @ counts)), counts)


def median(values: Floats, trial: Ints, seed: int = 0) -> Estimate:
    """Median of ``values`` [N] of windows of the trials ``trial`` [N]."""
    order = np.argsort(values)
    weights = _draws(trial, seed)[:, trial[order]].cumsum(axis=1)
    middle = (weights < 0.5 * weights[:, -1:]).sum(axis=1)
    counts = np.bincount(trial)
    return _estimate(np.median(values), values[order][middle], counts)


def _draws(trial: Ints, seed: int) -> Floats:
    """[draws, trials] how often each trial is in a draw; trials without windows never are."""
    present = np.unique(trial)
    weights = np.zeros((DRAWS, int(trial.max()) + 1))
    weights[:, present] = np.random.default_rng(seed).multinomial(len(present), np.full(len(present), 1 / len(present)), DRAWS)
    return weights


def _estimate(value: float, drawn: Floats, counts: Floats | Ints) -> Estimate:
    if np.count_nonzero(counts) < 2:
        return Estimate(float(value), float("nan"), float("nan"))
    low, high = np.quantile(drawn, [(1 - COVERAGE) / 2, (1 + COVERAGE) / 2])
    return Estimate(float(value), float(low), float(high))
