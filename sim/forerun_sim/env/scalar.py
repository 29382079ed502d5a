"""A task on plain floats: the same terms as on arrays, for one state at a time and several times as fast.

Terms are written for ``xp``, the module numpy or torch, on arrays whose last dimension is the feature. Here ``xp`` is the class
``Floats`` and an array is a ``Row``, so that a term sees one state as floats. A user's Python class may use anything of numpy:
its task gets real arrays.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction
from forerun_sim.tasks.features import Features, Reader


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


class _Remembering(Features):
    """Features that follow the chain of joints to a link once a state, however many terms look at it."""

    def __init__(self, spec: RobotSpec) -> None:
        super().__init__(spec)
        self._known: dict[tuple[str, str], Reader] = {}

    def link(self, name: str) -> Reader:
        return self._once((name, ""), super().link)

    def _direction(self, name: str, axis: str) -> Reader:
        return self._once((name, axis), lambda link: super(_Remembering, self)._direction(link, axis))

    def _once(self, key: tuple[str, str], make: Callable[[str], Reader]) -> Reader:
        if key not in self._known:
            self._known[key] = _remembered(make(key[0]))
        return self._known[key]


def _remembered(read: Reader) -> Reader:
    """``read``, which is asked again only for another state than the last (another object: states are never changed)."""
    last: Any = None
    value: Any = None

    def recall(xp: Any, state: Any, action: Any) -> Any:
        nonlocal last, value
        if state is not last:
            last, value = state, read(xp, state, action)
        return value

    return recall


class ScalarTask:
    """Reward, termination and success of a task of ``spec``, from plain lists of floats in physical units.

    Raises:
        InputError: there is no such task, or its ``python`` class cannot be imported.
    """

    def __init__(self, spec: RobotSpec, name: str) -> None:
        self._function = TaskFunction(spec, name, _Remembering(spec))
        # numpy's and the C library's sine differ in the last digit: one environment always takes the same way.
        self._arrays = self._function.task.python is not None
        self._period = spec.control.period

    def judge(self, state: list[float], action: list[float], previous: list[float], goal: Sequence[float]) -> tuple[float, bool]:
        """Reward of reaching ``state`` [S] by ``action`` [A], which followed ``previous`` [A], with ``goal`` [G], and whether
        the state ends the episode."""
        row = Row(state)
        done = bool(self._function.done(Floats, row))
        if self._arrays:
            arrays = (np.array(values, dtype=float) for values in (state, action, previous, goal))
            return float(self._function.reward(np, *arrays)), done
        return float(self._function.reward(Floats, row, Row(action), Row(previous), Row(goal))), done

    def success(self, states: Sequence[list[float]], goal: Sequence[float]) -> bool:
        """Whether a run that ended with ``states`` [T, S] held the goal as long as the task asks."""
        return self._function.success(np.array(states), self._period, np.array(goal))
