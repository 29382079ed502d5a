"""The mass matrix of a tree of joints by composite rigid bodies (Featherstone, Rigid Body Dynamics Algorithms, 2008, 6.2), on
plain floats and in the frame of the base, where the inertias of bodies that move together simply add up.

``_tree_inertia.c`` is the same, to the last bit, and takes a hundredth of the time or less. It is used where a compiler built it
(``compiled``).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from forerun_sim.kinematics import ORIGIN, Vector

LEAST = 1e-15
"""Of a pivot: what moves nothing at all is taken to have that inertia."""
_UNIT = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
_ROTATIONS = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


class TreeInertia:
    """M = the sum of J^T I J over the bodies of a robot, and its inverse. Links that joints hold together are one body.

    Args:
        joints: 17 numbers of each [J]: the body that it moves from (its joint's number, -1 for the base), 1 where it slides, its
            axis in its own frame, and where that frame stands in the body's: shift and turn (by rows).
        links: 20 numbers of each [L]: its body (as above), mass [kg], turn into the body's frame, centre of mass in that frame
            [m], and inertia about it along that frame's axes (xx, yy, zz, xy, xz, yz) [kg m^2].
        free: whether the base moves: then it has six coordinates of its own, and what is inverted is what the joints feel.
    """

    def __init__(self, joints: Sequence[Sequence[float]], links: Sequence[Sequence[float]], free: bool) -> None:
        self._parents = [int(row[0]) for row in joints]
        self._joints = [(row[1] != 0.0, row[2:]) for row in joints]
        self._links = [(int(row[0]), row[2:]) for row in links]
        self._free = bool(free)
        self._sequence = _parents_first(self._parents)
        self._rotors = [0.0] * len(joints)
        self._bodies = [[0.0] * 10 for _ in range(len(joints) + 1)]
        """Of each body, the base last: mass, first moments, moments about its frame's origin (xx, yy, zz, xy, xz, yz)."""
        self.load([row[1] for row in links], [1.0] * len(links), [ORIGIN] * len(links), self._rotors)

    def load(self, masses: Sequence[float], factors: Sequence[float], shifts: Sequence[Vector], rotors: Sequence[float]) -> None:
        """Takes over the links' masses [L, kg], factors of their inertia [L], shifts of their centres of mass in their own frames
        [L, 3, m], and what turns with the joints alone [J]."""
        self._rotors = list(rotors)
        self._bodies = [[0.0] * 10 for _ in range(len(self._joints) + 1)]
        for (number, link), mass, factor, shift in zip(self._links, masses, factors, shifts, strict=True):
            dx, dy, dz = _turned(link[0:9], shift)
            x, y, z = link[9] + dx, link[10] + dy, link[11] + dz
            xx, yy, zz, xy, xz, yz = link[12:18]
            own = (
                mass,
                mass * x,
                mass * y,
                mass * z,
                factor * xx + mass * (y * y + z * z),
                factor * yy + mass * (x * x + z * z),
                factor * zz + mass * (x * x + y * y),
                factor * xy - mass * (x * y),
                factor * xz - mass * (x * z),
                factor * yz - mass * (y * z),
            )
            body = self._bodies[number]
            for place, value in enumerate(own):
                body[place] += value

    def inverse(self, position: Sequence[float]) -> list[list[float]]:
        """(M + rotors)^-1 [J, J] with the joints at ``position`` [J]."""
        turns: list[Sequence[float]] = [_UNIT] * (len(self._joints) + 1)
        places: list[Vector] = [ORIGIN] * (len(self._joints) + 1)
        motions: list[tuple[Vector, Vector]] = [(ORIGIN, ORIGIN)] * len(self._joints)
        whole = [list(self._bodies[-1])] * (len(self._joints) + 1)
        for joint in self._sequence:
            parent, (slides, frame) = self._parents[joint], self._joints[joint]
            above, (px, py, pz) = turns[parent], places[parent]
            turn = _product(above, frame[6:15])
            sx, sy, sz = _turned(above, frame[3:6])
            x, y, z = px + sx, py + sy, pz + sz
            ax, ay, az = _turned(turn, frame[0:3])
            if slides:
                moved = position[joint]
                x, y, z = x + ax * moved, y + ay * moved, z + az * moved
                motions[joint] = (ORIGIN, (ax, ay, az))
            else:
                turn = _product(turn, _rotated(frame[0], frame[1], frame[2], position[joint]))
                motions[joint] = ((ax, ay, az), (y * az - z * ay, z * ax - x * az, x * ay - y * ax))
            turns[joint], places[joint] = turn, (x, y, z)
            whole[joint] = _placed(self._bodies[joint], turn, x, y, z)
        for joint in reversed(self._sequence):
            above, here = whole[self._parents[joint]], whole[joint]
            for place in range(10):
                above[place] += here[place]
        return _inverted(self._matrix(motions, whole), len(self._joints))

    def _matrix(self, motions: Sequence[tuple[Vector, Vector]], whole: Sequence[Sequence[float]]) -> list[list[float]]:
        """The lower half of M [6 + J or J], from the joints' motions and what each of them moves."""
        before = 6 if self._free else 0
        size = before + len(motions)
        matrix = [[0.0] * size for _ in range(size)]
        for place in range(before):
            turning, moving = (ORIGIN, _ROTATIONS[place]) if place < 3 else (_ROTATIONS[place - 3], ORIGIN)
            force, torque = _momentum(whole[-1], turning, moving)
            for other, value in enumerate((*force, *torque)[: place + 1]):
                matrix[place][other] = value
        for joint, (turning, moving) in enumerate(motions):
            force, torque = _momentum(whole[joint], turning, moving)
            row = matrix[before + joint]
            if self._free:
                row[0:6] = (*force, *torque)
            other = joint
            while other >= 0:
                axis, speed = motions[other]
                value = _dot(axis, torque) + _dot(speed, force)
                matrix[before + max(joint, other)][before + min(joint, other)] = value
                other = self._parents[other]
            row[before + joint] += self._rotors[joint]
        return matrix


def _parents_first(parents: Sequence[int]) -> list[int]:
    """The joints in an order in which each stands behind the one above it."""
    depths = []
    for parent in parents:
        depth = 0
        while parent >= 0:
            parent, depth = parents[parent], depth + 1
        depths.append(depth)
    return sorted(range(len(parents)), key=depths.__getitem__)


def _dot(one: Vector, other: Vector) -> float:
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def _turned(turn: Sequence[float], vector: Sequence[float]) -> Vector:
    x, y, z = vector
    return (
        turn[0] * x + turn[1] * y + turn[2] * z,
        turn[3] * x + turn[4] * y + turn[5] * z,
        turn[6] * x + turn[7] * y + turn[8] * z,
    )


def _product(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [
        one[3 * row] * other[column] + one[3 * row + 1] * other[column + 3] + one[3 * row + 2] * other[column + 6]
        for row in range(3)
        for column in range(3)
    ]


def _rotated(x: float, y: float, z: float, angle: float) -> list[float]:
    """Rodrigues' rotation about the axis (x, y, z), by rows."""
    sine, cosine = math.sin(angle), math.cos(angle)
    rest = 1.0 - cosine
    return [
        cosine + rest * x * x,
        rest * x * y - sine * z,
        rest * x * z + sine * y,
        rest * x * y + sine * z,
        cosine + rest * y * y,
        rest * y * z - sine * x,
        rest * x * z - sine * y,
        rest * y * z + sine * x,
        cosine + rest * z * z,
    ]


def _placed(body: Sequence[float], turn: Sequence[float], x: float, y: float, z: float) -> list[float]:
    """Mass, first and second moments of ``body`` in the base's frame, where its own stands at (x, y, z), turned."""
    mass = body[0]
    hx, hy, hz = _turned(turn, body[1:4])
    xx, yy, zz, xy, xz, yz = body[4:10]
    half = _product(turn, [xx, xy, xz, xy, yy, yz, xz, yz, zz])
    spin = [
        half[3 * row] * turn[3 * column] + half[3 * row + 1] * turn[3 * column + 1] + half[3 * row + 2] * turn[3 * column + 2]
        for row, column in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))
    ]
    # First moments about the base's origin are h + m p; of the second ones, what p adds is m p p^T + p h^T + h p^T.
    gx, gy, gz = hx + mass * x, hy + mass * y, hz + mass * z
    return [
        mass,
        gx,
        gy,
        gz,
        spin[0] + (y * gy + z * gz) + (y * hy + z * hz),
        spin[1] + (x * gx + z * gz) + (x * hx + z * hz),
        spin[2] + (x * gx + y * gy) + (x * hx + y * hy),
        spin[3] - x * gy - y * hx,
        spin[4] - x * gz - z * hx,
        spin[5] - y * gz - z * hy,
    ]


def _momentum(body: Sequence[float], turning: Vector, moving: Vector) -> tuple[Vector, Vector]:
    """Linear and angular momentum of ``body`` about the base's origin, whose point there is ``moving``."""
    mass, hx, hy, hz, xx, yy, zz, xy, xz, yz = body
    wx, wy, wz = turning
    vx, vy, vz = moving
    return (
        (mass * vx + (wy * hz - wz * hy), mass * vy + (wz * hx - wx * hz), mass * vz + (wx * hy - wy * hx)),
        (
            xx * wx + xy * wy + xz * wz + (hy * vz - hz * vy),
            xy * wx + yy * wy + yz * wz + (hz * vx - hx * vz),
            xz * wx + yz * wy + zz * wz + (hx * vy - hy * vx),
        ),
    )


def _inverted(matrix: list[list[float]], count: int) -> list[list[float]]:
    """The last ``count`` rows and columns of the inverse of the symmetric ``matrix``, of which the lower half is given."""
    size = len(matrix)
    for row in range(size):  # Cholesky's factor takes its place
        for column in range(row + 1):
            value = matrix[row][column]
            for place in range(column):
                value -= matrix[row][place] * matrix[column][place]
            if row == column:
                matrix[row][row] = math.sqrt(value if value > LEAST else LEAST)
            else:
                matrix[row][column] = value / matrix[column][column]
    first = size - count
    for column in range(count):  # the factor's own inverse takes its place
        for row in range(column, count):
            value = 1.0 if row == column else 0.0
            for place in range(column, row):
                value -= matrix[first + row][first + place] * matrix[first + place][first + column]
            matrix[first + row][first + column] = value / matrix[first + row][first + row]
    found = [[0.0] * count for _ in range(count)]
    for row in range(count):
        for column in range(row + 1):
            value = 0.0
            for place in range(row, count):
                value += matrix[first + place][first + row] * matrix[first + place][first + column]
            found[row][column] = found[column][row] = value
    return found
