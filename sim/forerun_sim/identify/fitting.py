"""The steps of an identification: what the data tell, linear steps, CMA-ES, intervals, and the verdict of trials held out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forerun_sim.identify.checkpoint import Checkpoint
from forerun_sim.identify.information import Knowledge, knowledge, loss, step_to_fit
from forerun_sim.identify.result import STEPS, Fit, Progress, Settings
from forerun_sim.identify.search import Search
from forerun_sim.identify.shooting import Around, Starts
from forerun_sim.identify.unknowns import Unknown, nominal_coordinates, values_at
from forerun_sim.identify.work import Crew, Kind

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
DIFFERENCE = 0.01
"""Step in coordinates of the differences that sensitivities are made of."""
_NEARBY = 1e-3
"""Step in spreads of the states of the differences by starts."""
_WORST = 10.0
"""An error is cut here, in spreads of the states: a simulation that exploded is as bad as that."""
_BEYOND = 10.0
"""Weight of how far outside its range a coordinate is sought."""
_SETTLED = 2
"""Steps of Gauss and Newton by which the starts are found anew at other coordinates."""
_BOLD = 6
"""Linear steps from the nominal values on, at most, and again with the parameters that the data tell."""
_DAMPING = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)
_SAME = 0.02
"""Difference, in spreads of the states, up to which a simulation without the engine means the same as with it."""
_COMPARED = 12
_BALANCE = (0.2, 20.0)
"""Weights of a state's errors, at least and at most."""


class Fitting:
    """One run; what its steps share.

    Args:
        crew: holds the training segments, and then those to judge by.
        sought: the parameters.
        prior: where the training segments begin [N, S], as far as was measured, and how far off that may be [S].
        scale: spread of the states [S].
    """

    def __init__(
        self,
        crew: Crew,
        sought: tuple[Unknown, ...],
        prior: tuple[Array, Array],
        scale: Array,
        settings: Settings,
        tell: Callable[[Progress], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._crew, self._sought, self._scale, self._settings = crew, sought, scale, settings
        likely, deviation = prior
        self._train = np.arange(len(likely))
        self._judged = np.arange(len(likely), len(crew.segments))
        self._weights = np.ones(len(scale))
        self._starts = Starts(likely, np.maximum(deviation, 1e-5 * scale), 1.0)
        self._tell, self._stopped = tell, stopped
        self._names = [unknown.name for unknown in sought]
        self._count, self._began = 0, time.monotonic()

    def run(self, saved: Checkpoint) -> Fit:
        """The whole procedure, from where ``saved`` is."""
        nominal = nominal_coordinates(self._sought)
        self._crew.at_once = self._crew.at_once and self._means_the_same(nominal)
        if saved.basis is None:
            self._prepare(saved, nominal)
        assert saved.first is not None
        best, curve, complete = self._search(saved)
        self._note("intervals", 0.92, np.nan)
        known = replace(self._know(best), open=tuple(saved.left))
        fit = self._judge(nominal, best, saved.first, known, curve, complete)
        if complete:
            saved.remove()
        return fit

    def _means_the_same(self, nominal: Array) -> bool:
        """Whether simulations without the engine are those with it."""
        few = self._train[np.linspace(0, len(self._train) - 1, min(_COMPARED, len(self._train))).astype(int)]
        values, found = [values_at(self._sought, nominal)], []
        for self._crew.at_once in (False, True):
            found.append(self._crew.predictions(values, few, self._starts.likely[None, few])[0])
        apart = (np.abs(found[0] - found[1]) / self._scale).max(axis=(1, 2))
        return bool(np.median(np.nan_to_num(apart, nan=_WORST)) < _SAME)

    def _prepare(self, saved: Checkpoint, nominal: Array) -> None:
        """What the data tell, and where CMA-ES is to begin."""
        everything = range(len(nominal))
        if saved.first is None:
            self._note("sensitivities", 0.0, np.nan)
            self._weigh(nominal)
            saved.first, saved.spread = self._know(nominal), self._starts.spread
            saved.write()
        self._recall(saved)
        if saved.origin is None:
            saved.origin = self._descend(nominal, list(everything), _BOLD)
            self._balance(saved.origin)
            saved.spread, saved.weights = self._starts.spread, self._weights
            saved.write()
        near = saved.origin
        known = self._know(near)
        saved.left = list(known.open)
        near = self._with(nominal, np.array(known.told, dtype=int), near[list(known.told)])
        near = self._descend(near, known.told, _BOLD)
        known = replace(self._know(near), open=known.open)
        saved.origin, saved.basis, saved.spread = near, _basis(known), self._starts.spread
        saved.write()

    def _recall(self, saved: Checkpoint) -> None:
        """Weighs errors and starts as ``saved`` does."""
        self._starts = replace(self._starts, spread=saved.spread)
        if saved.weights is not None:
            self._weights = saved.weights

    def _balance(self, coordinates: Array) -> None:
        """Weighs the errors of each state by how large they stay: what is measured well says more, whatever its spread."""
        squares = (self._settled(coordinates)[1] / self._weights) ** 2
        typical = np.maximum(np.median(squares.mean(axis=1), axis=0), 1e-12)
        self._weights = np.clip(np.sqrt(typical.mean() / typical), *_BALANCE)

    def _search(self, saved: Checkpoint) -> tuple[Array, list[float], bool]:
        """CMA-ES over the parameters that the data tell; the segments become more as it closes in."""
        assert saved.origin is not None and saved.basis is not None
        self._recall(saved)
        origin, left = saved.origin, {item.name for item in saved.left}
        places = np.array([place for place, name in enumerate(self._names) if name not in left], dtype=int)
        if not len(places):
            return origin, [], True
        around = self._around(origin)
        search = Search(origin[places], saved.basis, self._settings.seed, saved.losses)
        curve = [min(losses) for losses in saved.losses]
        generations = self._settings.generations
        while not search.finished and len(search.told) < generations and not self._stopped():
            # A third of the search on a quarter of the segments, a third on half of them: early on, only the direction matters.
            share = (0.25, 0.5, 1.0)[min(2, 3 * len(search.told) // generations)]
            asked = search.ask()
            candidates = [self._with(origin, places, found) for found in asked]
            losses = self._losses(candidates, around, self._train[:: round(1 / share)])
            outside = [float((np.maximum(np.abs(found) - 1.0, 0.0) ** 2).sum()) for found in asked]
            search.tell([value + _BEYOND * far for value, far in zip(losses, outside, strict=True)])
            saved.losses = search.told
            saved.write()
            curve.append(min(losses))
            self._note("search", 0.2 + 0.7 * len(search.told) / generations, curve[-1])
        complete = search.finished or len(search.told) >= generations
        found = self._with(origin, places, np.clip(search.centre, -1.0, 1.0))
        losses = self._losses([origin, found], around, self._train)
        best = (origin, found)[int(np.argmin(losses))]
        return self._descend(best, places.tolist(), 2) if complete else best, curve, complete

    @staticmethod
    def _with(base: Array, places: Numbers, coordinates: Array) -> Array:
        whole = base.copy()
        whole[places] = coordinates
        return whole

    def _residuals(self, candidates: Sequence[Array], starts: Array, which: Numbers) -> Array:
        """Errors [C, n, K, S] in spreads of the states, from ``starts`` [C, n, S]."""
        values = [values_at(self._sought, coordinates) for coordinates in candidates]
        found = self._crew.predictions(values, which, starts)
        self._count += len(which) * len(candidates)
        return np.asarray(self._errors(found, self._crew.segments.future[which]) * self._weights)

    def _errors(self, predicted: Array, future: Array) -> Array:
        return np.asarray(np.clip(np.nan_to_num((predicted - future) / self._scale, nan=_WORST), -_WORST, _WORST))

    def _losses(self, candidates: Sequence[Array], around: Around, which: Numbers) -> list[float]:
        """What the candidates [P] are worth on segments, each from the starts that suit it near ``around``."""
        starts = np.stack([self._starts.within(around.starts_at(coordinates)) for coordinates in candidates])
        residuals = self._residuals(candidates, starts[:, which], which)
        held = self._starts.errors(starts)[:, which]
        flat = residuals.reshape(len(candidates), len(which), -1)
        return [loss(rows) for rows in np.concatenate([flat, held], axis=2)]

    def _weigh(self, coordinates: Array) -> None:
        """Finds how far off predictions are, which is what measured starts are weighed against."""
        starts = self._starts.likely[None]
        residuals = self._residuals([coordinates], starts, self._train)[0]
        self._starts = replace(self._starts, spread=float(np.sqrt(max(loss(residuals), 1e-12))))

    def _around(self, coordinates: Array, places: Sequence[int] | None = None, exact: bool = False) -> Around:
        """Errors near ``coordinates`` as a function of those at ``places``, or of all, the starts found anew."""
        chosen = range(len(coordinates)) if places is None else places
        starts, here, by_start = self._settled(coordinates)
        moved = [
            self._with(coordinates, np.array([place]), coordinates[place] + step)
            for place in chosen
            for step in differences(coordinates[place], exact)
        ]
        found = self._residuals(moved, np.broadcast_to(starts, (len(moved), *starts.shape)), self._train)
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
        near = starts + np.concatenate([np.zeros((1, size)), np.diag(_NEARBY * self._scale)])[:, None]
        found = self._residuals([coordinates] * (size + 1), near, self._train)
        return found[0], np.stack([(found[1 + d] - found[0]) / (_NEARBY * self._scale[d]) for d in range(size)], axis=-1)

    def _know(self, coordinates: Array) -> Knowledge:
        """What the training data tell around ``coordinates``, the starts of their segments unknown."""
        # Combinations that no data tell cancel out in exact slopes alone.
        around = self._around(coordinates, exact=True)
        return knowledge(self._names, around.slopes, around.residuals, self._crew.segments.trial[self._train])

    def _descend(self, coordinates: Array, places: Sequence[int], steps: int) -> Array:
        """Steps of Levenberg and Marquardt over the coordinates at ``places``, as long and as bold as they pay."""
        chosen = np.array(places, dtype=int)
        if not len(chosen):
            return coordinates
        for number in range(steps):
            around = self._around(coordinates, places)
            room = (-1.0 - coordinates[chosen], 1.0 - coordinates[chosen])
            tried = [coordinates]
            for damping in _DAMPING:
                step = step_to_fit(around.slopes[..., chosen], around.residuals, damping, room)
                tried += [self._with(coordinates, chosen, coordinates[chosen] + size * step) for size in (1.0, 0.4)]
            losses = self._losses(tried, around, self._train)
            best = int(np.argmin(losses))
            self._note("linear steps", 0.02 + 0.1 * number / steps, losses[best])
            gained, coordinates = losses[0] - losses[best], tried[best]
            spread = float(np.sqrt(max(losses[best], 1e-12)))
            self._starts = replace(self._starts, spread=min(self._starts.spread, spread))
            if gained < 1e-3 * losses[0] or self._stopped():
                break
        return coordinates

    def _judge(
        self, nominal: Array, best: Array, first: Knowledge, known: Knowledge, curve: Sequence[float], complete: bool
    ) -> Fit:
        """Errors before and after, from starts as they were measured or are observed, whichever suits the training trials."""
        start = self._best_kind(best)
        errors: dict[str, dict[int, float]] = {}
        training: dict[str, dict[int, float]] = {}
        few = self._judged[np.linspace(0, len(self._judged) - 1, min(3, len(self._judged))).astype(int)]
        examples = {"measured": self._crew.segments.future[few]}
        fast = self._crew.at_once
        for side, coordinates in (("before", nominal), ("after", best)):
            training[side] = self._by_step(self._predicted(coordinates, start, self._train), self._train)
            self._crew.at_once = False  # the verdict is the engine's own
            predicted = self._predicted(coordinates, start, self._judged)
            self._crew.at_once = fast
            errors[side] = self._by_step(predicted, self._judged)
            examples[side] = predicted[np.searchsorted(self._judged, few)]
        evaluated = (self._count, time.monotonic() - self._began)
        self._note("done", 1.0, 0.0)
        return Fit(self._sought, best, known, first, start, errors, training, tuple(curve), examples, evaluated, complete)

    def _best_kind(self, coordinates: Array) -> Kind:
        kinds: tuple[Kind, ...] = ("measured", "observed")
        found = [self._predicted(coordinates, kind, self._train) for kind in kinds]
        losses = [loss(self._errors(predicted, self._crew.segments.future[self._train])) for predicted in found]
        return kinds[int(np.argmin(losses))]

    def _predicted(self, coordinates: Array, start: Kind, which: Numbers) -> Array:
        values = values_at(self._sought, coordinates)
        return np.asarray(self._crew.predictions([values], which, self._crew.starts(start, values, which)[None])[0])

    def _by_step(self, predicted: Array, which: Numbers) -> dict[int, float]:
        residuals = self._errors(predicted, self._crew.segments.future[which])
        return {k: float(np.sqrt((residuals[:, k - 1] ** 2).mean())) for k in STEPS if k <= residuals.shape[1]}

    def _note(self, stage: str, share: float, value: float) -> None:
        rate = self._count / max(time.monotonic() - self._began, 1e-9)
        self._tell(Progress(stage, share, float(np.sqrt(value)), rate))


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


def _basis(known: Knowledge) -> Array:
    """Steps [n, n] for CMA-ES: three standard deviations of what is known, no less than 2 % and no more than 30 % of a range."""
    values, vectors = np.linalg.eigh(known.covariance(known.told)) if known.told else (np.zeros(0), np.zeros((0, 0)))
    return np.asarray(vectors * np.clip(3.0 * np.sqrt(np.maximum(values, 0.0)), 0.02, 0.3))
