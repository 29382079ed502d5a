"""From the robot's messages to states: joints by name, finite, timed on the controller's clock."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun.control.limits import Vector
from forerun_sim.errors import InputError

FUTURE = 0.02
"""A stamp this far in the future [s] is rounding and jitter; beyond, the clocks of robot and controller differ."""


class StateRefused(InputError):
    """A message cannot be used as a state; the message names the topic's joint and what is wrong."""


@dataclass(frozen=True)
class State:
    """One measured state.

    Attributes:
        time: controller time of the measurement [s].
        position, velocity: [J], SI, joint order of the bundle, as measured (not unwrapped).
        stamp: the message's stamp [ns], for whoever pairs commands with states.
    """

    time: float
    position: Vector
    velocity: Vector
    stamp: int


@dataclass(frozen=True)
class Refusal:
    """A message arrived that is no state, for this ``reason``."""

    reason: str


@dataclass(frozen=True)
class Overheard:
    """Somebody else sent a ``command`` [A] at ``time`` [s]."""

    time: float
    command: Vector


def measured_at(received: float, age: float | None) -> float:
    """Controller time [s] of a state that arrived at ``received`` and was then ``age`` seconds old (None: it has no stamp).

    Raises:
        StateRefused: the stamp lies in the future.
    """
    if age is None:
        return received
    if age < -FUTURE:
        raise StateRefused(f"joint_states is stamped {-age:.3g} s in the future; synchronise the clocks of robot and controller")
    return received - max(age, 0.0)


class StateReader:
    """Puts named values into the bundle's joint order. Remembers the last message's layout."""

    def __init__(self, joints: Sequence[str]) -> None:
        self._joints = tuple(joints)
        self._names: list[str] | None = None
        self._index = np.zeros(len(self._joints), dtype=np.intp)

    def read(self, names: Sequence[str], position: Sequence[float], velocity: Sequence[float]) -> tuple[Vector, Vector]:
        """Position and velocity [J] of the bundle's joints; further joints in the message are passed over.

        Raises:
            StateRefused: a joint is missing, an array has the wrong length, or a value is not finite.
        """
        if self._names is None or list(names) != self._names:
            self._index = self._indices(names)
            self._names = list(names)
        for label, values in (("position", position), ("velocity", velocity)):
            if len(values) != len(self._names):
                raise StateRefused(f"joint_states has {len(values)} {label} values for {len(self._names)} joints")
        q, dq = (np.asarray(values, dtype=np.float64)[self._index] for values in (position, velocity))
        for label, array in (("position", q), ("velocity", dq)):
            if not np.isfinite(array).all():
                i = int(np.argmin(np.isfinite(array)))
                raise StateRefused(f"joint_states: {label} of joint '{self._joints[i]}' is {array[i]}")
        return q, dq

    def _indices(self, names: Sequence[str]) -> NDArray[np.intp]:
        missing = [name for name in self._joints if name not in names]
        if missing:
            raise StateRefused(f"joint_states has no joint '{missing[0]}'; it has: {', '.join(names) or 'none'}")
        twice = [name for name in self._joints if list(names).count(name) > 1]
        if twice:
            raise StateRefused(f"joint_states names joint '{twice[0]}' more than once")
        return np.array([list(names).index(name) for name in self._joints], dtype=np.intp)
