"""A task on plain floats: the same terms as on arrays, for one state at a time and several times as fast.

Terms are written for ``xp``, the module numpy or torch, on arrays whose last dimension is the feature. Here ``xp`` is the class
``Floats`` and an array is a ``Row``, so that a term sees one state as floats. A user's Python class may use anything of numpy:
its task gets real arrays.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from forerun_sim.tasks import TaskFunction


class Row:
    """One row of numbers, read as the terms read arrays: ``row[..., 2]``, ``row[..., :3]``."""

    __slots__ = ("values",)

    def __init__(self, values: Sequence[Any]) -> None:
        self.values = values

    def __getitem__(self, key: tuple[Any, Any]) -> Any:
        found = self.values[key[1]]
        return Row(found) if isinstance(key[1], slice) else found

    def __sub__(self, other: Row) -> Row:
        return Row([one - another for one, another in zip(self.values, other.values, strict=True)])


class Floats:
    """What the terms use of numpy, on floats."""

    pi = math.pi
    sin = staticmethod(math.sin)
    cos = staticmethod(math.cos)
    exp = staticmethod(math.exp)
    sqrt = staticmethod(math.sqrt)
    abs = staticmethod(abs)
    arctan2 = staticmethod(math.atan2)
    maximum = staticmethod(max)
    minimum = staticmethod(min)

    @staticmethod
    def clip(value: float, low: float | None, high: float | None) -> float:
        """``value`` within [low, high]; None is no limit."""
        if low is not None and value < low:
            return low
        return high if high is not None and value > high else value

    @staticmethod
    def stack(values: Sequence[float], axis: int) -> Row:
        """Numbers as one row."""
        return Row(values)


class ScalarTask:
    """Reward and termination of one state of a task, from plain lists of floats in physical units."""

    def __init__(self, function: TaskFunction) -> None:
        self._function = function
        # numpy's and the C library's sine differ in the last digit: one environment always takes the same way.
        self._arrays = function.task.python is not None

    def reward(self, state: list[float], action: list[float], previous: list[float], goal: Sequence[float]) -> float:
        """Reward of reaching ``state`` [S] by ``action`` [A], which followed ``previous`` [A], with ``goal`` [G]."""
        if self._arrays:
            arrays = (np.array(values, dtype=float) for values in (state, action, previous, goal))
            return float(self._function.reward(np, *arrays))
        return float(self._function.reward(Floats, Row(state), Row(action), Row(previous), Row(goal)))

    def done(self, state: list[float]) -> bool:
        """Whether ``state`` [S] ends the episode."""
        return bool(self._function.done(Floats, Row(state)))
