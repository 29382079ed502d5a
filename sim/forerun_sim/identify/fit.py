"""From logs to parameters: what the logs can tell, the search, and how sure the result is."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError
from forerun_sim.identify.checkpoint import Checkpoint, fingerprint
from forerun_sim.identify.information import Knowledge, knowledge, loss, step_to_fit
from forerun_sim.identify.search import Search
from forerun_sim.identify.segments import Segments, cut, smoothed, yardstick
from forerun_sim.identify.simulate import Simulation
from forerun_sim.identify.unknowns import Unknown, nominal_coordinates, unknowns, values_at
from forerun_sim.identify.work import Crew, Kind
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial

Array = NDArray[np.float64]
STEPS = (1, 5, 10, 25, 50)
DIFFERENCE = 0.02
"""Step in coordinates of the central differences that sensitivities are made of."""
_WORST = 10.0
"""An error is cut here, in spreads of the states: a simulation that exploded is as bad as that."""
_BEYOND = 10.0
"""Weight of how far outside its range a coordinate is sought."""


@dataclass(frozen=True)
class Settings:
    """How to identify.

    Attributes:
        engine: whose parameters are sought.
        steps: control steps of a segment: errors count from 1 to so many steps ahead.
        segments: of the training trials that are simulated at most.
        generations: of CMA-ES at most.
        seed: of the search.
        workers: processes.
    """

    engine: str = "bullet"
    steps: int = 50
    segments: int = 200
    generations: int = 40
    seed: int = 0
    workers: int = 1


@dataclass(frozen=True)
class Progress:
    """Where a fit is: ``stage`` in words, its ``share`` done, the ``error`` (root mean square, spreads of the states) of the best
    so far, and how many segments were simulated in a second."""

    stage: str
    share: float
    error: float
    rate: float


@dataclass(frozen=True)
class Fit:
    """What was found.

    Attributes:
        sought: the parameters.
        coordinates: the estimates [P]; those that the data do not tell are nominal.
        knowledge: what the training data tell, at the estimates (``before``: at the nominal values).
        start: how segments begin: ``measured`` or ``observed``.
        errors: by ``before``, ``after``: RMSE at k steps on held-out segments, in spreads of the states.
        training: the same on training segments.
        curve: the best loss after each generation.
        examples: predictions of a few held-out segments: measured, before, after [n, K, S].
        evaluated: segments simulated, and in how many seconds.
        complete: False where the search was stopped.
    """

    sought: tuple[Unknown, ...]
    coordinates: Array
    knowledge: Knowledge
    before: Knowledge
    start: Kind
    errors: dict[str, dict[int, float]]
    training: dict[str, dict[int, float]]
    curve: tuple[float, ...]
    examples: dict[str, Array]
    evaluated: tuple[int, float]
    complete: bool

    @property
    def values(self) -> dict[str, float]:
        """The estimates by name [SI], those of parameters that the data do not tell left out."""
        found = values_at(self.sought, self.coordinates)
        return {self.sought[place].name: found[self.sought[place].name] for place in self.knowledge.told}

    @property
    def worse(self) -> tuple[int, ...]:
        """Numbers of steps after which held-out trials are predicted worse than before, or not at all."""
        before, after = self.errors["before"], self.errors["after"]
        return tuple(k for k in after if not after[k] <= before[k])

    @property
    def deviations(self) -> dict[str, float]:
        """Standard deviation, in coordinates, of each estimate."""
        told = self.knowledge.told
        spread = np.sqrt(np.diag(self.knowledge.covariance(told))) if told else np.zeros(0)
        return {self.sought[place].name: float(value) for place, value in zip(told, spread, strict=True)}

    def interval(self, name: str) -> tuple[float, float]:
        """95 % interval [SI] of the estimate of ``name``."""
        place = [unknown.name for unknown in self.sought].index(name)
        return self.sought[place].spread(float(self.coordinates[place]), 1.96 * self.deviations[name])


def identify(
    spec: RobotSpec,
    trials: Sequence[Trial],
    held_out: Sequence[Trial],
    settings: Settings = Settings(),
    *,
    checkpoint: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Fit:
    """Fits the simulator of ``spec`` to ``trials``.

    Args:
        spec: the robot.
        trials: to learn from, simulated or real.
        held_out: to judge by; never looked at before the end.
        settings: how.
        checkpoint: file of the search's state: written after each generation, gone on from where it fits, removed at the end.
        stopped: asked after each generation; True ends the search with what is best so far.
        tell: hears how far it is.

    Raises:
        InputError: no such engine, parameter or range, or no trial is long enough.
    """
    train = cut(trials, _reach(trials, settings.steps), settings.segments)
    judged = cut(held_out, min(train.steps, _reach(held_out, settings.steps)), settings.segments)
    if judged.steps < train.steps:
        train = cut(trials, judged.steps, settings.segments)
    crew = Crew(spec, settings.engine, train.join(judged), settings.workers)
    try:
        sought = sought_of(spec, settings.engine)
        saved = Checkpoint.of(checkpoint, fingerprint(spec, trials, settings))
        return _Fitting(crew, spec, sought, train, yardstick(trials), settings, tell, stopped).run(saved)
    finally:
        crew.close()


def sought_of(spec: RobotSpec, engine: str) -> tuple[Unknown, ...]:
    """The unknowns of ``spec`` in ``engine``."""
    simulation = Simulation(spec, engine)
    try:
        return unknowns(spec, simulation.nominal)
    finally:
        simulation.close()


def _reach(trials: Sequence[Trial], steps: int) -> int:
    longest = max((len(trial) for trial in trials), default=0)
    if longest < 2:
        raise InputError("there is no trial with at least two rows to identify from, or none is held out")
    return min(steps, longest - 1)


class _Fitting:
    """One run; what its steps share."""

    def __init__(
        self,
        crew: Crew,
        spec: RobotSpec,
        sought: tuple[Unknown, ...],
        train: Segments,
        scale: Array,
        settings: Settings,
        tell: Callable[[Progress], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._crew, self._sought, self._scale, self._settings = crew, sought, scale, settings
        self._train = np.arange(len(train))
        self._judged = np.arange(len(train), len(crew.segments))
        self._tell, self._stopped = tell, stopped
        self._names = [unknown.name for unknown in sought]
        self._starts = np.zeros((len(crew.segments), crew.segments.future.shape[2]))
        self._smoothed = smoothed(train, spec.control.period)
        self._start: Kind = "measured"
        self._count, self._began = 0, time.monotonic()

    def run(self, saved: Checkpoint) -> Fit:
        """The whole procedure, from where ``saved`` is."""
        nominal = nominal_coordinates(self._sought)
        self._choose_starts(nominal)
        if saved.basis is None:
            self._prepare(saved, nominal)
        else:
            assert saved.origin is not None
            self._choose_starts(saved.origin)
        assert saved.first is not None
        best, curve, complete = self._search(saved)
        self._note("intervals", 0.92, best)
        known = replace(self._know(best), open=tuple(saved.left))
        fit = self._judge(nominal, best, saved.first, known, curve, complete)
        if complete:
            saved.remove()
        return fit

    def _prepare(self, saved: Checkpoint, nominal: Array) -> None:
        """What the data tell, and where CMA-ES is to begin."""
        if saved.first is None:
            self._note("sensitivities", 0.0, nominal)
            saved.first = self._know(nominal)
            saved.write()
        if saved.origin is None:
            saved.origin = self._descend(nominal, saved.first.told, 2)
            saved.write()
        near = saved.origin
        self._choose_starts(near)
        self._note("sensitivities", 0.1, near)
        known = self._know(near)
        saved.left = list(known.open)
        origin = nominal.copy()
        origin[list(known.told)] = near[list(known.told)]
        saved.origin = self._descend(origin, known.told, 2) if saved.left else near
        saved.basis = _basis(known)
        saved.write()

    def _search(self, saved: Checkpoint) -> tuple[Array, list[float], bool]:
        """CMA-ES over the parameters that the data tell; the segments become more as it closes in."""
        assert saved.origin is not None and saved.basis is not None
        origin, left = saved.origin, {item.name for item in saved.left}
        places = np.array([place for place, name in enumerate(self._names) if name not in left], dtype=int)
        if not len(places):
            return origin, [], True
        search = Search(origin[places], saved.basis, self._settings.seed, saved.losses)
        curve = [min(losses) for losses in saved.losses]
        generations = self._settings.generations
        while not search.finished and len(search.told) < generations and not self._stopped():
            # A third of the search on a quarter of the segments, a third on half of them: early on, only the direction matters.
            share = (0.25, 0.5, 1.0)[min(2, 3 * len(search.told) // generations)]
            asked = search.ask()
            losses = self._losses([self._with(origin, places, found) for found in asked], self._train[:: round(1 / share)])
            outside = [float((np.maximum(np.abs(found) - 1.0, 0.0) ** 2).sum()) for found in asked]
            search.tell([value + _BEYOND * far for value, far in zip(losses, outside, strict=True)])
            saved.losses = search.told
            saved.write()
            curve.append(min(losses))
            self._note("search", 0.2 + 0.7 * len(search.told) / generations, None, curve[-1])
        complete = search.finished or len(search.told) >= generations
        found = self._with(origin, places, np.clip(search.centre, -1.0, 1.0))
        if complete:
            found = self._descend(found, places.tolist(), 1)
        losses = self._losses([origin, found], self._train)
        return (origin, found)[int(np.argmin(losses))], curve, complete

    @staticmethod
    def _with(base: Array, places: NDArray[np.int64], coordinates: Array) -> Array:
        whole = base.copy()
        whole[places] = coordinates
        return whole

    def _choose_starts(self, coordinates: Array) -> None:
        """Begins the segments as measured or as observed, whichever predicts the training segments better. While training, when
        what follows is known as well, they may begin smoothed."""
        values = values_at(self._sought, coordinates)
        kinds: tuple[Kind, ...] = ("measured", "observed")
        found = [self._crew.starts(kind, values, self._train) for kind in kinds]
        found.append(self._smoothed)
        errors = []
        for starts in found:
            self._starts[self._train] = starts
            errors.append(self._losses([coordinates], self._train)[0])
        self._start = kinds[int(np.argmin(errors[:2]))]
        self._starts[self._train] = found[int(np.argmin(errors))]

    def _residuals(self, candidates: Sequence[Array], which: NDArray[np.int64]) -> list[Array]:
        """Errors [n, K, S] in spreads of the states."""
        values = [values_at(self._sought, coordinates) for coordinates in candidates]
        found = self._crew.predictions(values, which, self._starts[which])
        self._count += len(which) * len(candidates)
        future = self._crew.segments.future[which]
        return [self._errors(predicted, future) for predicted in found]

    def _errors(self, predicted: Array, future: Array) -> Array:
        return np.clip(np.nan_to_num((predicted - future) / self._scale, nan=_WORST), -_WORST, _WORST)

    def _losses(self, candidates: Sequence[Array], which: NDArray[np.int64]) -> list[float]:
        return [loss(residuals) for residuals in self._residuals(candidates, which)]

    def _know(self, coordinates: Array) -> Knowledge:
        """What the training data tell around ``coordinates``, by central differences."""
        moved = [self._moved(coordinates, place, side) for place in range(len(coordinates)) for side in (-1.0, 1.0)]
        found = self._residuals([coordinates, *moved], self._train)
        slopes = []
        for place in range(len(coordinates)):
            low, high = moved[2 * place][place], moved[2 * place + 1][place]
            slopes.append((found[2 * place + 2] - found[2 * place + 1]) / (high - low))
        return knowledge(self._names, np.stack(slopes, axis=-1), found[0], self._crew.segments.trial[self._train])

    @staticmethod
    def _moved(coordinates: Array, place: int, side: float) -> Array:
        """``coordinates``, one of them a little to the ``side``, within its range."""
        near = coordinates.copy()
        near[place] = np.clip(near[place] + side * DIFFERENCE, -1.0, 1.0)
        return near

    def _descend(self, coordinates: Array, places: Sequence[int], steps: int) -> Array:
        """Steps of Gauss and Newton over the coordinates at ``places``, as long and as bold as they pay."""
        chosen = np.array(places, dtype=int)
        if not len(chosen):
            return coordinates
        for number in range(steps):
            inward = [-1.0 if coordinates[place] > 0 else 1.0 for place in places]
            moved = [self._moved(coordinates, place, side) for place, side in zip(places, inward, strict=True)]
            here, *found = self._residuals([coordinates, *moved], self._train)
            slopes = [(beside - here) / (side * DIFFERENCE) for beside, side in zip(found, inward, strict=True)]
            tried = [coordinates]
            for damping in (0.0, 1e-3, 1e-2, 1e-1):
                step = step_to_fit(np.stack(slopes, axis=-1), here, damping)
                tried += [
                    self._with(coordinates, chosen, np.clip(coordinates[chosen] + size * step, -1.0, 1.0)) for size in (1.0, 0.4)
                ]
            losses = self._losses(tried, self._train)
            best = int(np.argmin(losses))
            self._note("linear steps", 0.05 + 0.05 * number, None, losses[best])
            gained, coordinates = losses[0] - losses[best], tried[best]
            if gained < 1e-3 * losses[0] or self._stopped():
                break
        return coordinates

    def _judge(
        self, nominal: Array, best: Array, first: Knowledge, known: Knowledge, curve: Sequence[float], complete: bool
    ) -> Fit:
        """Errors before and after, each with starts of its own, and examples."""
        errors: dict[str, dict[int, float]] = {}
        training: dict[str, dict[int, float]] = {}
        few = self._judged[np.linspace(0, len(self._judged) - 1, min(3, len(self._judged))).astype(int)]
        examples = {"measured": self._crew.segments.future[few]}
        for side, coordinates in (("before", nominal), ("after", best)):
            values = values_at(self._sought, coordinates)
            for which, kept in ((self._judged, errors), (self._train, training)):
                starts = self._crew.starts(self._start, values, which)
                predicted = self._crew.predictions([values], which, starts)[0]
                residuals = self._errors(predicted, self._crew.segments.future[which])
                kept[side] = {k: float(np.sqrt((residuals[:, k - 1] ** 2).mean())) for k in STEPS if k <= residuals.shape[1]}
                if kept is errors:
                    examples[side] = predicted[np.searchsorted(which, few)]
        evaluated = (self._count, time.monotonic() - self._began)
        self._note("done", 1.0, None, 0.0)
        return Fit(self._sought, best, known, first, self._start, errors, training, tuple(curve), examples, evaluated, complete)

    def _note(self, stage: str, share: float, coordinates: Array | None, value: float = np.nan) -> None:
        if coordinates is not None:
            value = self._losses([coordinates], self._train)[0]
        rate = self._count / max(time.monotonic() - self._began, 1e-9)
        self._tell(Progress(stage, share, float(np.sqrt(value)), rate))


def _basis(known: Knowledge) -> Array:
    """Steps [n, n] for CMA-ES: three standard deviations of what is known, no less than 2 % and no more than 30 % of a range."""
    values, vectors = np.linalg.eigh(known.covariance(known.told)) if known.told else (np.zeros(0), np.zeros((0, 0)))
    return np.asarray(vectors * np.clip(3.0 * np.sqrt(np.maximum(values, 0.0)), 0.02, 0.3))


def nominal_values(spec: RobotSpec, engine: str) -> dict[str, float]:
    """All nominal parameters of ``spec`` in ``engine``, by name."""
    simulation = Simulation(spec, engine)
    try:
        return simulation.nominal.flat()
    finally:
        simulation.close()
