"""Reward terms: each a small class with one method, written with what numpy and torch both have, so that ONNX gets it too."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from forerun_sim.spec import RobotSpec, Term
from forerun_sim.tasks.features import Features, Reader


class RewardTerm(Protocol):
    """One term. A class that ``python: module:Class`` names is one too; it is built with the robot's spec."""

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        """Value [...] of the state [..., S] that ``action`` [..., A] led to, after ``previous_action``, given ``goal`` [..., G].
        Physical units; ``xp`` is the module ``numpy`` or ``torch``."""


def _outside(xp: Any, value: Any, low: float, high: float) -> Any:
    """How far ``value`` is outside [low, high], 0 inside."""
    return xp.clip(low - value, 0.0, None) + xp.clip(value - high, 0.0, None)


class _Aimed:
    """A feature and its target, a number or one of the goal's."""

    def __init__(self, term: Term, features: Features) -> None:
        assert term.feature is not None
        self._read: Reader = features.reader(term.feature)
        self._target = term.target
        self._goal = term.goal
        self._weight = term.weight
        self._bounds = term.bounds
        self._margin = term.margin

    def _error(self, xp: Any, state: Any, action: Any, goal: Any) -> Any:
        target = self._target if self._goal is None else goal[..., self._goal]
        return self._read(xp, state, action) - target


class Tolerance(_Aimed):
    """weight * g; g is 1 within ``bounds`` around the target and falls to 0.1 at ``margin`` outside, as a Gaussian."""

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        beyond = _outside(xp, self._error(xp, state, action, goal), *self._bounds) / self._margin
        return self._weight * xp.exp(-math.log(10.0) * beyond * beyond)


class Quadratic(_Aimed):
    """-weight * (feature - target)^2."""

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        error = self._error(xp, state, action, goal)
        return -self._weight * error * error


class Limit(_Aimed):
    """-weight * (excess / margin)^2 beyond ``bounds`` shrunk by ``margin``."""

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        low, high = self._bounds[0] + self._margin, self._bounds[1] - self._margin
        excess = _outside(xp, self._error(xp, state, action, goal), low, high) / self._margin
        return -self._weight * excess * excess


class _Commands:
    """Commands in [-1, 1] of the task's limits. Those that the task does not leave free do not count."""

    def __init__(self, term: Term, spec: RobotSpec, task: str | None) -> None:
        lower, upper = spec.action_limits(task)
        limits = ((slot, float(low), float(high)) for slot, (low, high) in enumerate(zip(lower, upper, strict=True)))
        self._free = [(slot, 0.5 * (low + high), 0.5 * (high - low)) for slot, low, high in limits if high > low]
        self._weight = term.weight / max(1, len(self._free))

    def _squares(self, action: Any, previous: Any | None) -> Any:
        total = action[..., 0] * 0.0
        for slot, middle, half in self._free:
            value = action[..., slot] - (middle if previous is None else previous[..., slot])
            total = total + (value / half) * (value / half)
        return total


class ActionCost(_Commands):
    """-weight * mean of the squared commands."""

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        return -self._weight * self._squares(action, None)


class SlewCost(_Commands):
    """-weight * mean of the squared changes of the commands."""

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        return -self._weight * self._squares(action, previous_action)


class Distance:
    """-weight * distance [m] of a link's origin to three of the goal's numbers, or to another link's origin."""

    def __init__(self, term: Term, features: Features) -> None:
        assert term.link is not None
        self._origin = features.link(term.link)
        self._other = None if term.to is None else features.link(term.to)
        self._goal = term.goal or 0
        self._weight = term.weight

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        origin = self._origin(xp, state, action)
        if self._other is not None:
            aim = self._other(xp, state, action)
            gaps = [origin[..., k] - aim[..., k] for k in range(3)]
        else:
            gaps = [origin[..., k] - goal[..., self._goal + k] for k in range(3)]
        # The small number keeps the gradient finite at the goal, 1e-6 m from it.
        return -self._weight * xp.sqrt(gaps[0] * gaps[0] + gaps[1] * gaps[1] + gaps[2] * gaps[2] + 1e-12)


class Alive:
    """weight, at every step that is reached."""

    def __init__(self, term: Term) -> None:
        self._weight = term.weight

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        return state[..., 0] * 0.0 + self._weight


class Product:
    """weight * product of the values of other terms."""

    def __init__(self, weight: float, terms: Sequence[RewardTerm]) -> None:
        self._weight = weight
        self._terms = tuple(terms)

    def reward(self, xp: Any, state: Any, action: Any, previous_action: Any, goal: Any) -> Any:
        value = self._weight
        for term in self._terms:
            value = value * term.reward(xp, state, action, previous_action, goal)
        return value


_AIMED: dict[str, Callable[[Term, Features], RewardTerm]] = {"tolerance": Tolerance, "quadratic": Quadratic, "limit": Limit}
_COMMANDS: dict[str, Callable[[Term, RobotSpec, str | None], RewardTerm]] = {"action": ActionCost, "slew": SlewCost}


def make_term(term: Term, spec: RobotSpec, task: str | None, features: Features) -> RewardTerm:
    """The class behind a term of robot.yaml."""
    if term.kind in _AIMED:
        return _AIMED[term.kind](term, features)
    if term.kind in _COMMANDS:
        return _COMMANDS[term.kind](term, spec, task)
    if term.kind == "distance":
        return Distance(term, features)
    if term.kind == "alive":
        return Alive(term)
    return Product(term.weight, [make_term(inner, spec, task, features) for inner in term.terms])
