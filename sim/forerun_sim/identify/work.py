"""Simulated segments, many at a time, in worker processes that live as long as the search does."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from forerun_sim.executors import Here, Processes
from forerun_sim.identify.segments import Segments
from forerun_sim.identify.simulate import Simulation
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Kind = Literal["predict", "observed", "measured"]


@dataclass(frozen=True)
class Task:
    """Segments with the numbers ``which`` [n], under parameters with ``values``: to predict, from ``starts`` [n, S], or to find
    the starts of."""

    kind: Kind
    values: Mapping[str, float]
    which: Numbers
    starts: Array | None = None


@dataclass(frozen=True)
class Begin:
    """Makes a worker's function: a simulation with the segments at hand."""

    spec: RobotSpec
    engine: str
    segments: Segments

    @contextmanager
    def __call__(self) -> Iterator[Work]:
        simulation = Simulation(self.spec, self.engine)
        try:
            yield Work(simulation, self.segments)
        finally:
            simulation.close()


@dataclass(frozen=True)
class Work:
    """From a task to predictions [n, K, S] (not-a-number from where the physics exploded) or starts [n, S]; None from None."""

    simulation: Simulation
    segments: Segments

    def __call__(self, task: Task | None) -> Array | None:
        if task is None:
            return None
        parameters = self.simulation.nominal.changed(task.values)
        starts = task.starts if task.starts is not None else self.segments.before[task.which, -1]
        return np.array(
            [self._one(task.kind, parameters, number, start) for number, start in zip(task.which, starts, strict=True)]
        )

    def _one(self, kind: Kind, parameters: Parameters, number: int, start: Array) -> Array:
        before, given = self.segments.before[number], self.segments.given[number]
        if kind == "observed":
            return self.simulation.observe(parameters, before, given)
        if kind == "measured":
            return self.simulation.measured(parameters, before, given)
        actions = self.segments.actions[number]
        found = self.simulation.predict(parameters, np.concatenate([before[:-1], start[None]]), given, actions)
        whole = np.full((len(actions), before.shape[1]), np.nan)
        whole[: len(found)] = found
        return whole


class Crew:
    """Workers that hold ``segments``."""

    def __init__(self, spec: RobotSpec, engine: str, segments: Segments, workers: int) -> None:
        self.segments = segments
        self._workers = workers
        self._waiting: deque[Task] = deque()
        executor = Here() if workers <= 1 else Processes(workers)
        self._window = 1 if workers <= 1 else 2 * workers
        self._results = executor.run(Begin(spec, engine, segments), self._items(), window=self._window)

    def _items(self) -> Iterator[Task | None]:
        # What is not known yet, because results decide it, is no work: an executor draws ahead.
        while True:
            yield self._waiting.popleft() if self._waiting else None

    def predictions(self, values: Sequence[Mapping[str, float]], which: Numbers, starts: Array) -> list[Array]:
        """Predictions [n, K, S] of the segments ``which`` [n] from ``starts`` [n, S], for each set of ``values``."""
        parts = 1 if len(values) >= 2 * self._workers else self._workers
        pieces = [piece for piece in np.array_split(np.arange(len(which)), parts) if len(piece)]
        tasks = [Task("predict", value, which[piece], starts[piece]) for value in values for piece in pieces]
        found = self._run(tasks)
        return [np.concatenate(found[at : at + len(pieces)]) for at in range(0, len(found), len(pieces))]

    def starts(self, kind: Kind, values: Mapping[str, float], which: Numbers) -> Array:
        """Where the segments ``which`` [n] begin [n, S]: as ``measured``, or as ``observed`` over the rows before."""
        pieces = [piece for piece in np.array_split(which, self._workers) if len(piece)]
        return np.concatenate(self._run([Task(kind, values, piece) for piece in pieces]))

    def _run(self, tasks: Sequence[Task]) -> list[Array]:
        self._waiting.extend(tasks)
        found: list[Array] = []
        while len(found) < len(tasks):
            result = next(self._results)
            if result is not None:
                found.append(result)
        return found

    def close(self) -> None:
        """Ends the workers."""
        self._results.close()
