"""What a robot does against its own weight: the efforts that balance gravity, by the masses of its URDF.

Arms with a torque interface add these efforts themselves (a Franka's command is what comes on top), and so do their velocity
and position controllers. The robot knows its own model, not the truth: another mass, a payload or a tilted base remains to be
felt. The URDF's joints that robot.yaml does not name stand at 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun_sim.kinematics import Frame, rotation
from forerun_sim.urdf import Urdf

Array = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class _Moved:
    """All that one joint moves before the next joint, in a frame whose z axis is the joint's.

    ``parent`` is an index among these (-1: the base), ``turn`` [9, by rows] and ``shift`` [3] are this frame's pose in the
    parent's at position 0, ``mass`` is that of everything from here outwards, ``moment`` [3] the first mass moment of this part.
    """

    joint: int
    parent: int
    slides: bool
    turn: tuple[float, ...]
    shift: tuple[float, ...]
    mass: float
    moment: tuple[float, ...]


class GravityCompensation:
    """Efforts [J] that hold the robot of ``urdf`` still, joints in the order of ``joints``, its base fixed and upright."""

    def __init__(self, urdf: Urdf, joints: Sequence[str], gravity: float) -> None:
        """``gravity`` is its size [m/s^2]."""
        self._gravity = gravity
        self._size = len(joints)
        frames = urdf.frames(joints)
        masses = {name: link.mass for name, link in urdf.links.items()}
        self._parts = _parts(frames, [masses.get(frame.name, 0.0) for frame in frames])

    def efforts(self, position: Sequence[float]) -> list[float]:
        """Efforts [J] in N m or N at ``position`` [J]; 0 for joints that the URDF does not have."""
        efforts: list[float] = self._found(math, position)
        return efforts

    def of_many(self, position: Array) -> list[Any]:
        """The same for many robots at once: ``position`` [J, N] gives efforts [J], each of them [N] or a number for all."""
        return self._found(np, position)

    def _found(self, xp: Any, position: Any) -> list[Any]:
        # Plain floats, gravity carried outwards and mass moments inwards: ten times as fast as arrays of this size.
        down: list[tuple[Any, Any, Any]] = []
        turned: list[tuple[Any, Any]] = []
        for part in self._parts:
            x, y, z = down[part.parent] if part.parent >= 0 else (0.0, 0.0, -self._gravity)
            r = part.turn
            u, v, w = r[0] * x + r[3] * y + r[6] * z, r[1] * x + r[4] * y + r[7] * z, r[2] * x + r[5] * y + r[8] * z
            angle = 0.0 if part.slides else position[part.joint]
            sine, cosine = xp.sin(angle), xp.cos(angle)
            turned.append((sine, cosine))
            down.append((cosine * u + sine * v, cosine * v - sine * u, w))
        efforts: list[Any] = [0.0] * self._size
        moments: list[list[Any]] = [list(part.moment) for part in self._parts]
        for part, (x, y, z), (sine, cosine), moment in zip(
            reversed(self._parts), reversed(down), reversed(turned), reversed(moments), strict=True
        ):
            u, v, w = moment
            efforts[part.joint] = -part.mass * z if part.slides else v * x - u * y
            if part.parent >= 0:
                u, v = cosine * u - sine * v, sine * u + cosine * v
                w = w + part.mass * position[part.joint] if part.slides else w
                r, shift, mass, outer = part.turn, part.shift, part.mass, moments[part.parent]
                outer[0] = outer[0] + (r[0] * u + r[1] * v + r[2] * w + mass * shift[0])
                outer[1] = outer[1] + (r[3] * u + r[4] * v + r[5] * w + mass * shift[1])
                outer[2] = outer[2] + (r[6] * u + r[7] * v + r[8] * w + mass * shift[2])
        return efforts


def _parts(frames: Sequence[Frame], masses: Sequence[float]) -> tuple[_Moved, ...]:
    """``frames`` (every link after its parent) with their masses [kg], lumped by the joint that moves them."""
    carrier: list[int] = []
    poses: list[tuple[Array, Array]] = []  # of each link in its carrier's frame
    joints: list[tuple[Frame, int, Array, Array]] = []
    totals: list[float] = []
    moments: list[Array] = []
    for frame, mass in zip(frames, masses, strict=True):
        above = carrier[frame.parent] if frame.parent >= 0 else -1
        turn, shift = poses[frame.parent] if frame.parent >= 0 else (np.eye(3), np.zeros(3))
        turn, shift = turn @ rotation(frame.rpy), turn @ np.array(frame.xyz) + shift
        if frame.joint >= 0:
            to_axis = z_onto(np.array(frame.axis))
            joints.append((frame, above, turn @ to_axis, shift))
            totals.append(0.0)
            moments.append(np.zeros(3))
            above, turn, shift = len(joints) - 1, to_axis.T, np.zeros(3)
        carrier.append(above)
        poses.append((turn, shift))
        if above >= 0:
            totals[above] += mass
            moments[above] += mass * (turn @ np.array(frame.com) + shift)
    for index in reversed(range(len(joints))):
        if joints[index][1] >= 0:
            totals[joints[index][1]] += totals[index]
    return tuple(
        _Moved(
            joint=frame.joint,
            parent=above,
            slides=frame.type == "prismatic",
            turn=tuple(map(float, turn.ravel())),
            shift=tuple(map(float, shift)),
            mass=total,
            moment=tuple(map(float, moment)),
        )
        for (frame, above, turn, shift), total, moment in zip(joints, totals, moments, strict=True)
    )


def z_onto(axis: Array) -> Array:
    """A rotation matrix [3, 3] that turns the z axis onto the unit vector ``axis``."""
    aside = np.eye(3)[int(np.argmin(np.abs(axis)))]
    x = np.cross(aside, axis)
    x /= np.linalg.norm(x)
    return np.column_stack([x, np.cross(axis, x), axis])
