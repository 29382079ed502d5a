"""What is to be found out: plant parameters with the ranges in which they are sought, as numbers between -1 and 1."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Distribution, RobotSpec

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Unknown:
    """A parameter, named as in ``Parameters.flat``, sought between ``low`` and ``high`` (SI), on a logarithmic scale if ``log``.

    Inside, it is a coordinate: -1 at ``low``, 1 at ``high``.
    """

    name: str
    low: float
    high: float
    nominal: float
    log: bool = False

    def value(self, coordinate: float) -> float:
        """The parameter [SI] at ``coordinate``; beyond the range it stays at its end."""
        share = 0.5 * (min(max(coordinate, -1.0), 1.0) + 1.0)
        if self.log:
            return math.exp(math.log(self.low) + share * (math.log(self.high) - math.log(self.low)))
        return self.low + share * (self.high - self.low)

    def coordinate(self, value: float) -> float:
        """The coordinate of ``value`` [SI], cut to the range."""
        inside = min(max(value, self.low), self.high)
        if self.log:
            return 2.0 * math.log(inside / self.low) / math.log(self.high / self.low) - 1.0
        return 2.0 * (inside - self.low) / (self.high - self.low) - 1.0

    def spread(self, coordinate: float, deviation: float) -> tuple[float, float]:
        """The interval [SI] of ``deviation`` around ``coordinate``, cut to the range."""
        return self.value(coordinate - deviation), self.value(coordinate + deviation)


def values_at(sought: Sequence[Unknown], coordinates: Array) -> dict[str, float]:
    """Parameters [SI] by name at ``coordinates`` [P]."""
    return {unknown.name: unknown.value(float(at)) for unknown, at in zip(sought, coordinates, strict=True)}


def nominal_coordinates(sought: Sequence[Unknown]) -> Array:
    """Where the nominal values lie [P]."""
    return np.array([unknown.coordinate(unknown.nominal) for unknown in sought])


def unknowns(spec: RobotSpec, nominal: Parameters) -> tuple[Unknown, ...]:
    """What ``identify`` in robot.yaml asks for, or else what most robots leave open.

    A key is one parameter (``mass.pole``) or a quantity (``coulomb``: all its joints or links). A normal distribution is sought
    within three standard deviations.

    Raises:
        InputError: a name is no parameter, or a range is empty; the message names it.
    """
    flat = nominal.flat()
    asked = spec.identify or usual(spec, flat)
    found: dict[str, Unknown] = {}
    for key, distribution in asked.items():
        names = [name for name in flat if name == key] or [name for name in flat if name.startswith(f"{key}.")]
        if not names:
            raise InputError(f"robot '{spec.name}': identify.{key}: no such parameter; there are: {', '.join(flat)}")
        for name in names:
            found[name] = _unknown(spec, name, distribution, flat[name])
    return tuple(found.values())


def _unknown(spec: RobotSpec, name: str, distribution: Distribution, nominal: float) -> Unknown:
    if distribution.value is not None:
        raise InputError(f"robot '{spec.name}': identify.{name}: a single value leaves nothing to find out; give a range")
    low, high = distribution.uniform or distribution.log_uniform or (0.0, 0.0)
    if distribution.normal is not None:
        mean, deviation = distribution.normal
        low, high = mean - 3.0 * deviation, mean + 3.0 * deviation
    if distribution.relative:
        low, high = sorted((low * nominal, high * nominal))
    if not low < high:
        hint = "; its nominal value is 0, give the range in SI without 'relative'" if distribution.relative else ""
        raise InputError(f"robot '{spec.name}': identify.{name}: the range [{low:g}, {high:g}] is empty{hint}")
    return Unknown(name, low, high, nominal, log=distribution.log_uniform is not None)


def usual(spec: RobotSpec, flat: Mapping[str, float]) -> dict[str, Distribution]:
    """Ranges for a robot whose robot.yaml names none: masses, inertias and centres of mass of its links, friction and rotor
    inertia of its joints, strength, gains, lag and delay of its drives."""
    efforts = {joint.name: joint.effort or 1.0 for joint in spec.joints}
    chosen: dict[str, Distribution] = {}
    for name, value in flat.items():
        group, _, rest = name.partition(".")
        if group in ("mass", "inertia", "stiffness", "servo_damping") and value > 0:
            chosen[name] = Distribution(log_uniform=(0.4, 2.5), relative=True)
        elif group == "com":
            chosen[name] = Distribution(uniform=(-0.05, 0.05))
        elif group == "strength":
            chosen[name] = Distribution(log_uniform=(0.7, 1.4))
        elif group in ("coulomb", "viscous") and rest in efforts:
            chosen[name] = Distribution(uniform=(0.0, max(4.0 * value, 0.05 * efforts[rest])))
        elif group == "armature" and value > 0:
            chosen[name] = Distribution(uniform=(0.0, 4.0 * value))
        elif group == "lag":
            chosen[name] = Distribution(uniform=(0.0, max(4.0 * value, 0.03)))
        elif group == "delay":
            chosen[name] = Distribution(uniform=(0.0, max(4.0 * value, 0.05)))
    return chosen
