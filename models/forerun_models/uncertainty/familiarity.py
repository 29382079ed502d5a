"""Is this robot, here and now, the one that the model knows? Three signs, each against what was usual on held-out trials.

- **Disagreement** along the plan tells states that the model does not know: it looks ahead.
- **Distance** along the plan from the states that the model learned from (``Ground``) tells where it never was: members that
  share one physics hardly disagree there.
- **Surprise** tells a robot that the model does not know (another payload, another design): members may agree and all be wrong.
  It looks back: how likely was what came, under the forecast of a horizon ago? A robot that stands still says little, so windows
  count by how far it moved, and the evidence of some seconds is taken together.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forerun_models.bundle import Forecast

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SECONDS = 5.0
"""Of evidence that surprise takes together."""
MOVED = 0.2
"""Standard deviations of the state within a window from which on it counts in full."""
QUANTILE = 0.99
"""Share of held-out windows that lie below the thresholds."""
FAR = 4.0
"""Times its threshold from which on a disagreement alone says that a state is not known."""
_FINE = 1e-3
"""Standard deviations of the state: smaller errors are rounding, and no surprise however exact the forecast was said to be."""
_PRIOR = 0.05
"""Share of ``SECONDS`` in full motion that weighs as much as what is believed of a robot that has not shown anything: without it
a robot at rest would be judged by rounding, and one that has just begun to move by its first steps."""
USUAL = -0.5
"""That belief: most forecasts come true a little better than told, as the told variances are made for the worst ones too."""


def surprise(forecast: Forecast, future: ArrayLike, state_std: ArrayLike, horizon: int) -> tuple[Floats, Floats]:
    """How much worse than usual forecasts came true.

    Args:
        forecast: of N windows, its variances calibrated where the bundle knows how.
        future: [N, H, S] what came.
        state_std: [S] of the training states.
        horizon: steps to look at, at most H.

    Returns:
        Logarithm of the mean square of the standardised errors [N] (0 where errors are as large as told), and weights [N].
    """
    came = np.asarray(future, np.float64)[:, :horizon]
    scale = np.asarray(state_std, np.float64)
    squared = (forecast.mean[:, :horizon] - came) ** 2 / (forecast.variance[:, :horizon] + (_FINE * scale) ** 2)
    moved = (came.std(axis=1) / scale).mean(axis=1)
    return np.log(np.maximum(squared.mean(axis=(1, 2)), 1e-9)), np.minimum(moved / MOVED, 1.0)


def evidence(values: Floats, weights: Floats, trial: Ints, row: Ints, rows: int) -> Floats:
    """Weighted means [N] of ``values`` [N] over the last ``rows`` rows of the same trial, and of what is believed before.

    Args:
        values, weights: [N] of ``surprise``.
        trial, row: [N] where each window begins (``Cuts.trial``, ``Cuts.row``), in order.
        rows: how far to look back.
    """
    told = np.empty(len(values))
    for number in np.unique(trial):
        (own,) = np.nonzero(trial == number)
        apart = float(np.median(np.diff(row[own]))) if len(own) > 1 else float(rows)
        first = np.searchsorted(row[own], row[own] - rows, side="right")
        sums, total = (np.append(0.0, np.cumsum(part)) for part in ((values[own] - USUAL) * weights[own], weights[own]))
        last = np.arange(1, len(own) + 1)
        told[own] = USUAL + (sums[last] - sums[first]) / (total[last] - total[first] + _PRIOR * rows / max(apart, 1.0))
    return told


def unfamiliarity(
    disagreements: ArrayLike, surprises: ArrayLike, thresholds: Mapping[str, float], distances: ArrayLike | None = None
) -> Floats:
    """One score [N] of all signs: above 0 where one of them is out of the ordinary.

    All are compared as logarithms of squares. A disagreement counts from ``FAR`` times its threshold on: what is usual differs
    more between trials than within them, and a state that is not known is told by far more. A distance says nothing at all up to
    its threshold, which trials that were left out seldom pass; within it data are only more or less dense.

    Args:
        disagreements: [N] mean over the plan.
        surprises: [N] ``evidence`` so far; -inf where there is none.
        thresholds: ``disagreement``, ``surprise`` and ``distance``, as a bundle's manifest has them.
        distances: [N] largest of the plan; absent for bundles that do not know where their model has been.
    """
    # Members that are all the same never disagree: a floor keeps that from being a division by zero.
    ahead = np.maximum(np.asarray(disagreements, np.float64), 1e-12)
    usual = max(thresholds["disagreement"], 1e-12)
    known = np.maximum(2.0 * np.log(ahead / (FAR * usual)), np.asarray(surprises, np.float64) - thresholds["surprise"])
    if distances is None:
        return known
    ratio = np.asarray(distances, np.float64) / max(thresholds["distance"], 1e-12)
    return np.maximum(known, np.where(ratio > 1.0, 2.0 * np.log(np.maximum(ratio, 1.0)), -np.inf))


def auroc(familiar: ArrayLike, unfamiliar: ArrayLike) -> float:
    """Probability that an unfamiliar score [M] exceeds a familiar one [N] (area under the ROC curve); ties count half."""
    low, high = np.sort(np.asarray(familiar, np.float64)), np.asarray(unfamiliar, np.float64)
    below = np.searchsorted(low, high, side="left") + np.searchsorted(low, high, side="right")
    return float(below.mean() / (2 * len(low)))
