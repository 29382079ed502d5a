"""The mass matrix of a robot from its URDF: PyBullet's own is that of the robot as it was first asked, whatever changes later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_sim.compiled import compiled
from forerun_sim.engines import tree_inertia
from forerun_sim.kinematics import ORIGIN, Vector, rotation
from forerun_sim.urdf import Urdf

Array = NDArray[np.float64]
_Tree = compiled("forerun_sim.engines._tree_inertia", tree_inertia.TreeInertia)


class MassMatrix:
    """The mass matrix of the ``joints`` of a robot.

    Links that joints hold together count as one body. A base that moves has six coordinates of its own: then the matrix is what
    the joints feel while the base gives way.
    """

    def __init__(self, urdf: Urdf, joints: Sequence[str]) -> None:
        self._urdf = urdf
        self._number = {name: number for number, name in enumerate(joints)}
        places = {name: self._place(name) for name in urdf.links}
        frames: list[list[float]] = []
        for name in joints:
            joint = urdf.joints[name]
            body, shift, turn = places[joint.parent]
            shift, turn = shift + turn @ np.array(joint.xyz), turn @ rotation(joint.rpy)
            slides = float(joint.type == "prismatic")
            frames.append([float(body), slides, *joint.axis, *shift.tolist(), *turn.ravel().tolist()])
        rows: list[list[float]] = []
        for name, (body, shift, turn) in places.items():
            link = urdf.links[name]
            axes = turn @ rotation(link.inertia_rpy)
            inertia = axes @ np.array(_tensor(link.inertia)) @ axes.T
            upper = inertia[(0, 1, 2, 0, 0, 1), (0, 1, 2, 1, 2, 2)]
            centre = shift + turn @ np.array(link.com)
            rows.append([float(body), link.mass, *turn.ravel().tolist(), *centre.tolist(), *upper.tolist()])
        self._masses = {name: link.mass for name, link in urdf.links.items()}
        self._tree = _Tree(frames, rows, "base" in urdf.bodies)
        self.rows = self._tree.inverse
        """``inverse`` as a list of rows, quicker, for positions in a list."""

    def _place(self, link: str) -> tuple[int, Array, Array]:
        """The body of a link, by the number of the joint that moves it, -1 for the base, and where the link's frame stands in
        that of its body: shift and turn."""
        shift, turn = np.zeros(3), np.eye(3)
        for joint in self._urdf.branch(link):
            if joint.name in self._number:
                return self._number[joint.name], shift, turn
            turn_above = rotation(joint.rpy)
            shift, turn = np.array(joint.xyz) + turn_above @ shift, turn_above @ turn
        return -1, shift, turn

    def load(
        self,
        masses: Mapping[str, float],
        factors: Mapping[str, float],
        shifts: Mapping[str, Vector],
        rotors: Sequence[float],
    ) -> None:
        """Takes over the links' masses [kg], the factors of their inertia, the shifts of their centres of mass [m], and the
        rotors [J], which turn with their joints alone."""
        names = self._masses
        self._tree.load(
            [masses.get(name, mass) for name, mass in names.items()],
            [factors.get(name, 1.0) for name in names],
            [shifts.get(name, ORIGIN) for name in names],
            rotors,
        )

    def inverse(self, position: Sequence[float]) -> Array:
        """(M + rotors)^-1 [J, J] with the joints at ``position`` [J], in their order."""
        return np.array(self.rows(list(map(float, position))))


def _tensor(inertia: Sequence[float]) -> list[list[float]]:
    xx, yy, zz, xy, xz, yz = inertia
    return [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]
