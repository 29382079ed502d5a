"""Where a bundle's model has been: some states of its training data, spread so that none of the others is far from all of them.

How far a state is from the nearest of them tells whether the model learned anything there, whatever its members say: members
that share one physics may agree beyond all data. ``forerun_models.uncertainty.ground`` chooses what is read here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Ground:
    """Points among what a model sees of a state, angles as sine and cosine and the rest in spreads of the training data.

    Attributes:
        angles: [S, n] sums of the state's numbers that enter as sine and cosine.
        scale: [S] spread of the training states; 0 for numbers that enter as angles alone.
        points: [P, 2 n + S] of training states, by ``place``.
    """

    angles: Floats
    scale: Floats
    points: Floats

    def place(self, states: ArrayLike) -> Floats:
        """Where ``states`` [..., S] are [..., 2 n + S]."""
        at = np.asarray(states, np.float64)
        angle = at @ self.angles
        scaled = np.divide(at, self.scale, out=np.zeros_like(at), where=self.scale > 0)
        return np.concatenate([np.sin(angle), np.cos(angle), scaled], axis=-1)

    def distance(self, states: ArrayLike) -> Floats:
        """[...] from each of ``states`` [..., S] to the nearest point; what is not finite is infinitely far."""
        raw = np.asarray(states, np.float64)
        finite = np.asarray(np.isfinite(raw).all(axis=-1))
        at = self.place(np.where(finite[..., None], raw, 0.0))
        squared = (at**2).sum(axis=-1)[..., None] - 2.0 * at @ self.points.T + (self.points**2).sum(axis=-1)
        return np.asarray(np.where(finite, np.sqrt(np.maximum(squared.min(axis=-1), 0.0)), np.inf))

    def as_data(self) -> dict[str, Any]:
        """JSON values."""
        return {name: np.round(getattr(self, name), 4).tolist() for name in ("angles", "scale", "points")}

    @classmethod
    def from_data(cls, data: Mapping[str, Any], state_size: int) -> Ground:
        """The counterpart of ``as_data``.

        Raises:
            KeyError: a key is missing.
            ValueError: shapes do not fit, or values are no numbers.
        """
        scale, points = (np.asarray(data[name], np.float64) for name in ("scale", "points"))
        angles = np.asarray(data["angles"], np.float64).reshape(state_size, -1)
        fits = scale.shape == (state_size,) and points.ndim == 2 and points.shape[1] == 2 * angles.shape[1] + state_size
        if not (fits and len(points)):
            raise ValueError("ground: angles, scale and points do not fit together")
        if not all(np.isfinite(array).all() for array in (angles, scale, points)) or (scale < 0).any():
            raise ValueError("ground: values must be finite, and spreads not negative")
        return cls(angles, scale, points)
