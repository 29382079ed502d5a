"""CMA-ES that can be killed: the losses it was told are all that is kept, and telling them again brings it where it was."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class Search:
    """CMA-ES (Hansen 2016) from ``origin`` [n], in steps along ``basis`` [n, n], whose columns are equally wide.

    The steps are those in which the data are about equally sensitive everywhere, so that CMA-ES begins with a round problem.
    ``ask`` and ``tell`` take turns; ``told`` holds the losses of all populations so far: a new search with the same seed that is
    given them again stands where this one does.
    """

    def __init__(self, origin: Array, basis: Array, seed: int, told: Sequence[Sequence[float]] = ()) -> None:
        # cma draws its plots' module in at import; what it warns of is none of the user's business.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            import cma
        rng = np.random.default_rng(seed)
        settings: dict[str, Any] = {
            "randn": lambda *shape: rng.standard_normal(shape),
            "seed": np.nan,
            "verbose": -9,
            "tolfun": 1e-9,
            "tolx": 1e-4,
            "CMA_active": True,
        }
        self._origin, self._basis = origin, basis
        self._evolution = cma.CMAEvolutionStrategy(np.zeros(len(origin)), 1.0, settings)
        self._asked: list[Array] = []
        self.told: list[list[float]] = []
        for losses in told:
            self.ask()
            self.tell(losses)

    def ask(self) -> list[Array]:
        """The next population, coordinates [n] each."""
        self._asked = self._evolution.ask()
        return [self._coordinates(found) for found in self._asked]

    def tell(self, losses: Sequence[float]) -> None:
        """The losses of the population that was asked for."""
        self._evolution.tell(self._asked, list(losses))
        self.told.append([float(value) for value in losses])

    @property
    def centre(self) -> Array:
        """The mean of the distribution [n], the best guess among noisy comparisons."""
        return self._coordinates(np.asarray(self._evolution.mean))

    @property
    def finished(self) -> bool:
        """Whether nothing is to be gained any more."""
        return bool(self._evolution.stop())

    @property
    def population(self) -> int:
        """Candidates in a generation."""
        return int(self._evolution.popsize)

    def _coordinates(self, steps: Array) -> Array:
        return np.asarray(self._origin + self._basis @ steps)
