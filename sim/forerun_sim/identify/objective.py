"""What a search minimises: errors of training segments, whose starts are unknown too, and how they change with the parameters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forerun_sim.identify.information import Knowledge, knowledge, loss
from forerun_sim.identify.shooting import Around, Starts
from forerun_sim.identify.unknowns import Unknown, values_at
from forerun_sim.identify.work import Crew

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
DIFFERENCE = 0.01
"""Step in coordinates of the differences that sensitivities are made of."""
NEARBY = 1e-3
"""Step in spreads of the states of the differences by starts."""
_WORST = 10.0
"""An error is cut here, in spreads of the states: a simulation that exploded is as bad as that."""
_SETTLED = 2
"""Steps of Gauss and Newton by which the starts are found anew at other coordinates."""
_SAME = 0.02
"""Difference, in spreads of the states, up to which a simulation without the engine means the same as with it."""
_COMPARED = 12
_PIECE = 8192
"""Segments that are simulated before it is told how far they are, about."""
_BALANCE = (0.2, 20.0)
"""Weights of a state's errors, at least and at most."""


class Objective:
    """Errors of segments as functions of coordinates and starts.

    Args:
        crew: holds the training segments first.
        sought: the parameters.
        prior: where the training segments begin [N, S], as far as was measured, and how far off that may be [S].
        scale: spread of the states [S].
    """

    def __init__(self, crew: Crew, sought: tuple[Unknown, ...], prior: tuple[Array, Array], scale: Array) -> None:
        self._crew, self._sought, self._scale = crew, sought, scale
        likely, deviation = prior
        self.train: Numbers = np.arange(len(likely))
        self.weights: Array = np.ones(len(scale))
        """Of each state's errors."""
        self._starts = Starts(likely, np.maximum(deviation, 1e-5 * scale), 1.0)
        self.count = 0
        """Segments simulated."""
        self.heard: Callable[[], None] = lambda: None
        """Called whenever there are more of them."""

    @property
    def spread(self) -> float:
        """Of the errors: what measured starts are weighed against."""
        return self._starts.spread

    @spread.setter
    def spread(self, value: float) -> None:
        self._starts = replace(self._starts, spread=value)

    @property
    def scale(self) -> Array:
        """What an error of 1 is [S], SI: the states' spread, as far as it is weighed."""
        return np.asarray(self._scale / self.weights)

    @property
    def pull(self) -> Array:
        """Errors [S] that count for each unit by which a start is off."""
        return self._starts.pull

    def values(self, coordinates: Array) -> Mapping[str, float]:
        """Parameters [SI] by name."""
        return values_at(self._sought, coordinates)

    def means_the_same(self, nominal: Array) -> bool:
        """Whether simulations without the engine are those with it."""
        few = self.train[np.linspace(0, len(self.train) - 1, min(_COMPARED, len(self.train))).astype(int)]
        found = []
        for self._crew.at_once in (False, True):
            found.append(self._crew.predictions([self.values(nominal)], few, self._starts.likely[None, few])[0])
        apart = (np.abs(found[0] - found[1]) / self._scale).max(axis=(1, 2))
        return bool(np.median(np.nan_to_num(apart, nan=_WORST)) < _SAME)

    def weigh(self, coordinates: Array) -> None:
        """Finds the ``spread`` of the errors at ``coordinates``."""
        residuals = self._residuals([coordinates], self._starts.likely[None], self.train)[0]
        self.spread = float(np.sqrt(max(loss(residuals), 1e-12)))

    def balance(self, coordinates: Array) -> None:
        """Weighs the errors of each state by how large they stay: what is measured well says more, whatever its spread."""
        squares = (self._settled(coordinates)[1] / self.weights) ** 2
        typical = np.maximum(np.median(squares.mean(axis=1), axis=0), 1e-12)
        self.weights = np.clip(np.sqrt(typical.mean() / typical), *_BALANCE)

    def errors(self, predicted: Array, future: Array) -> Array:
        """Errors [..., K, S] of predictions in spreads of the states, none weighed."""
        return np.asarray(np.clip(np.nan_to_num((predicted - future) / self._scale, nan=_WORST), -_WORST, _WORST))

    def _residuals(self, candidates: Sequence[Array], starts: Array, which: Numbers) -> Array:
        """Weighed errors [C, n, K, S] of the segments ``which`` [n] from ``starts`` [C, n, S]."""
        values, found = [self.values(coordinates) for coordinates in candidates], []
        pieces = min(len(which), -(-len(which) * len(candidates) // _PIECE))
        for piece in np.array_split(np.arange(len(which)), pieces):
            found.append(self._crew.predictions(values, which[piece], starts[:, piece]))
            self.count += len(piece) * len(candidates)
            self.heard()
        predicted = np.concatenate(found, axis=1)
        return np.asarray(self.errors(predicted, self._crew.segments.future[which]) * self.weights)

    def losses(self, candidates: Sequence[Array], around: Around, which: Numbers) -> list[float]:
        """What the candidates [P] are worth on segments, each from the starts that suit it near ``around``."""
        starts = np.stack([self._starts.within(around.starts_at(coordinates)) for coordinates in candidates])
        residuals = self._residuals(candidates, starts[:, which], which)
        held = self._starts.errors(starts)[:, which]
        flat = residuals.reshape(len(candidates), len(which), -1)
        return [loss(rows) for rows in np.concatenate([flat, held], axis=2)]

    def around(self, coordinates: Array, places: Sequence[int] | None = None, exact: bool = False) -> Around:
        """Errors near ``coordinates`` as a function of those at ``places``, or of all, the starts found anew."""
        chosen = range(len(coordinates)) if places is None else places
        starts, here, by_start = self._settled(coordinates)
        moved = []
        for place in chosen:
            for step in differences(coordinates[place], exact):
                moved.append(coordinates.copy())
                moved[-1][place] += step
        found = self._residuals(moved, np.broadcast_to(starts, (len(moved), *starts.shape)), self.train)
        slopes, each = np.zeros((*here.shape, len(coordinates))), 2 if exact else 1
        for number, place in enumerate(chosen):
            beside = found[each * number : each * (number + 1)]
            slopes[..., place] = slope(here, beside, differences(coordinates[place], exact))
        return self._starts.eliminated(coordinates, starts, here, by_start, slopes)

    def _settled(self, coordinates: Array) -> tuple[Array, Array, Array]:
        """Good starts [N, S] at ``coordinates``, the errors [N, K, S] from there, and their slopes [N, K, S, S] by the starts."""
        starts = self._starts.likely
        for _ in range(_SETTLED):
            starts = self._starts.better(starts, *self._by_start(coordinates, starts))
        return starts, *self._by_start(coordinates, starts)

    def _by_start(self, coordinates: Array, starts: Array) -> tuple[Array, Array]:
        """Errors [N, K, S] at ``coordinates`` from ``starts`` [N, S], and their slopes [N, K, S, S] by them."""
        size = starts.shape[1]
        near = starts + np.concatenate([np.zeros((1, size)), np.diag(NEARBY * self._scale)])[:, None]
        found = self._residuals([coordinates] * (size + 1), near, self.train)
        return found[0], np.stack([(found[1 + d] - found[0]) / (NEARBY * self._scale[d]) for d in range(size)], axis=-1)

    def know(self, coordinates: Array) -> Knowledge:
        """What the training data tell around ``coordinates``, the starts of their segments unknown."""
        # Combinations that no data tell cancel out in exact slopes alone.
        around = self.around(coordinates, exact=True)
        names = [unknown.name for unknown in self._sought]
        return knowledge(names, around.slopes, around.residuals, self._crew.segments.trial[self.train])


def differences(coordinate: float, exact: bool) -> tuple[float, ...]:
    """Steps from ``coordinate``, within its range: two of them for an ``exact`` slope, one for a quick one."""
    inward = -DIFFERENCE if coordinate > 0 else DIFFERENCE
    if not exact:
        return (inward,)
    return (inward, 2.0 * inward if abs(coordinate) + DIFFERENCE > 1.0 else -inward)


def slope(here: Array, beside: Array, steps: tuple[float, ...]) -> Array:
    """The slope of what is ``here`` at 0 and ``beside`` [1 or 2, ...] at ``steps``: that of the parabola through them."""
    if len(steps) == 1:
        return np.asarray((beside[0] - here) / steps[0])
    one, other = steps
    return np.asarray(((beside[0] - here) / one * other - (beside[1] - here) / other * one) / (other - one))
