"""A task as functions of states and actions: one definition for the simulator, training and the planner's graph."""

from __future__ import annotations

import importlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError
from forerun_sim.spec import Bound, RobotSpec
from forerun_sim.tasks.features import Features, Reader
from forerun_sim.tasks.terms import RewardTerm, make_term


class TaskFunction:
    """Reward, termination and success of one task of ``spec``, the first one where ``name`` is None.

    All arguments are in physical units; ``xp`` is the module ``numpy`` or ``torch``, and the arrays are of that kind, with any
    leading dimensions. Goals are arguments, never baked in.

    Raises:
        InputError: there is no such task, or its ``python`` class cannot be imported.
    """

    def __init__(self, spec: RobotSpec, name: str | None = None, features: Features | None = None) -> None:
        """``features`` reads them, if not the usual one."""
        self.task = spec.task(name)
        self.name = next(known for known, task in spec.tasks.items() if task is self.task)
        self.goal_size = len(self.task.goal.names)
        self.default_goal: NDArray[np.float64] = np.array(self.task.goal.default, dtype=float)
        features = Features(spec) if features is None else features
        self._terms = [make_term(term, spec, self.name, features) for term in self.task.terms]
        if self.task.python is not None:
            self._terms.append(_python_term(self.task.python, spec, f"robot '{spec.name}': tasks.{self.name}.python"))
        self._termination = _bounds(features, self.task.termination)
        self._success = _bounds(features, self.task.success)

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        """Reward [...] of reaching ``state`` [..., S] by ``action`` [..., A], which followed ``previous_action`` [..., A]."""
        total = state[..., 0] * 0.0
        for term in self._terms:
            total = total + term.reward(xp, state, action, previous_action, goal)
        return total

    def done(self, xp: Any, state: Any) -> Any:
        """Whether ``state`` [..., S] ends the episode, bool [...]."""
        return _any_outside(xp, state, self.default_goal, self._termination)

    def outside(self, xp: Any, state: Any) -> Any:
        """How far ``state`` [..., S] is outside of what success asks for, with the default goal, in its features' units [...]:
        the largest excess over a bound, below 0 within all of them. For tasks that say what success is."""
        excesses = []
        for read, low, high, aim in self._success:
            value = read(xp, state, None) - (0.0 if aim is None else self.default_goal[aim])
            excesses += [low - value, value - high]
        largest = excesses[0]
        for excess in excesses[1:]:
            largest = xp.maximum(largest, excess)
        return largest

    def success(self, states: NDArray[Any], period: float, goal: NDArray[Any] | None = None) -> bool:
        """Whether a run of ``states`` [T, S], ``period`` [s] apart, ends with ``goal`` [G] (the task's default where None) held
        for ``hold`` seconds. False for a task that does not say what success is."""
        rows = round(self.task.hold / period) + 1
        if not self._success or len(states) < rows:
            return False
        last = states[-rows:]
        aim = self.default_goal if goal is None else goal
        return bool(np.isfinite(last).all() and not _any_outside(np, last, aim, self._success).any())


Limits = list[tuple[Reader, float, float, int | None]]
"""Features of the state, with the interval of each and the index of the goal number that it is around, if any."""


def _bounds(features: Features, bounds: tuple[Bound, ...]) -> Limits:
    return [(features.reader(bound.feature), *bound.bounds, bound.goal) for bound in bounds]


def _any_outside(xp: Any, state: Any, goal: Any, bounds: Limits) -> Any:
    outside = state[..., 0] * 0.0 > 1.0
    for read, low, high, aim in bounds:
        value = read(xp, state, None)
        if aim is not None:
            value = value - goal[..., aim]
        outside = outside | (value < low) | (value > high)
    return outside


def _python_term(path: str, spec: RobotSpec, where: str) -> RewardTerm:
    """The user's own term: ``module:Class``, built with the robot's spec."""
    module, _, name = path.partition(":")
    if not module or not name:
        raise InputError(f"{where}: '{path}' is not of the form module:Class")
    try:
        kind = getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as error:
        raise InputError(f"{where}: module '{error.name}' is not installed and not on PYTHONPATH") from error
    except AttributeError as error:
        raise InputError(f"{where}: module '{module}' has no class '{name}'") from error
    if not callable(getattr(kind, "reward", None)):
        raise InputError(f"{where}: {path} needs a method reward(xp, state, action, previous_action, goal)")
    term: RewardTerm = kind(spec)
    return term
