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
from forerun_sim.identify.batch import Batch, suits
from forerun_sim.identify.segments import Segments
from forerun_sim.identify.simulate import Simulation
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
Kind = Literal["predict", "observed", "measured"]


@dataclass(frozen=True)
class Task:
    """Segments with the numbers ``which`` [n], under parameters with each of ``values`` [C]: to predict, from ``starts``
    [C, n, S], or to find the starts of. ``at_once``: without the engine, where the robot allows it."""

    kind: Kind
    values: Sequence[Mapping[str, float]]
    which: Numbers
    starts: Array | None
    at_once: bool


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
            yield Work(simulation, Batch(self.spec) if suits(self.spec) else None, self.segments)
        finally:
            simulation.close()


@dataclass(frozen=True)
class Work:
    """From a task to predictions [C, n, K, S] (not-a-number from where the physics exploded) or starts [C, n, S]; None from
    None."""

    simulation: Simulation
    batch: Batch | None
    segments: Segments

    def __call__(self, task: Task | None) -> Array | None:
        if task is None:
            return None
        count, robots, which = len(task.values), len(task.which), np.tile(task.which, len(task.values))
        parameters = [self.simulation.nominal.changed(values) for values in task.values]
        of = np.repeat(np.arange(count), robots)
        source: Batch | OneByOne = self.batch if task.at_once and self.batch is not None else OneByOne(self.simulation)
        before, given = self.segments.before[which], self.segments.given[which]
        if task.kind == "observed":
            found = source.observe(parameters, of, before, given)
        elif task.kind == "measured":
            found = source.measured(parameters, of, before, given)
        else:
            if task.starts is not None:
                before[:, -1] = task.starts.reshape(count * robots, -1)
            found = source.predict(parameters, of, before, given, self.segments.actions[which])
        return found.reshape(count, robots, *found.shape[1:])


@dataclass(frozen=True)
class OneByOne:
    """A simulation in an engine in the place of a ``Batch``."""

    simulation: Simulation

    def predict(self, parameters: Sequence[Parameters], of: Numbers, before: Array, given: Array, actions: Array) -> Array:
        found = np.full((len(of), actions.shape[1], before.shape[2]), np.nan)
        for row, place in enumerate(of):
            states = self.simulation.predict(parameters[place], before[row], given[row], actions[row])
            found[row, : len(states)] = states
        return found

    def observe(self, parameters: Sequence[Parameters], of: Numbers, before: Array, given: Array) -> Array:
        rows = zip(of, before, given, strict=True)
        return np.array([self.simulation.observe(parameters[place], states, commands) for place, states, commands in rows])

    def measured(self, parameters: Sequence[Parameters], of: Numbers, before: Array, given: Array) -> Array:
        rows = zip(of, before, given, strict=True)
        return np.array([self.simulation.measured(parameters[place], states, commands) for place, states, commands in rows])


class Crew:
    """Workers that hold ``segments`` and simulate them in ``engine``, or at once where that means the same."""

    def __init__(self, spec: RobotSpec, engine: str, segments: Segments, workers: int) -> None:
        self.segments = segments
        self.at_once = suits(spec)
        """Whether to simulate without the engine, many at a time."""
        self._workers = workers
        self._waiting: deque[Task] = deque()
        executor = Here() if workers <= 1 else Processes(workers)
        self._window = 1 if workers <= 1 else 2 * workers
        self._results = executor.run(Begin(spec, engine, segments), self._items(), window=self._window)

    def _items(self) -> Iterator[Task | None]:
        # What is not known yet, because results decide it, is no work: an executor draws ahead.
        while True:
            yield self._waiting.popleft() if self._waiting else None

    def predictions(self, values: Sequence[Mapping[str, float]], which: Numbers, starts: Array) -> Array:
        """Predictions [C, n, K, S] of the segments ``which`` [n] from ``starts`` [C, n, S], for each set of ``values`` [C]."""
        return self._run("predict", values, which, starts)

    def starts(self, kind: Kind, values: Mapping[str, float], which: Numbers) -> Array:
        """Where the segments ``which`` [n] begin [n, S]: as ``measured``, or as ``observed`` over the rows before."""
        return np.asarray(self._run(kind, [values], which, None)[0])

    def _run(self, kind: Kind, values: Sequence[Mapping[str, float]], which: Numbers, starts: Array | None) -> Array:
        pieces = [piece for piece in np.array_split(np.arange(len(which)), self._workers) if len(piece)]
        for piece in pieces:
            own = None if starts is None else starts[:, piece]
            self._waiting.append(Task(kind, tuple(values), which[piece], own, self.at_once))
        found: list[Array] = []
        while len(found) < len(pieces):
            result = next(self._results)
            if result is not None:
                found.append(result)
        return np.concatenate(found, axis=1)

    def close(self) -> None:
        """Ends the workers."""
        self._results.close()
