"""Vectors (x, y, z) and symmetric tensors (xx, yy, zz, xy, xz, yz) of many robots at once.

Each part is an array [N], or the float 0 where it is 0 for all robots: most robots move in a plane or about axes at right angles,
and what is 0 costs nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Part = float | Array
Vector = list[Part]
PAIRS = ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
"""Row and column of the parts of a tensor."""
_AT = ((0, 3, 4), (3, 1, 5), (4, 5, 2))


def vector(rows: Array) -> Vector:
    """The parts of ``rows`` [3 or 6, N]."""
    return [row if row.any() else 0.0 for row in rows]


def _nothing(part: Part) -> bool:
    return isinstance(part, float) and part == 0.0


def _product(one: Part, other: Part) -> Part:
    return 0.0 if _nothing(one) or _nothing(other) else one * other


def _sum(one: Part, other: Part) -> Part:
    return other if _nothing(one) else one if _nothing(other) else one + other


def _difference(one: Part, other: Part) -> Part:
    return one if _nothing(other) else -other if _nothing(one) else one - other


def plus(one: Vector, other: Vector) -> Vector:
    """Their sum."""
    return [_sum(a, b) for a, b in zip(one, other, strict=True)]


def times(scale: Part, one: Vector) -> Vector:
    """``one``, ``scale`` times as long."""
    return [_product(scale, a) for a in one]


def cross(one: Vector, other: Vector) -> Vector:
    """The vector product."""
    (a, b, c), (x, y, z) = one, other
    return [
        _difference(_product(b, z), _product(c, y)),
        _difference(_product(c, x), _product(a, z)),
        _difference(_product(a, y), _product(b, x)),
    ]


def dot(one: Sequence[Part], other: Sequence[Part]) -> Part:
    """The scalar product."""
    total: Part = 0.0
    for a, b in zip(one, other, strict=True):
        total = _sum(total, _product(a, b))
    return total


def apply(tensor: Vector, one: Vector) -> Vector:
    """The tensor times a vector."""
    return [dot([tensor[place] for place in row], one) for row in _AT]


@dataclass(frozen=True)
class Pose:
    """A frame in its parent's: turned by the constant ``turn`` [3, 3] and then about its z axis by an angle with this ``cosine``
    and ``sine`` (None: not at all), its origin at ``arm``."""

    turn: Array
    arm: Vector
    cosine: Array | None
    sine: Array | None

    def into(self, one: Vector) -> Vector:
        """A vector of the parent's frame in this one."""
        x, y, z = _by(self.turn.T, one)
        if self.cosine is None or self.sine is None:
            return [x, y, z]
        cosine, sine = self.cosine, self.sine
        return [
            _sum(_product(cosine, x), _product(sine, y)),
            _difference(_product(cosine, y), _product(sine, x)),
            z,
        ]

    def out(self, one: Vector) -> Vector:
        """A vector of this frame in the parent's."""
        x, y, z = one
        if self.cosine is not None and self.sine is not None:
            cosine, sine = self.cosine, self.sine
            x, y = (
                _difference(_product(cosine, x), _product(sine, y)),
                _sum(_product(sine, x), _product(cosine, y)),
            )
        return _by(self.turn, [x, y, z])


def _by(matrix: Array, one: Vector) -> Vector:
    """The constant ``matrix`` [3, 3] times a vector: most of its entries are 0, 1 or -1."""
    found: Vector = []
    for row in matrix:
        total: Part = 0.0
        for entry, part in zip(row, one, strict=True):
            if entry == -1.0:
                total = _difference(total, part)
            elif entry:
                total = _sum(total, part if entry == 1.0 else _product(float(entry), part))
        found.append(total)
    return found


def turned(pose: Pose, tensor: Vector) -> Vector:
    """A tensor of the frame ``pose`` in its parent's."""
    half = [pose.out([tensor[_AT[row][column]] for row in range(3)]) for column in range(3)]
    whole = [pose.out([half[row][column] for row in range(3)]) for column in range(3)]
    return [whole[row][column] for row, column in PAIRS]


def shifted(arm: Vector, moment: Vector, mass: Part) -> Vector:
    """What a body's tensor gains when it is about a point from which the old one is at ``arm``; ``moment`` is the first moment of
    mass about the old one."""
    heavy = times(mass, arm)
    both = _sum(_product(2.0, dot(arm, moment)), dot(heavy, arm))
    found: Vector = []
    for row, column in PAIRS:
        mixed = _sum(
            _sum(_product(arm[row], moment[column]), _product(moment[row], arm[column])), _product(heavy[row], arm[column])
        )
        found.append(_difference(both if row == column else 0.0, mixed))
    return found
