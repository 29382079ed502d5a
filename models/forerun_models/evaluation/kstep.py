"""The k-step protocol: open-loop predictions from windows of unseen trials, errors in standard deviations of the state.

Windows of 50 steps start every 5 steps from row 0, all that fit. Errors per dimension are divided by the standard deviation of
the reference states; RMSE_k is the root of the mean over windows and dimensions at exactly step k. Angles are not wrapped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forerun_models.evaluation.predictors import Predictor
from forerun_sim.errors import InputError
from forerun_sim.trial import Trial

HORIZON = 50
STRIDE = 5
STEPS = (1, 5, 10, 25, 50)

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Cuts:
    """N windows: past_states [N, K, S], past_actions [N, K-1, A], actions [N, H, A], future [N, H, S]; number of the
    trial and of the row that a window begins at, [N] each."""

    past_states: Array
    past_actions: Array
    actions: Array
    future: Array
    trial: NDArray[np.int64]
    row: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.trial)


def cut(trials: Sequence[Trial], history: int, horizon: int = HORIZON, stride: int = STRIDE) -> Cuts:
    """All windows of ``trials``; rows before the start of a trial repeat its first row.

    Raises:
        InputError: no trial is long enough for one window.
    """
    pasts, past_actions, futures, actions, owners, rows = [], [], [], [], [], []
    for number, trial in enumerate(trials):
        starts = np.arange(0, len(trial) - horizon, stride)
        if not len(starts):
            continue
        past = np.maximum(starts[:, None] + np.arange(1 - history, 1), 0)
        ahead = starts[:, None] + np.arange(horizon)
        pasts.append(trial.states[past])
        past_actions.append(trial.actions[past[:, :-1]])
        actions.append(trial.actions[ahead])
        futures.append(trial.states[ahead + 1])
        owners.append(np.full(len(starts), number))
        rows.append(starts)
    if not owners:
        longest = max((len(trial) for trial in trials), default=0)
        raise InputError(f"no trial has the {horizon + 1} rows that a window of {horizon} steps needs (longest: {longest})")
    return Cuts(*(np.concatenate(parts) for parts in (pasts, past_actions, actions, futures, owners, rows)))


def errors(predict: Predictor, cuts: Cuts, std: ArrayLike) -> NDArray[np.float64]:
    """Normalised squared errors [N, H, S] of ``predict`` on ``cuts``; ``std`` [S] is the yardstick."""
    predicted = predict(cuts.past_states, cuts.past_actions, cuts.actions)
    difference = (predicted.astype(np.float64) - cuts.future) / np.asarray(std, np.float64)
    squared: NDArray[np.float64] = difference**2
    return squared


def rmse(squared: NDArray[np.float64], steps: Sequence[int] = STEPS) -> dict[int, float]:
    """RMSE_k for each k of ``steps`` that the windows reach."""
    return {k: float(np.sqrt(squared[:, k - 1].mean())) for k in steps if k <= squared.shape[1]}
