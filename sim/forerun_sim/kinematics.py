"""Forward kinematics, one definition for numpy and torch (and so for ONNX): nothing but products, sums, sine and cosine."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from forerun_sim.urdf import Urdf, UrdfJoint, Vector, rotation

ORIGIN = (0.0, 0.0, 0.0)


class Kinematics:
    """Where the links of ``urdf`` are when ``joints`` (the order of the positions' last axis) stand at given positions.

    Joints of the URDF that are not in ``joints`` stand at 0.
    """

    def __init__(self, urdf: Urdf, joints: Sequence[str]) -> None:
        self._urdf = urdf
        self._index = {name: index for index, name in enumerate(joints)}

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
        for joint in self._urdf.branch(link):
            if joint.name in self._index and joint.movable:
                point = _moved(xp, joint, position[..., self._index[joint.name]], point)
            point = _placed(joint, point)
        return xp.stack(point, -1)


def _moved(xp: Any, joint: UrdfJoint, value: Any, point: list[Any]) -> list[Any]:
    """``point`` in the joint's frame after the joint moved by ``value`` (Rodrigues' rotation, or a shift along the axis)."""
    axis = joint.axis
    if joint.type == "prismatic":
        return [part + along * value for part, along in zip(point, axis, strict=True)]
    sine, cosine = xp.sin(value), xp.cos(value)
    along = axis[0] * point[0] + axis[1] * point[1] + axis[2] * point[2]
    cross = [
        axis[1] * point[2] - axis[2] * point[1],
        axis[2] * point[0] - axis[0] * point[2],
        axis[0] * point[1] - axis[1] * point[0],
    ]
    return [point[k] * cosine + cross[k] * sine + axis[k] * along * (1.0 - cosine) for k in range(3)]


def _placed(joint: UrdfJoint, point: list[Any]) -> list[Any]:
    """``point`` in the frame of the joint's parent link."""
    if joint.rpy == ORIGIN:
        return [part + shift for part, shift in zip(point, joint.xyz, strict=True)]
    turn = [[float(value) for value in row] for row in rotation(joint.rpy)]
    return [sum(turn[row][k] * point[k] for k in range(3)) + joint.xyz[row] for row in range(3)]
