"""The mass matrix of a URDF's joints, to see what each of them moves."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_sim.kinematics import Kinematics, rotation
from forerun_sim.urdf import Urdf
from forerun_sim.urdf_checks import inertia_matrix

Array = NDArray[np.float64]


def mass_matrices(urdf: Urdf, joints: Sequence[str], positions: Array) -> Array:
    """[N, J, J] at ``positions`` [N, J] of ``joints``, the base held."""
    kinematics = Kinematics(urdf.frames(joints))
    count = len(joints)
    axes = {}
    for name in joints:
        joint = urdf.joints[name]
        origin = kinematics.point(np, positions, joint.child)
        axes[name] = origin, kinematics.point(np, positions, joint.child, joint.axis) - origin
    found = np.zeros((len(positions), count, count))
    for link in urdf.links.values():
        moving = [joint.name for joint in urdf.branch(link.name) if joint.name in joints]
        if not moving or link.mass <= 0:
            continue
        centre = kinematics.point(np, positions, link.name, link.com)
        corner = kinematics.point(np, positions, link.name)
        turn = np.stack([kinematics.point(np, positions, link.name, tuple(row)) - corner for row in np.eye(3)], axis=-1)
        principal = turn @ rotation(link.inertia_rpy)
        inertia = principal @ inertia_matrix(link) @ principal.transpose(0, 2, 1)
        shift, spin = np.zeros((len(positions), 3, count)), np.zeros((len(positions), 3, count))
        for name in moving:
            origin, axis = axes[name]
            if urdf.joints[name].type == "prismatic":
                shift[:, :, joints.index(name)] = axis
            else:
                shift[:, :, joints.index(name)] = np.cross(axis, centre - origin)
                spin[:, :, joints.index(name)] = axis
        found += link.mass * shift.transpose(0, 2, 1) @ shift + spin.transpose(0, 2, 1) @ inertia @ spin
    # Links without mass at the end of a chain move nothing.
    return np.asarray(found + 1e-9 * np.eye(count))
