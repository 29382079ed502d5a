"""Predictions with their uncertainty: what each member expects, and how much of the spread is noise and how much ignorance."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle.calibration import Calibration

Tensor = NDArray[np.float32]
Predict = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""``Bundle.predict``: history [N, K, S+A], action [N, A] -> mean and log-variance per member [E, N, S], next history."""

Step = Callable[[Tensor, Tensor], tuple[Tensor, Tensor, Tensor]]
"""A history [N, K, S+A] or the members' memory, and an action [N, A] -> mean and log-variance per member [E, N, S], memory."""

_LARGEST = 60.0
"""Of a log-variance: more would overflow."""


@dataclass(frozen=True)
class Forecast:
    """Open-loop predictions of N windows over H steps, SI units.

    Attributes:
        mean: [N, H, S] the elites' mean, as ``Bundle.rollout`` gives it.
        members: [E, N, H, S] each member's own trajectory.
        aleatoric: [N, H, S] variance by the noise of the steps so far.
        epistemic: [N, H, S] variance by what is not known: the spread of the members.
        calibration: what the variances were multiplied by; None: they are the model's own.
    """

    mean: Tensor
    members: Tensor
    aleatoric: NDArray[np.float64]
    epistemic: NDArray[np.float64]
    calibration: Calibration | None = None

    @property
    def variance(self) -> NDArray[np.float64]:
        """[N, H, S] of both."""
        return self.aleatoric + self.epistemic

    def calibrated(self, calibration: Calibration) -> Forecast:
        """The same with variances as held-out trials had them; of a raw forecast."""
        aleatoric, epistemic = calibration.variances(self.aleatoric, self.epistemic)
        return replace(self, aleatoric=aleatoric, epistemic=epistemic, calibration=calibration)


def unroll(predict: Predict, history: Tensor, actions: Tensor, state_size: int) -> Forecast:
    """The raw forecast from ``history`` [N, K, S+A] under ``actions`` [N, H, A].

    Each member goes on from its own prediction (trajectory sampling with members that stay, Chua et al. 2018), the mean from the
    elites' mean. The noise of the steps adds up as in a random walk; calibration sets that right per step and dimension.
    """
    count, horizon = actions.shape[:2]
    members = len(predict(history[:1], actions[:1, 0])[0])
    lanes = members + 1
    window = np.tile(history, (lanes, 1, 1))
    imagined = np.empty((lanes, count, horizon, state_size), np.float32)
    noise = np.zeros((count, horizon, state_size))
    own = np.arange(members)
    for step in range(horizon):
        mean, log_variance, following = predict(window, np.tile(actions[:, step], (lanes, 1)))
        by_lane = mean.reshape(members, lanes, count, state_size)[own, own]
        # A runtime's outputs may not be written to.
        window = np.array(following)
        window[: members * count, -1, :state_size] = by_lane.reshape(members * count, state_size)
        imagined[:members, :, step] = by_lane
        imagined[members, :, step] = window[members * count :, -1, :state_size]
        variance = np.exp(
            np.minimum(log_variance.reshape(members, lanes, count, state_size)[own, own], _LARGEST), dtype=np.float64
        )
        noise[:, step] = variance.mean(axis=0)
    spread = imagined[:members].astype(np.float64).var(axis=0)
    return Forecast(imagined[members], imagined[:members], noise.cumsum(axis=1), spread)


def follow(begin: Step, advance: Step, history: Tensor, actions: Tensor) -> Forecast:
    """As ``unroll``, for models whose members remember more than a window: each goes on from its own memory, and the mean is that
    of the members' trajectories."""
    means, variances = [], []
    step, before = begin, history
    for action in actions.swapaxes(0, 1):
        mean, log_variance, before = step(before, action)
        step = advance
        means.append(mean)
        variances.append(np.exp(np.minimum(log_variance, _LARGEST), dtype=np.float64).mean(axis=0))
    members = np.stack(means, axis=2)
    spread = members.astype(np.float64).var(axis=0)
    return Forecast(members.mean(axis=0), members, np.stack(variances, axis=1).cumsum(axis=1), spread)


def as_history(states: Tensor, past: Tensor, future: Tensor, length: int) -> Tensor:
    """[N, ``length``, S+A] of states [N, K, S], the actions between them [N, K-1, A] and those to come [N, H, A].

    The newest rows, or the first row repeated in front.
    """
    # The command under way in the newest row is the last one given; with no past at all, the one to come.
    under_way = past[:, -1:] if past.shape[1] else future[:, :1]
    rows = np.concatenate([states, np.concatenate([past, under_way], axis=1)], axis=2)[:, -length:]
    padding = np.repeat(rows[:, :1], length - rows.shape[1], axis=1)
    return np.concatenate([padding, rows], axis=1)
