"""Forward kinematics, one definition for numpy and torch (and so for ONNX): nothing but products, sums, sine and cosine.

The tree of frames is plain data: a bundle carries it, so that the controller needs no URDF.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]
ORIGIN = (0.0, 0.0, 0.0)
_TYPES = ("revolute", "continuous", "prismatic", "fixed")
_VECTORS = ("axis", "xyz", "rpy", "com")
_MOST = 1000


@dataclass(frozen=True)
class Frame:
    """A link's frame: it stands at ``xyz`` [m], ``rpy`` [rad] in its parent's, and its joint moves it along or about ``axis``.

    ``parent`` is the index of a frame before this one (-1: the base frame, always the first). ``joint`` is the index of its joint
    among the robot's positions, -1 where none moves it. ``com`` is the link's centre of mass [m] in its frame.
    """

    name: str
    parent: int = -1
    joint: int = -1
    type: str = "fixed"
    axis: Vector = (1.0, 0.0, 0.0)
    xyz: Vector = ORIGIN
    rpy: Vector = ORIGIN
    com: Vector = ORIGIN

    def as_data(self) -> dict[str, Any]:
        """JSON values."""
        plain = {"name": self.name, "parent": self.parent, "joint": self.joint, "type": self.type}
        return {**plain, **{key: list(getattr(self, key)) for key in _VECTORS}}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Frame:
        """The frame that ``as_data`` made.

        Raises:
            KeyError, TypeError, ValueError: a key is missing or of the wrong kind.
        """
        vectors = {key: _three(data[key]) for key in _VECTORS}
        return cls(str(data["name"]), int(data["parent"]), int(data["joint"]), str(data["type"]), **vectors)


def check_frames(frames: Sequence[Frame], joints: int) -> str:
    """What is wrong with ``frames`` as the tree of a robot of that many joints; an empty text where they are sound or absent."""
    if len(frames) > _MOST:
        return f"{len(frames)} links, at most {_MOST} are allowed"
    for index, frame in enumerate(frames):
        if not (-1 <= frame.parent < index) or (frame.parent == -1) != (index == 0):
            return f"link '{frame.name}': its parent must be one of the links before it"
        if not -1 <= frame.joint < joints or frame.type not in _TYPES:
            return f"link '{frame.name}': its joint or type is unknown"
        if not all(math.isfinite(value) for key in _VECTORS for value in getattr(frame, key)):
            return f"link '{frame.name}': {', '.join(_VECTORS)} must be finite"
    return ""


def rotation(rpy: Vector) -> NDArray[np.float64]:
    """Rotation matrix [3, 3] of roll, pitch, yaw [rad] about fixed axes, as URDF means them."""
    (cr, cp, cy), (sr, sp, sy) = (tuple(map(math.cos, rpy)), tuple(map(math.sin, rpy)))
    return np.array(
        [
            [cy * cp, cy * sp * sr - sy * cr, cy * sp * cr + sy * sr],
            [sy * cp, sy * sp * sr + cy * cr, sy * sp * cr - cy * sr],
            [-sp, cp * sr, cp * cr],
        ]
    )


class Kinematics:
    """Where the links of a robot are when its joints stand at given positions."""

    def __init__(self, frames: Sequence[Frame]) -> None:
        self._frames = tuple(frames)
        self._index = {frame.name: index for index, frame in enumerate(frames)}
        self._turns = [None if frame.rpy == ORIGIN else rotation(frame.rpy).tolist() for frame in frames]

    def point(self, xp: Any, position: Any, link: str, offset: Vector = ORIGIN) -> Any:
        """``offset`` [m] from the origin of ``link``, in the base frame.

        Args:
            xp: the module ``numpy`` or ``torch``.
            position: joint positions [..., J], SI.
            link: name of a link.
            offset: a point in the link's frame.

        Returns:
            [..., 3] in metres, of the kind of ``position``.
        """
        zero = position[..., 0] * 0.0
        point = [zero + part for part in offset]
        index = self._index[link]
        while self._frames[index].parent >= 0:
            frame, turn = self._frames[index], self._turns[index]
            if frame.joint >= 0:
                point = _moved(xp, frame, position[..., frame.joint], point)
            if turn is not None:
                point = [sum(row[k] * point[k] for k in range(3)) for row in turn]
            point = [part + shift for part, shift in zip(point, frame.xyz, strict=True)]
            index = frame.parent
        return xp.stack(point, -1)


def _moved(xp: Any, frame: Frame, value: Any, point: list[Any]) -> list[Any]:
    """``point`` in the joint's frame after the joint moved by ``value`` (Rodrigues' rotation, or a shift along the axis)."""
    axis = frame.axis
    if frame.type == "prismatic":
        return [part + along * value for part, along in zip(point, axis, strict=True)]
    sine, cosine = xp.sin(value), xp.cos(value)
    along = axis[0] * point[0] + axis[1] * point[1] + axis[2] * point[2]
    cross = [
        axis[1] * point[2] - axis[2] * point[1],
        axis[2] * point[0] - axis[0] * point[2],
        axis[0] * point[1] - axis[1] * point[0],
    ]
    return [point[k] * cosine + cross[k] * sine + axis[k] * along * (1.0 - cosine) for k in range(3)]


def _three(values: Any) -> Vector:
    x, y, z = (float(value) for value in values)
    return (x, y, z)
