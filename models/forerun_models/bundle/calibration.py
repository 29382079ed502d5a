"""How far a bundle's variances are to be believed: factors per step and dimension, fitted on held-out trials.

A model's own variance says how much one step scatters, and its members' spread how much is not known; what becomes of both in
open loop over many steps is measured, not derived. ``forerun_models.uncertainty.calibrate`` fits what is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Calibration:
    """Factors at some numbers of steps, read in between along the logarithm of the step.

    Attributes:
        steps: [M] rising, from 1 on; the last one's values hold beyond it.
        aleatoric, epistemic: [M, S] factors on the two variances.
        levels: [L] rising, within (0, 1): probabilities.
        quantiles: [M, S, L] standard deviations that hold the error with each probability (a Gaussian's: 1.645 for 0.9).
        trials: how many held-out trials it was fitted on.
    """

    steps: NDArray[np.int64]
    aleatoric: Floats
    epistemic: Floats
    levels: Floats
    quantiles: Floats
    trials: int

    def variances(self, aleatoric: ArrayLike, epistemic: ArrayLike) -> tuple[Floats, Floats]:
        """Calibrated variances of steps 1..H from raw ones, [..., H, S] each."""
        raw, spread = np.asarray(aleatoric, np.float64), np.asarray(epistemic, np.float64)
        horizon = raw.shape[-2]
        return raw * self._along(self.aleatoric, horizon), spread * self._along(self.epistemic, horizon)

    def width(self, level: float, horizon: int) -> Floats:
        """Half width [H, S] in standard deviations of the interval that holds the truth with probability ``level``."""
        at = self._along(self.quantiles, horizon)
        known = np.append(0.0, self.levels)
        return np.array([[float(_interpolated(level, known, np.append(0.0, row))) for row in step] for step in at])

    def probability(self, errors: ArrayLike) -> Floats:
        """Probability integral transform of standardised errors [..., H, S]: uniform in [0, 1] where all is calibrated."""
        z = np.asarray(errors, np.float64)
        inside, known = np.empty_like(z), np.append(0.0, self.levels)
        for step, rows in enumerate(self._along(self.quantiles, z.shape[-2])):
            for column, row in enumerate(rows):
                inside[..., step, column] = _interpolated(np.abs(z[..., step, column]), np.append(0.0, row), known)
        return np.asarray(0.5 + 0.5 * np.sign(z) * np.clip(inside, 0.0, 1.0))

    def _along(self, factors: Floats, horizon: int) -> Floats:
        """[H, ...] of factors [M, ...]."""
        at = np.log(np.arange(1, horizon + 1))
        logs = np.log(np.maximum(factors.reshape(len(factors), -1), 1e-300))
        columns = [np.interp(at, np.log(self.steps), column) for column in logs.T]
        return np.asarray(np.exp(np.stack(columns, axis=1)).reshape(horizon, *factors.shape[1:]))

    def as_data(self) -> dict[str, Any]:
        """JSON values."""
        arrays = {name: np.round(getattr(self, name), 6).tolist() for name in ("aleatoric", "epistemic", "levels", "quantiles")}
        return {"steps": self.steps.tolist(), **arrays, "trials": self.trials}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], state_size: int) -> Calibration:
        """The counterpart of ``as_data``.

        Raises:
            KeyError: a key is missing.
            ValueError: shapes do not fit, or values are no factors.
        """
        steps = np.asarray(data["steps"], np.int64)
        aleatoric, epistemic, levels, quantiles = (
            np.asarray(data[name], np.float64) for name in ("aleatoric", "epistemic", "levels", "quantiles")
        )
        shape = (len(steps), state_size)
        shaped = aleatoric.shape == epistemic.shape == shape and quantiles.shape == (*shape, len(levels))
        rising = bool((np.diff(steps) > 0).all() and (np.diff(levels) > 0).all() and (np.diff(quantiles) >= 0).all())
        if not (len(steps) and len(levels) and shaped and rising and steps[0] >= 1 and levels[0] > 0 and levels[-1] < 1):
            raise ValueError("calibration: steps, levels and factors do not fit together")
        if not all(np.isfinite(array).all() and (array >= 0).all() for array in (aleatoric, epistemic, quantiles)):
            raise ValueError("calibration: factors must be finite and not negative")
        return cls(steps, aleatoric, epistemic, levels, quantiles, int(data["trials"]))


def _interpolated(at: Any, x: Floats, y: Floats) -> Any:
    """Linear interpolation, carried on beyond the last point with the slope of the last piece."""
    inside = np.interp(at, x, y)
    slope = (y[-1] - y[-2]) / max(float(x[-1] - x[-2]), 1e-12)
    return inside + slope * np.maximum(np.asarray(at) - x[-1], 0.0)
