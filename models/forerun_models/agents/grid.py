"""Numbers as cells of a grid, and cells as numbers: what tables need of a continuous environment."""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from collections.abc import Sequence
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor

from forerun_models.agents.base import EnvSpec, Observation
from forerun_sim.errors import InputError
from forerun_sim.spec import Strict
from forerun_sim.spec.base import Finite

MOST_ENTRIES = 50_000_000
"""Of a table: 400 MB."""


class Axis(Strict):
    """How one number of an observation is cut: into ``bins`` equal cells between ``low`` and ``high``, or at ``edges``.

    The outermost cells reach to infinity. With ``wrap`` the number is an angle that repeats after ``high - low``.
    """

    low: Finite | None = None
    high: Finite | None = None
    bins: Annotated[int, Field(ge=1)] = 10
    edges: tuple[Finite, ...] = ()
    wrap: bool = False

    @model_validator(mode="after")
    def _one_way(self) -> Axis:
        bounded = self.low is not None and self.high is not None
        if (self.low is None) != (self.high is None):
            raise ValueError("give both low and high, or neither")
        if bounded and not self.low < self.high:  # type: ignore[operator]
            raise ValueError(f"low {self.low} must be below high {self.high}")
        if self.wrap and not bounded:
            raise ValueError("wrap needs low and high")
        if list(self.edges) != sorted(set(self.edges)):
            raise ValueError(f"edges must rise: {list(self.edges)}")
        return self


class Grid:
    """Numbers the cells of observations [O], row by row.

    Args:
        env: its bounds are the limits of an axis that states none.
        axes: one for each number of an observation; none at all means ``bins`` between the environment's bounds for each.
        bins: see ``axes``.

    Raises:
        InputError: the number of axes is wrong, an axis has neither limits nor bounds, or the table would be too large.
    """

    def __init__(self, env: EnvSpec, axes: Sequence[Axis], bins: int) -> None:
        size = math.prod(env.observation_shape)
        if axes and len(axes) != size:
            raise InputError(f"axes: {len(axes)} are given, but an observation of '{env.id}' has {size} numbers")
        chosen = list(axes) or [Axis(bins=bins)] * size
        low, high = (bound.reshape(-1).tolist() for bound in (env.observation.low, env.observation.high))
        self._edges: list[list[float]] = []
        self._turns: list[tuple[float, float] | None] = []
        for number, axis in enumerate(chosen):
            below = low[number] if axis.low is None else axis.low
            above = high[number] if axis.high is None else axis.high
            if not axis.edges and not (math.isfinite(below) and math.isfinite(above)):
                raise InputError(
                    f"number {number} of the observations of '{env.id}' has no bounds ({below:g} to {above:g}): state low and "
                    "high, or edges, for each axis in the agent's settings (--recipe FILE, key 'axes')"
                )
            edges = axis.edges or np.linspace(below, above, axis.bins + 1)[1:-1]
            # As float32, like observations and like the exported graph.
            self._edges.append(np.asarray(edges, np.float32).tolist())
            self._turns.append((below, above - below) if axis.wrap else None)
        self.sizes = [len(edges) + 1 for edges in self._edges]
        self.cells = math.prod(self.sizes)

    def cell(self, observation: Observation) -> int:
        """Number of the cell in which ``observation`` [O] lies."""
        index = 0
        for value, edges, turn, size in zip(observation.tolist(), self._edges, self._turns, self.sizes, strict=True):
            if turn is not None:
                value = turn[0] + (value - turn[0]) % turn[1]
            index = index * size + bisect_right(edges, value)
        return index

    def cells_of(self, observations: Tensor) -> Tensor:
        """The same for [N, O], as operations that ONNX knows: [N] int64."""
        index = torch.zeros(len(observations), dtype=torch.int64)
        for number, (edges, turn, size) in enumerate(zip(self._edges, self._turns, self.sizes, strict=True)):
            value = observations[:, number : number + 1]
            if turn is not None:
                value = value - turn[1] * torch.floor((value - turn[0]) / turn[1])
            index = index * size + (value >= torch.tensor(edges)).sum(dim=1)
        return index


class Numbered:
    """The trivial grid: an observation is the number of a state."""

    def __init__(self, env: EnvSpec) -> None:
        self._first = int(env.observation.low[0])
        self.cells = int(env.observation.high[0]) - self._first + 1

    def cell(self, observation: Observation) -> int:
        """Number of the state, counted from 0."""
        return int(observation[0]) - self._first


def grid_of(env: EnvSpec, axes: Sequence[Axis], bins: int) -> Grid | Numbered:
    """What numbers the observations of ``env``."""
    return Numbered(env) if env.observation.dtype == np.int64 else Grid(env, axes, bins)


def choices_of(env: EnvSpec, levels: int) -> NDArray[np.float32] | None:
    """Actions [choices, A] of which a table takes one: ``levels`` a number, evenly within [-1, 1]. None where they are choices.

    The weakest come first, so that a table that knows of no difference does as little as it can.
    """
    if env.discrete is not None:
        return None
    values = np.linspace(-1, 1, levels) if levels > 1 else np.zeros(1)
    table = np.array(list(itertools.product(values, repeat=env.action_size)), np.float32)
    return table[np.argsort((table**2).sum(axis=1), kind="stable")]


def checked_size(env: EnvSpec, cells: int, choices: int) -> int:
    """Entries of a table.

    Raises:
        InputError: more than a machine should hold.
    """
    if cells * choices > MOST_ENTRIES:
        raise InputError(
            f"a table for '{env.id}' would have {cells} cells x {choices} actions, more than {MOST_ENTRIES}: state fewer bins or "
            "levels, or choose an agent with networks"
        )
    return cells * choices
