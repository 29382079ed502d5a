"""Rigid bodies on a fixed base, many robots at once: what an engine does for one, in numpy for thousands.

The physics are those of the engines: semi-implicit Euler, implicit in the joints' damping; Coulomb friction as the effort, no
larger than it, that stops the joint within the step; stops that let no joint through. Bias efforts by recursive Newton and Euler,
mass matrices by composite bodies (Featherstone 2008, tables 5.1 and 6.2), on vectors and tensors of ``identify.vectors``: their
parts hold a number for each robot.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.engines.base import gravity_vector
from forerun_sim.gravity import z_onto
from forerun_sim.identify.vectors import PAIRS, Pose, Vector, apply, cross, plus, shifted, times, turned, vector
from forerun_sim.kinematics import rotation
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec
from forerun_sim.urdf import robot_urdf

Array = NDArray[np.float64]
_SWEEPS = 4
"""Of the joints' friction over all joints in a step; it begins where the last step ended."""


@dataclass(frozen=True)
class _Part:
    """All that one joint moves before the next one, in a frame whose z axis is the joint's. ``parent`` is an index among these
    (-1: the base), ``turn`` [3, 3] and ``shift`` [3] are this frame's pose in the parent's at position 0."""

    joint: int
    parent: int
    slides: bool
    turn: Array
    shift: Array
    lower: float
    upper: float


@dataclass(frozen=True)
class _Piece:
    """A link: the ``part`` that it belongs to, its frame's ``turn`` there, its centre of mass [3] and inertia [3, 3] there."""

    name: str
    part: int
    turn: Array
    com: Array
    inertia: Array


class Bodies:
    """The robots' bodies. ``load`` says which, ``step`` moves them."""

    def __init__(self, spec: RobotSpec) -> None:
        """Raises InputError where the robot has no URDF, or a broken one."""
        self._step = 1.0 / spec.control.physics_rate
        self._names = spec.joint_names
        self._carrier = robot_urdf(spec).joints[self._names[-1]].child
        self._parts, self._pieces = _divided(spec)
        self._children = [any(other.parent == place for other in self._parts) for place in range(len(self._parts))]

    def load(self, parameters: Sequence[Parameters], of: NDArray[np.int64]) -> None:
        """Robot n has ``parameters[of[n]]``; all friction is at rest."""
        count, joints = len(self._parts), self._names
        mass, moment = np.zeros((count, len(parameters))), np.zeros((count, 3, len(parameters)))
        inertia = np.zeros((count, 6, len(parameters)))
        for column, one in enumerate(parameters):
            for piece in self._pieces:
                own = one.mass[piece.name] + (one.payload if piece.name == self._carrier else 0.0)
                com = piece.com + piece.turn @ [one.com[f"{piece.name}.{axis}"] for axis in "xyz"]
                scale = one.mass[piece.name] * one.inertia[piece.name]
                about = scale * piece.inertia + own * (com @ com * np.eye(3) - np.outer(com, com))
                mass[piece.part, column] += own
                moment[piece.part, :, column] += own * com
                inertia[piece.part, :, column] += [about[pair] for pair in PAIRS]
        self._mass = list(mass[:, of])
        self._moment = [vector(rows[:, of]) for rows in moment]
        self._inertia = [vector(rows[:, of]) for rows in inertia]
        by_joint = {
            key: np.array([[getattr(one, key)[name] for one in parameters] for name in joints])[:, of]
            for key in ("damping", "viscous", "coulomb", "armature")
        }
        self._damping = by_joint["damping"] + by_joint["viscous"]
        self._coulomb = by_joint["coulomb"]
        self._added = by_joint["armature"] + self._step * self._damping
        self._rubs = [joint for joint in range(len(joints)) if self._coulomb[joint].any()]
        self._rubbing = np.zeros((len(joints), len(of)))
        self._upwards = vector(-np.array([gravity_vector(one) for one in parameters]).T[:, of])

    def step(self, position: Array, velocity: Array, effort: Array) -> None:
        """One physics step under the actuators' ``effort`` [J, N]: ``position`` and ``velocity`` [J, N] become those after it."""
        inverse, bias = self._inverse_and_bias(position, velocity)
        step, rubbing = self._step, self._rubbing
        pull = effort - self._damping * velocity - bias + rubbing
        speeding = np.einsum("ijn,jn->in", inverse, pull)
        for _ in range(_SWEEPS if len(self._rubs) > 1 else 1):
            for joint in self._rubs:
                column = inverse[:, joint]
                wanted = rubbing[joint] - (velocity[joint] / step + speeding[joint]) / column[joint]
                found = np.clip(wanted, -self._coulomb[joint], self._coulomb[joint])
                speeding += column * (found - rubbing[joint])
                rubbing[joint] = found
        velocity += step * speeding
        for part in self._parts:
            if np.isfinite(part.lower):
                joint = part.joint
                np.clip(
                    velocity[joint],
                    np.minimum((part.lower - position[joint]) / step, 0.0),
                    np.maximum((part.upper - position[joint]) / step, 0.0),
                    out=velocity[joint],
                )
        position += step * velocity

    def _inverse_and_bias(self, position: Array, velocity: Array) -> tuple[Array, Array]:
        """The inverse mass matrices [J, J, N], rotors and implicit damping in them, and efforts [J, N] of speed and weight."""
        poses = [self._pose(part, position[part.joint]) for part in self._parts]
        forces, torques = self._outwards(poses, position, velocity)
        joints, robots = position.shape
        bias, matrix = np.zeros((joints, robots)), np.zeros((joints, joints, robots))
        mass, moments, inertias = list(self._mass), list(self._moment), list(self._inertia)
        for place in reversed(range(len(self._parts))):
            part, pose = self._parts[place], poses[place]
            bias[part.joint] = forces[place][2] if part.slides else torques[place][2]
            self._couple(matrix, place, mass[place], moments[place], inertias[place], poses)
            above = part.parent
            if above < 0:
                continue
            pushed, carried = pose.out(forces[place]), pose.out(moments[place])
            forces[above] = plus(forces[above], pushed)
            torques[above] = plus(plus(torques[above], pose.out(torques[place])), cross(pose.arm, pushed))
            mass[above] = mass[above] + mass[place]
            moments[above] = plus(plus(moments[above], carried), times(mass[place], pose.arm))
            gained = plus(turned(pose, inertias[place]), shifted(pose.arm, carried, mass[place]))
            inertias[above] = plus(inertias[above], gained)
        for joint in range(joints):
            matrix[joint, joint] += self._added[joint]
        return _inverse(matrix), bias

    @staticmethod
    def _pose(part: _Part, at: Array) -> Pose:
        """Where the frame of ``part`` is in its parent's while its joint is ``at`` [N]."""
        if not part.slides:
            return Pose(part.turn, [float(value) for value in part.shift], np.cos(at), np.sin(at))
        along: Vector = [float(value) for value in part.turn[:, 2]]
        return Pose(part.turn, plus([float(value) for value in part.shift], times(at, along)), None, None)

    def _outwards(self, poses: Sequence[Pose], position: Array, velocity: Array) -> tuple[list[Vector], list[Vector]]:
        """The force and torque that each part needs to move as it does without the joints' own acceleration."""
        spins: list[Vector] = []
        turns: list[Vector] = []
        rises: list[Vector] = []
        forces: list[Vector] = []
        torques: list[Vector] = []
        for place, part in enumerate(self._parts):
            pose, speed = poses[place], velocity[part.joint]
            spin: Vector = [0.0, 0.0, 0.0]
            turn, rise = spin, self._upwards
            if part.parent >= 0:
                spin, turn, rise = spins[part.parent], turns[part.parent], rises[part.parent]
                rise = plus(plus(rise, cross(turn, pose.arm)), cross(spin, cross(spin, pose.arm)))
            spin, turn, rise = pose.into(spin), pose.into(turn), pose.into(rise)
            moving: Vector = [0.0, 0.0, speed]
            if part.slides:
                rise = plus(rise, times(2.0, cross(spin, moving)))
            else:
                turn = plus(turn, cross(spin, moving))
                spin = plus(spin, moving)
            moment, inertia = self._moment[place], self._inertia[place]
            force = plus(times(self._mass[place], rise), plus(cross(turn, moment), cross(spin, cross(spin, moment))))
            torque = plus(plus(apply(inertia, turn), cross(spin, apply(inertia, spin))), cross(moment, rise))
            for kept, found in ((spins, spin), (turns, turn), (rises, rise), (forces, force), (torques, torque)):
                kept.append(found)
        return forces, torques

    def _couple(self, matrix: Array, place: int, mass: Array, moment: Vector, inertia: Vector, poses: Sequence[Pose]) -> None:
        """Puts into ``matrix`` what all joints feel as that of part ``place`` accelerates, with all that it carries."""
        part = self._parts[place]
        force: Vector
        torque: Vector
        if part.slides:
            force, torque = [0.0, 0.0, mass], [moment[1], times(-1.0, moment[:1])[0], 0.0]
        else:
            force, torque = [times(-1.0, moment[1:2])[0], moment[0], 0.0], [inertia[4], inertia[5], inertia[2]]
        here = place
        while True:
            current, pose = self._parts[here], poses[here]
            felt = force[2] if current.slides else torque[2]
            matrix[part.joint, current.joint] = matrix[current.joint, part.joint] = felt
            if current.parent < 0:
                return
            force = pose.out(force)
            torque = plus(pose.out(torque), cross(pose.arm, force))
            here = current.parent


def _divided(spec: RobotSpec) -> tuple[tuple[_Part, ...], tuple[_Piece, ...]]:
    """The robot's joints, each after those above it, and the links that they move."""
    urdf = robot_urdf(spec)
    parts: list[_Part] = []
    pieces: list[_Piece] = []
    poses: dict[str, tuple[int, Array, Array]] = {urdf.root: (-1, np.eye(3), np.zeros(3))}
    for name in sorted(urdf.links, key=lambda link: len(urdf.branch(link)))[1:]:
        joint, link = urdf.parents[name], urdf.links[name]
        above, turn, shift = poses[joint.parent]
        turn, shift = turn @ rotation(joint.rpy), turn @ np.array(joint.xyz) + shift
        if joint.name in spec.joint_names:
            index = spec.joint_names.index(joint.name)
            to_axis = z_onto(np.array(joint.axis))
            limits = (joint.lower, joint.upper) if joint.type != "continuous" else (None, None)
            low, high = (np.inf if limit is None else limit for limit in limits)
            stops = (low, high) if low < high else (-np.inf, np.inf)
            parts.append(_Part(index, above, joint.type == "prismatic", _clean(turn @ to_axis), shift, *stops))
            above, turn, shift = len(parts) - 1, to_axis.T, np.zeros(3)
        poses[name] = (above, turn, shift)
        if above >= 0 and link.mass > 0:
            xx, yy, zz, xy, xz, yz = link.inertia
            axes = turn @ rotation(link.inertia_rpy)
            own = axes @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ axes.T
            pieces.append(_Piece(name, above, turn, turn @ np.array(link.com) + shift, own / link.mass))
    return tuple(parts), tuple(pieces)


def _clean(turn: Array) -> Array:
    """``turn`` with rounding taken off its zeros and ones, which cost nothing then."""
    near = np.round(turn)
    return np.where(np.abs(turn - near) < 1e-12, near, turn)


def _inverse(matrix: Array) -> Array:
    """Inverses of the symmetric positive matrices [J, J, N], by Gauss and Jordan without pivots."""
    count = len(matrix)
    work = matrix.copy()
    for pivot in range(count):
        scale = 1.0 / work[pivot, pivot]
        row = work[pivot] * scale
        column = work[:, pivot].copy()
        work -= column[:, None] * row[None]
        work[pivot] = row
        work[:, pivot] = -column * scale
        work[pivot, pivot] = scale
    return work
