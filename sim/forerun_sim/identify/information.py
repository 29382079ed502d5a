"""What data can tell of parameters: Fisher information from sensitivities, and which combinations it leaves open.

Coordinates are those of ``Unknown``, -1 to 1 over the range in which a parameter is sought. Without data each of them is known as
well as a number drawn from that range.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
RANGE_PRECISION = 3.0
"""1 / variance of a number that is uniform between -1 and 1: what is known before there are data."""
ENOUGH = 0.45
"""Standard deviation, in coordinates, up to which the data are said to tell a parameter."""
_LEAST_ERROR = 1e-3
"""Errors below this share of the states' spread are rounding of the simulation, not knowledge."""
_NOTHING = 1e-4
"""Precision that no data at all count as, so that there is an inverse."""
_PART = 0.3
"""Weight from which a parameter counts as part of a combination."""
_FEW = 4
"""Trials from which on they, rather than their segments, are what is independent."""
_TAIL = 2.0
"""Root mean square error of a segment, in spreads of the states, from which on it counts less and less."""


@dataclass(frozen=True)
class Left:
    """A parameter that the data do not tell. ``partners``: with which others it can be exchanged; none if it hardly acts."""

    name: str
    partners: tuple[str, ...]
    deviation: float


@dataclass(frozen=True)
class Knowledge:
    """What data tell of the parameters ``names`` [P].

    Attributes:
        names: the parameters.
        information: Fisher information [P, P] of the data, in coordinates, the errors' own spread in it.
        effect: how much the errors change (root mean square, in spreads of the states) over half the range of each [P].
        singular: singular values [P] of the sensitivities, falling; ``directions`` [P, P] are the combinations, by rows.
        open: parameters that the data do not tell, in the order in which they were given up.
        noise: variance by which the sensitivities' products were divided.
        scatter: products [P, P] of the pulls of independent groups on the parameters, in the units of ``information``: the same
            as that where the errors are as the information takes them to be.
        groups: how many independent groups there were.
    """

    names: tuple[str, ...]
    information: Array
    effect: Array
    singular: Array
    directions: Array
    open: tuple[Left, ...]
    noise: float
    scatter: Array
    groups: int

    @property
    def told(self) -> tuple[int, ...]:
        """Places of the parameters that the data tell, with the others held where they are."""
        left = {item.name for item in self.open}
        return tuple(place for place, name in enumerate(self.names) if name not in left)

    def covariance(self, places: Sequence[int]) -> Array:
        """Covariance [n, n] of the parameters at ``places``, the others held: the sandwich of White (1980), by groups."""
        before = RANGE_PRECISION * np.eye(len(places))
        bread = np.linalg.inv(self.information[np.ix_(places, places)] + before)
        return np.asarray(bread @ (self.scatter[np.ix_(places, places)] + before) @ bread)

    @property
    def quantile(self) -> float:
        """Half of a 95 % interval, in standard deviations: Student's t, as these come from no more than ``groups`` groups."""
        z, free = 1.959964, max(self.groups - 1, 1)
        first, second = (z**3 + z) / 4, (5 * z**5 + 16 * z**3 + 3 * z) / 96
        third = (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384
        return float(z + first / free + second / free**2 + third / free**3)

    @property
    def correlation(self) -> Array:
        """Correlations [P, P] of all parameters, none held."""
        full = self.covariance(range(len(self.names)))
        scale = 1.0 / np.sqrt(np.diag(full))
        return np.asarray(full * scale[:, None] * scale[None, :])


def segment_weights(residuals: Array) -> Array:
    """How much each segment counts [N], given its residuals [N, ...]: a few that diverge must not decide."""
    return np.asarray(1.0 / (1.0 + _squares(residuals) / _TAIL**2))


def loss(residuals: Array) -> float:
    """One number for residuals [N, ...]: the mean square, logarithmic in segments that diverge."""
    return float((_TAIL**2 * np.log1p(_squares(residuals) / _TAIL**2)).mean())


def _squares(residuals: Array) -> Array:
    return np.asarray((residuals**2).reshape(len(residuals), -1).mean(axis=1))


def step_to_fit(sensitivities: Array, residuals: Array, damping: float = 0.0, room: tuple[Array, Array] | None = None) -> Array:
    """The step [P] in coordinates that fits best where the sensitivities [N, ..., P] hold (Gauss and Newton), no component beyond
    ``room``, the least and the most [P] that each may change."""
    squares, pull = _sums(sensitivities, residuals, segment_weights(residuals))
    scale = max(float(np.trace(squares)) / len(squares), 1e-12)
    matrix, slope = squares + (1e-6 + damping) * scale * np.eye(len(squares)), pull.sum(axis=0)
    step: Array = -np.linalg.solve(matrix, slope)
    if room is None:
        return step
    free = np.ones(len(step), dtype=bool)
    while (beyond := free & ((step < room[0]) | (step > room[1]))).any():
        # What would leave its range stays at its end, and the others make the best of it.
        free &= ~beyond
        step = np.clip(step, *room)
        step[free] = -np.linalg.solve(matrix[np.ix_(free, free)], slope[free] + matrix[np.ix_(free, ~free)] @ step[~free])
    return step


def _sums(sensitivities: Array, residuals: Array, weights: Array) -> tuple[Array, Array]:
    """Products of the sensitivities [P, P], and each segment's pull on the parameters [N, P]."""
    flat = sensitivities.reshape(len(residuals), -1, sensitivities.shape[-1])
    squares = np.tensordot(flat * weights[:, None, None], flat, axes=((0, 1), (0, 1)))
    pull = weights[:, None] * np.einsum("nmp,nm->np", flat, residuals.reshape(len(residuals), -1))
    return squares, pull


def knowledge(names: Sequence[str], sensitivities: Array, residuals: Array, groups: NDArray[np.int64]) -> Knowledge:
    """What segments tell, given sensitivities [N, ..., P] and residuals [N, ...] in spreads of the states.

    The errors within a trial (a segment, where there are hardly any trials) are no independent ones: their spread is taken from
    how much the ``groups`` [N] disagree about the parameters, after the best fit that the sensitivities promise. Few groups say
    little of P directions each, so what they say of each is drawn towards their mean, by P to their number.
    """
    weights = segment_weights(residuals)
    squares, _ = _sums(sensitivities, residuals, weights)
    promised = residuals + sensitivities @ np.clip(step_to_fit(sensitivities, residuals), -2.0, 2.0)
    _, pull = _sums(sensitivities, promised, weights)
    several = groups if len(np.unique(groups)) >= _FEW else np.arange(len(groups))
    summed = np.array([pull[several == group].sum(axis=0) for group in np.unique(several)])
    values, vectors = np.linalg.eigh(squares)
    kept = values > 1e-8 * max(float(values[-1]), 1e-300)
    turned = summed @ vectors[:, kept]
    noise = float(((turned**2).sum(axis=0) / values[kept]).mean()) if kept.any() else 1.0
    noise = max(noise, _LEAST_ERROR**2)
    information = squares / noise
    count, size = len(summed), len(names)
    shrunk = (count * summed.T @ summed / noise**2 + size * information) / (count + size)
    scatter = shrunk * count / max(count - 1, 1)
    order = np.argsort(values)[::-1]
    effect = np.sqrt((sensitivities**2).reshape(-1, len(names)).mean(axis=0))
    singular = np.sqrt(np.maximum(values[order], 0.0))
    left = _open(tuple(names), information)
    return Knowledge(tuple(names), information, effect, singular, vectors[:, order].T, left, noise, scatter, count)


def _open(names: tuple[str, ...], information: Array) -> tuple[Left, ...]:
    """Gives up parameters one by one, the one that weighs most in the least known combination, until the rest is told."""
    places = list(range(len(names)))
    left: list[Left] = []
    while places:
        chosen = information[np.ix_(places, places)]
        # The ranges must not count here: together they would seem to tell a combination that no data tell.
        deviations = np.sqrt(np.diag(np.linalg.inv(chosen + _NOTHING * np.eye(len(places)))))
        if deviations.max() <= ENOUGH:
            break
        weakest = np.abs(np.linalg.eigh(chosen)[1][:, 0])
        # Only what is not told may be given up, whatever else its combination holds.
        worst = int(np.argmax(np.where(deviations > ENOUGH, weakest, 0.0)))
        others = tuple(names[places[i]] for i in np.flatnonzero(weakest > _PART) if i != worst)
        left.append(Left(names[places[worst]], others, min(float(deviations[worst]), RANGE_PRECISION**-0.5)))
        del places[worst]
    return tuple(left)
