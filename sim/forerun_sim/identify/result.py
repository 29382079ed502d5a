"""What an identification is asked, says on its way, and finds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.identify.information import Knowledge
from forerun_sim.identify.unknowns import Unknown, values_at
from forerun_sim.identify.work import Kind

Array = NDArray[np.float64]
STEPS = (1, 5, 10, 25, 50)


@dataclass(frozen=True)
class Settings:
    """How to identify.

    Attributes:
        engine: whose parameters are sought.
        steps: control steps of a segment: errors count from 1 to so many steps ahead.
        segments: of the training trials that are simulated at most.
        generations: of CMA-ES at most; 0 leaves it at linear steps from the nominal values.
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
    so far, how many segments were simulated in a second, and how many seconds are ``left`` at most; not a number where nothing
    is known yet."""

    stage: str
    share: float
    error: float
    rate: float
    left: float


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
        scale, pull: what an error of 1 is [S], SI, and the errors [S] that count for each unit by which a start is off.
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
    scale: Array
    pull: Array
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
        return self.sought[place].spread(float(self.coordinates[place]), self.knowledge.quantile * self.deviations[name])
