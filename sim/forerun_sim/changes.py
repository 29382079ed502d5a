"""What happens to a robot while it runs: a payload is added, a motor weakens, the bus slows down, a joint rubs.

A schedule is data, in a YAML file:

    format: 1
    changes:
      - { at: 60.0, to: { payload: 0.1 } }          # kg, from the 60th second of the robot's life on
      - { at: 120.0, times: { strength: 0.7 } }     # of all motors; strength.elbow: 0.7 is one motor's
      - { at: 180.0, times: { delay: 2.0, coulomb: 3.0, viscous: 3.0, damping: 3.0 } }

Names are those of ``randomization``. A robot lives while physics steps pass, over all its episodes; a change lasts.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from forerun_sim.errors import InputError
from forerun_sim.randomization import Parameters
from forerun_sim.spec.base import Finite, NonNegative, Strict
from forerun_sim.spec.load import load_yaml, validate

CHANGEABLE = (
    *("mass", "inertia", "com", "link_friction", "restitution", "damping", "viscous", "coulomb", "armature", "strength"),
    *("stiffness", "servo_damping", "lag", "backlash", "no_load_speed", "stiction", "stiction_speed", "gear_loss"),
    *("delay", "payload"),
)
"""Quantities of bodies and drives. Sensors and gravity stay what they were when an episode began."""


class Change(Strict):
    """From ``at`` [s] of the robot's life on quantities are so many ``times`` what they were, or change ``to`` values (SI)."""

    at: NonNegative
    times: dict[str, NonNegative] = Field(default_factory=dict)
    to: dict[str, Finite] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _possible(self) -> Change:
        for name in (*self.times, *self.to):
            if name.partition(".")[0] not in CHANGEABLE:
                raise ValueError(f"'{name}' cannot change while a robot runs; what can: {', '.join(CHANGEABLE)}")
        return self

    def of(self, parameters: Parameters) -> Parameters:
        """``parameters`` after this change.

        Raises:
            InputError: the plant has no such quantity; the message lists what it has.
        """
        known = parameters.flat()
        found = {name: known[name] * factor for key, factor in self.times.items() for name in _named(key, known)}
        return parameters.changed(found | {name: value for key, value in self.to.items() for name in _named(key, known)})


class Changes(Strict):
    """A file of changes."""

    format: Literal[1]
    changes: tuple[Change, ...]


def _named(key: str, known: Mapping[str, float]) -> list[str]:
    """The quantities that ``key`` stands for: one, or that of all joints or links."""
    names = [name for name in known if name == key or name.startswith(f"{key}.")]
    if not names:
        has = ", ".join(name for name in known if name.partition(".")[0] in CHANGEABLE)
        raise InputError(f"changes: the plant has no '{key}'; it has: {has}")
    return names


def load_changes(path: Path) -> tuple[Change, ...]:
    """The changes in a YAML file.

    Raises:
        InputError: the file is missing or wrong; the message names the key.
    """
    return validate(Changes, load_yaml(path), path).changes


class Life:
    """How long a plant has lived, in physics steps, and what has changed since.

    Attributes:
        steps: lived in all episodes before this one.
        due: the step of its life with which the next change comes.
    """

    def __init__(self, changes: Sequence[Change], step: float, nominal: Parameters) -> None:
        """``step`` is the physics step [s].

        Raises:
            InputError: the plant, as ``nominal`` describes it, has no such quantity.
        """
        self._changes = sorted(changes, key=lambda change: change.at)
        self._starts = [math.ceil(change.at / step - 1e-6) for change in self._changes]
        self._past = 0
        self.steps = 0
        self.due = 0
        for change in self._changes:
            change.of(nominal)
        self._look()

    def _look(self) -> None:
        self.due = self._starts[self._past] if self._past < len(self._starts) else sys.maxsize

    def born(self, sampled: Parameters, lived: int) -> Parameters:
        """The plant of an episode that begins after the last one ``lived`` so many steps: ``sampled``, with all that changed."""
        self.steps += lived
        self._past = sum(start <= self.steps for start in self._starts)
        self._look()
        for change in self._changes[: self._past]:
            sampled = change.of(sampled)
        return sampled

    def change(self, parameters: Parameters) -> Parameters:
        """``parameters`` after the change that is due."""
        changed = self._changes[self._past].of(parameters)
        self._past += 1
        self._look()
        return changed

    def as_data(self) -> list[dict[str, Any]]:
        """The whole schedule as plain data, in order."""
        return [change.model_dump(mode="json") for change in self._changes]
