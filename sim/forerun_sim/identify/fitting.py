"""The steps of an identification: what the data tell, linear steps, CMA-ES, intervals, and the verdict of trials held out."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forerun_sim.identify.checkpoint import Checkpoint
from forerun_sim.identify.information import Knowledge, loss, step_to_fit
from forerun_sim.identify.objective import Objective
from forerun_sim.identify.plan import FINAL, STAGES, STEPS, Plan
from forerun_sim.identify.result import STEPS as SHOWN
from forerun_sim.identify.result import Fit, Progress, Settings
from forerun_sim.identify.search import Search
from forerun_sim.identify.unknowns import Unknown, nominal_coordinates
from forerun_sim.identify.work import Crew, Kind

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
_BEYOND = 10.0
"""Weight of how far outside its range a coordinate is sought."""
_DAMPING = (0.0, 1e-4, 1e-3, 1e-2, 1e-1, 1.0)


class Fitting:
    """One run; what its steps share. ``crew`` holds the training segments of the ``objective``, and then those to judge by."""

    def __init__(
        self,
        crew: Crew,
        objective: Objective,
        sought: tuple[Unknown, ...],
        settings: Settings,
        tell: Callable[[Progress], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._crew, self._objective, self._sought, self._settings = crew, objective, sought, settings
        self._train = objective.train
        self._judged = np.arange(len(self._train), len(crew.segments))
        self._tell, self._stopped = tell, stopped
        self._began = time.monotonic()
        population = 4 + int(3 * np.log(max(len(sought), 1)))  # as CMA-ES has it
        sizes = len(self._train), crew.segments.future.shape[2], len(sought)
        self._plan = Plan(*sizes, settings.generations, population)
        self._stage, self._before, self._error = STAGES[0], 0, np.nan
        objective.heard = self._note

    def run(self, saved: Checkpoint) -> Fit:
        """The whole procedure, from where ``saved`` is."""
        nominal = nominal_coordinates(self._sought)
        self._crew.at_once = self._crew.at_once and self._objective.means_the_same(nominal)
        if saved.basis is None:
            self._prepare(saved, nominal)
        assert saved.first is not None
        best, curve, complete = self._search(saved)
        self._begin("intervals")
        known = replace(self._objective.know(best), open=tuple(saved.left))
        fit = self._judge(nominal, best, saved.first, known, curve, complete)
        if complete:
            saved.remove()
        return fit

    def _prepare(self, saved: Checkpoint, nominal: Array) -> None:
        """What the data tell, and where CMA-ES is to begin."""
        everything = range(len(nominal))
        if saved.first is None:
            self._begin("sensitivities")
            self._objective.weigh(nominal)
            saved.first, saved.spread = self._objective.know(nominal), self._objective.spread
            saved.write()
        self._recall(saved)
        if saved.origin is None:
            self._begin("linear steps")
            saved.origin = self._descend(nominal, list(everything), STEPS)
            self._objective.balance(saved.origin)
            saved.spread, saved.weights = self._objective.spread, self._objective.weights
            saved.write()
        near = saved.origin
        self._begin("told")
        known = self._objective.know(near)
        saved.left = list(known.open)
        near = self._with(nominal, np.array(known.told, dtype=int), near[list(known.told)])
        self._begin("linear steps again")
        near = self._descend(near, known.told, STEPS)
        self._begin("told again")
        known = replace(self._objective.know(near), open=known.open)
        saved.origin, saved.basis, saved.spread = near, _basis(known), self._objective.spread
        saved.write()

    def _recall(self, saved: Checkpoint) -> None:
        """Weighs errors and starts as ``saved`` does."""
        self._objective.spread = saved.spread
        if saved.weights is not None:
            self._objective.weights = saved.weights

    def _search(self, saved: Checkpoint) -> tuple[Array, list[float], bool]:
        """CMA-ES over the parameters that the data tell; the segments become more as it closes in."""
        assert saved.origin is not None and saved.basis is not None
        self._recall(saved)
        origin, left = saved.origin, {item.name for item in saved.left}
        places = np.array([place for place, unknown in enumerate(self._sought) if unknown.name not in left], dtype=int)
        if not len(places) or not self._settings.generations:
            return origin, [], True
        self._begin("search")
        around = self._objective.around(origin)
        search = Search(origin[places], saved.basis, self._settings.seed, saved.losses)
        curve = [min(losses) for losses in saved.losses]
        generations = self._settings.generations
        while not search.finished and len(search.told) < generations and not self._stopped():
            # A third of the search on a quarter of the segments, a third on half of them: early on, only the direction matters.
            share = (0.25, 0.5, 1.0)[min(2, 3 * len(search.told) // generations)]
            asked = search.ask()
            candidates = [self._with(origin, places, found) for found in asked]
            losses = self._objective.losses(candidates, around, self._train[:: round(1 / share)])
            outside = [float((np.maximum(np.abs(found) - 1.0, 0.0) ** 2).sum()) for found in asked]
            search.tell([value + _BEYOND * far for value, far in zip(losses, outside, strict=True)])
            saved.losses = search.told
            saved.write()
            curve.append(min(losses))
            self._error = float(np.sqrt(curve[-1]))
        complete = search.finished or len(search.told) >= generations
        found = self._with(origin, places, np.clip(search.centre, -1.0, 1.0))
        losses = self._objective.losses([origin, found], around, self._train)
        best = (origin, found)[int(np.argmin(losses))]
        self._begin("final steps")
        return self._descend(best, places.tolist(), FINAL) if complete else best, curve, complete

    @staticmethod
    def _with(base: Array, places: Numbers, coordinates: Array) -> Array:
        whole = base.copy()
        whole[places] = coordinates
        return whole

    def _descend(self, coordinates: Array, places: Sequence[int], steps: int) -> Array:
        """Steps of Levenberg and Marquardt over the coordinates at ``places``, as long and as bold as they pay."""
        chosen = np.array(places, dtype=int)
        if not len(chosen):
            return coordinates
        for _ in range(steps):
            around = self._objective.around(coordinates, places)
            room = (-1.0 - coordinates[chosen], 1.0 - coordinates[chosen])
            tried = [coordinates]
            for damping in _DAMPING:
                step = step_to_fit(around.slopes[..., chosen], around.residuals, damping, room)
                tried += [self._with(coordinates, chosen, coordinates[chosen] + size * step) for size in (1.0, 0.4)]
            losses = self._objective.losses(tried, around, self._train)
            best = int(np.argmin(losses))
            self._error = float(np.sqrt(losses[best]))
            gained, coordinates = losses[0] - losses[best], tried[best]
            self._objective.spread = min(self._objective.spread, float(np.sqrt(max(losses[best], 1e-12))))
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
        for side, coordinates in (("before", nominal), ("after", best)):
            training[side] = self._by_step(self._predicted(coordinates, start, self._train), self._train)
            predicted = self._predicted(coordinates, start, self._judged, by_engine=True)
            errors[side] = self._by_step(predicted, self._judged)
            examples[side] = predicted[np.searchsorted(self._judged, few)]
        evaluated = (self._objective.count, time.monotonic() - self._began)
        self._tell(Progress("done", 1.0, self._error, evaluated[0] / max(evaluated[1], 1e-9), 0.0))
        told = (self._objective.scale, self._objective.pull, evaluated, complete)
        return Fit(self._sought, best, known, first, start, errors, training, tuple(curve), examples, *told)

    def _best_kind(self, coordinates: Array) -> Kind:
        kinds: tuple[Kind, ...] = ("measured", "observed")
        found = [self._predicted(coordinates, kind, self._train) for kind in kinds]
        losses = [loss(self._objective.errors(predicted, self._crew.segments.future[self._train])) for predicted in found]
        return kinds[int(np.argmin(losses))]

    def _predicted(self, coordinates: Array, start: Kind, which: Numbers, by_engine: bool = False) -> Array:
        values, fast = self._objective.values(coordinates), self._crew.at_once
        starts = self._crew.starts(start, values, which)
        self._crew.at_once = fast and not by_engine
        predicted = self._crew.predictions([values], which, starts[None])[0]
        self._crew.at_once = fast
        return np.asarray(predicted)

    def _by_step(self, predicted: Array, which: Numbers) -> dict[int, float]:
        residuals = self._objective.errors(predicted, self._crew.segments.future[which])
        return {k: float(np.sqrt((residuals[:, k - 1] ** 2).mean())) for k in SHOWN if k <= residuals.shape[1]}

    def _begin(self, stage: str) -> None:
        self._stage, self._before = stage, self._objective.count
        self._note()

    def _note(self) -> None:
        done, seconds = self._objective.count, time.monotonic() - self._began
        left = self._plan.left(self._stage, done - self._before)
        rate = done / max(seconds, 1e-9)
        self._tell(Progress(self._stage, done / max(done + left, 1), self._error, rate, left / rate if done else np.nan))


def _basis(known: Knowledge) -> Array:
    """Steps [n, n] for CMA-ES: three standard deviations of what is known, no less than 2 % and no more than 30 % of a range."""
    values, vectors = np.linalg.eigh(known.covariance(known.told)) if known.told else (np.zeros(0), np.zeros((0, 0)))
    return np.asarray(vectors * np.clip(3.0 * np.sqrt(np.maximum(values, 0.0)), 0.02, 0.3))
