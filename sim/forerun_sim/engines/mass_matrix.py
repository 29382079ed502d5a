"""The mass matrix of a robot in numpy: PyBullet's own is that of the robot as it was first asked, whatever changes later."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_sim.kinematics import ORIGIN, Vector, rotation
from forerun_sim.urdf import Urdf

Array = NDArray[np.float64]


class MassMatrix:
    """The mass matrix of a robot, from its URDF: M = sum of m Jv^T Jv + Jw^T I Jw over the bodies.

    Links that joints hold together count as one body. A base that moves has six coordinates of its own, before the joints.
    """

    def __init__(self, urdf: Urdf, joints: Sequence[str]) -> None:
        self._urdf = urdf
        self._joints = sorted(joints, key=lambda name: len(urdf.branch(urdf.joints[name].child)))
        self._order = [list(joints).index(name) for name in self._joints]
        self._free = "base" in urdf.bodies
        self._holder = {link: self._held(link) for link in urdf.links}
        """The body of each link: the joint that moves it (its place in the order), -1 for the base."""
        self._places = {link: self._place(link) for link in urdf.links}
        count = len(self._joints)
        self._parents = [self._holder[urdf.joints[name].parent] for name in self._joints]
        frames = [self._in_parent(name) for name in self._joints]
        self._shift, self._turn = np.array([frame[0] for frame in frames]), np.array([frame[1] for frame in frames])
        self._axis = np.array([urdf.joints[name].axis for name in self._joints])
        self._slides = np.array([urdf.joints[name].type == "prismatic" for name in self._joints])
        x, y, z = self._axis.T
        zero = np.zeros(count)
        self._cross = np.stack([zero, -z, y, z, zero, -x, -y, x, zero], axis=-1).reshape(count, 3, 3)
        self._square = self._cross @ self._cross
        self._above = np.zeros((count + 1, count))
        for index in range(count):
            parent = self._parents[index]
            self._above[index] = self._above[parent] if parent >= 0 else 0.0
            self._above[index, index] = 1.0
        self._rotors = np.zeros((count, count))
        self._members = np.zeros((count + 1, len(urdf.links)))
        """Which links [L] make a body [K]."""
        for place, name in enumerate(urdf.links):
            self._members[self._holder[name], place] = 1.0
        self._turns = np.array([self._places[name][1] for name in urdf.links])
        coms = [self._places[name][0] + self._places[name][1] @ np.array(link.com) for name, link in urdf.links.items()]
        axes = np.array([self._places[name][1] @ rotation(link.inertia_rpy) for name, link in urdf.links.items()])
        self._centres = np.array(coms)
        self._inertias = axes @ np.array([_tensor(link.inertia) for link in urdf.links.values()]) @ axes.transpose(0, 2, 1)
        """Of the links [L], in the frames of their bodies, as the URDF has them."""

    def _held(self, link: str) -> int:
        for joint in self._urdf.branch(link):
            if joint.name in self._joints:
                return self._joints.index(joint.name)
        return -1

    def _place(self, link: str) -> tuple[Array, Array]:
        """Where a link's frame stands in that of its body: shift and turn."""
        shift, turn = np.zeros(3), np.eye(3)
        for joint in self._urdf.branch(link):
            if joint.name in self._joints:
                break
            turn_above = rotation(joint.rpy)
            shift, turn = np.array(joint.xyz) + turn_above @ shift, turn_above @ turn
        return shift, turn

    def _in_parent(self, name: str) -> tuple[Array, Array]:
        joint = self._urdf.joints[name]
        shift, turn = self._places[joint.parent]
        return shift + turn @ np.array(joint.xyz), turn @ rotation(joint.rpy)

    def load(
        self,
        masses: Mapping[str, float],
        factors: Mapping[str, float],
        shifts: Mapping[str, Vector],
        rotors: Sequence[float],
    ) -> None:
        """Takes over the links' masses [kg], the factors of their inertia, the shifts of their centres of mass [m], and the
        rotors [J] that links carry."""
        self._rotors = np.diag(np.array(rotors)[self._order])
        links = self._urdf.links
        mass = np.array([masses.get(name, link.mass) for name, link in links.items()])
        factor = np.array([factors.get(name, 1.0) for name in links])
        shift = np.array([shifts.get(name, ORIGIN) for name in links])
        centre = self._centres + (self._turns @ shift[:, :, None])[:, :, 0]
        self._mass = self._members @ mass
        self._centre = self._members @ (mass[:, None] * centre) / np.maximum(self._mass, 1e-12)[:, None]
        arm = centre - self._members.T @ self._centre
        square = np.sum(arm * arm, axis=1)[:, None, None] * np.eye(3) - arm[:, :, None] * arm[:, None, :]
        inertia = self._inertias * factor[:, None, None] + mass[:, None, None] * square
        self._inertia = (self._members @ inertia.reshape(-1, 9)).reshape(-1, 3, 3)

    def inverse(self, position: Sequence[float]) -> Array:
        """W [J, J], in the order of the joints, with their positions [J] in that order."""
        count = len(self._joints)
        angles = np.array(position)[self._order]
        turning = np.where(self._slides, 0.0, angles)[:, None, None]
        local = self._turn @ (np.eye(3) + np.sin(turning) * self._cross + (1.0 - np.cos(turning)) * self._square)
        turns, places = np.zeros((count + 1, 3, 3)), np.zeros((count + 1, 3))
        turns[-1] = np.eye(3)
        moved = np.where(self._slides, angles, 0.0)[:, None] * self._axis
        for index, parent in enumerate(self._parents):
            turns[index] = turns[parent] @ local[index]
            places[index] = places[parent] + turns[parent] @ (self._shift[index] + self._turn[index] @ moved[index])
        axes = np.einsum("jab,jb->ja", turns[:-1], self._axis)
        centres = places + np.einsum("kab,kb->ka", turns, self._centre)
        arms = centres[:, None, :] - places[None, :-1, :]
        along = np.where(self._slides[None, :, None], axes[None], _cross(axes[None], arms))
        linear = self._above[..., None] * along
        angular = self._above[..., None] * np.where(self._slides[:, None], 0.0, axes)[None]
        if self._free:
            linear, angular = _with_base(linear, angular, centres)
        inertia = turns @ self._inertia @ turns.transpose(0, 2, 1)
        matrix = np.einsum("k,kia,kja->ij", self._mass, linear, linear) + np.einsum("kab,kia,kjb->ij", inertia, angular, angular)
        matrix[-count:, -count:] += self._rotors
        found = np.zeros((count, count))
        inverse = np.linalg.inv(matrix)
        found[np.ix_(self._order, self._order)] = inverse[6:, 6:] if self._free else inverse
        return found


def _tensor(inertia: Sequence[float]) -> list[list[float]]:
    xx, yy, zz, xy, xz, yz = inertia
    return [[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]


def _cross(one: Array, other: Array) -> Array:
    """Cross products along the last axis; NumPy's own takes three times as long for so few."""
    ax, ay, az = one[..., 0], one[..., 1], one[..., 2]
    bx, by, bz = other[..., 0], other[..., 1], other[..., 2]
    return np.stack((ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx), axis=-1)


def _with_base(linear: Array, angular: Array, centres: Array) -> tuple[Array, Array]:
    """The bodies' Jacobians [K, J, 3] with those of the base's six coordinates before them."""
    count = len(centres)
    unit = np.broadcast_to(np.eye(3), (count, 3, 3))
    turned = np.cross(unit, np.broadcast_to(centres[:, None, :], (count, 3, 3)))
    return (
        np.concatenate([unit, turned, linear], axis=1),
        np.concatenate([np.zeros((count, 3, 3)), unit, angular], axis=1),
    )
