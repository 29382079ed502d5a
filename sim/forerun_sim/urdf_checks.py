"""What a URDF may be and still simulate: bodies that can exist, joints with limits, meshes that can be read.

PyBullet accepts much of what is refused here and then counts wrongly without a word (a moment of inertia larger than the sum
of the others becomes 0), or its C++ dies with the process. So nothing reaches it unchecked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError
from forerun_sim.kinematics import rotation
from forerun_sim.meshes import mesh_points
from forerun_sim.urdf_shapes import LONGEST, MESH_FORMATS, find_mesh

if TYPE_CHECKING:
    from forerun_sim.urdf import Link, Urdf, UrdfJoint

Matrix = NDArray[np.float64]
MOST_JOINTS = 127
"""PyBullet holds no more joints, fixed ones included, in one body."""
HEAVIEST = 1e6
REPAIR = "or let 'forerun new-robot URDF --repair' compute it from the shapes"


def inertia_matrix(link: Link) -> Matrix:
    """The inertia [3, 3] of ``link`` [kg m^2] about its centre of mass, along the axes of its inertial frame."""
    ixx, iyy, izz, ixy, ixz, iyz = link.inertia
    return np.array([[ixx, ixy, ixz], [ixy, iyy, iyz], [ixz, iyz, izz]])


def principal_moments(link: Link) -> Matrix:
    """Principal moments of inertia [3] of ``link`` [kg m^2], ascending."""
    matrix = inertia_matrix(link)
    diagonal = np.diag(matrix)
    # Where nothing is to be turned, nothing is to be rounded either: PyBullet compares exactly.
    straight = np.count_nonzero(matrix - np.diag(diagonal)) == 0
    found: Matrix = np.sort(diagonal) if straight else np.asarray(np.linalg.eigvalsh(matrix), dtype=np.float64)
    return found


def body_problem(link: Link) -> str:
    """What is impossible about the mass and inertia of ``link`` in itself, and what to do; empty where it can exist."""
    if link.mass > HEAVIEST or np.abs(link.com).max() > LONGEST:
        return f"has {link.mass:g} kg at {link.com} m: masses are in kg, lengths in m; at most {HEAVIEST:g} kg and {LONGEST:g} m"
    low, middle, high = principal_moments(link)
    shown = ", ".join(f"{moment:.4g}" for moment in (low, middle, high))
    if low < 0 and low < -1e-9 * high:
        return f"has the principal moments of inertia {shown}: none can be negative; correct the products of inertia, {REPAIR}"
    if high > low + middle and (high - low - middle) > 1e-9 * high:
        return (
            f"has the principal moments of inertia {shown}: no body has one above the sum of the other two, and PyBullet would"
            f" set them all to 0; correct the inertia, {REPAIR}"
        )
    if link.mass > 0 and high > link.mass * LONGEST**2:
        return f"has the moment of inertia {high:.4g} with {link.mass:.4g} kg, as if it were kilometres wide: check the units"
    return ""


def rigid_group(urdf: Urdf, link: str) -> list[tuple[Link, Matrix, Matrix]]:
    """``link`` and the links fixed to it, each with its origin [3] and axes [3, 3] in the frame of ``link``."""
    found = [(urdf.links[link], np.zeros(3), np.eye(3))]
    for body, origin, axes in found:
        for joint in urdf.joints.values():
            if joint.parent == body.name and not joint.movable:
                placed = origin + axes @ np.array(joint.xyz)
                found.append((urdf.links[joint.child], placed, axes @ rotation(joint.rpy)))
    return found


def inertia_about(urdf: Urdf, joint: UrdfJoint) -> tuple[float, float]:
    """Mass [kg] that ``joint`` moves rigidly (up to the next joints that move), and its inertia about the joint's axis."""
    axis, total, mass = np.array(joint.axis), 0.0, 0.0
    for body, origin, axes in rigid_group(urdf, joint.child):
        turned = axes @ rotation(body.inertia_rpy)
        arm = np.cross(axis, origin + axes @ np.array(body.com))
        total += float(axis @ turned @ inertia_matrix(body) @ turned.T @ axis) + body.mass * float(arm @ arm)
        mass += body.mass
    return mass, total


def check_bodies(urdf: Urdf) -> None:
    """Checks that every body of ``urdf`` can exist, and that each joint moves one.

    Raises:
        InputError: one does not; the message names the file, the link or joint, and the remedy.
    """
    for link in urdf.links.values():
        problem = body_problem(link)
        if problem:
            raise InputError(f"{urdf.path}: link '{link.name}' {problem}")
    for joint in urdf.joints.values():
        if not joint.movable:
            continue
        group = [body for body, _, _ in rigid_group(urdf, joint.child)]
        moved = f"link '{joint.child}', moved by joint '{joint.name}',"
        if sum(body.mass for body in group) <= 0:
            raise InputError(f"{urdf.path}: {moved} has no mass: give it an <inertial>, {REPAIR}")
        if not any(any(body.inertia) for body in group) and joint.type != "prismatic":
            raise InputError(f"{urdf.path}: {moved} has a mass but no inertia: give it one above 0, {REPAIR}")
        if joint.type != "prismatic" and inertia_about(urdf, joint)[1] <= 1e-12:
            raise InputError(f"{urdf.path}: {moved} has no inertia about the joint's axis: give it one above 0, {REPAIR}")


def check_loadable(urdf: Urdf) -> None:
    """Checks what an engine reads beside the bodies: the number of joints, their limits, names of files and their formats.

    Raises:
        InputError: as in ``check_bodies``.
    """
    if not urdf.name:
        raise InputError(f'{urdf.path}: the <robot> has no name: write <robot name="...">')
    if len(urdf.joints) > MOST_JOINTS:
        raise InputError(f"{urdf.path}: {len(urdf.joints)} joints, and PyBullet holds {MOST_JOINTS}: merge links that are fixed")
    for joint in urdf.joints.values():
        if joint.type in ("revolute", "prismatic") and not joint.limited:
            remedy = "add <limit lower=... upper=... effort=... velocity=...>"
            remedy += ", or make it continuous" if joint.type == "revolute" else ""
            raise InputError(f"{urdf.path}: joint '{joint.name}' is {joint.type} and has no <limit>: {remedy}")
        if joint.lower is not None and joint.upper is not None and joint.lower > joint.upper and joint.type != "continuous":
            found = f"the limits of joint '{joint.name}' are reversed: lower {joint.lower:g}, upper {joint.upper:g}"
            raise InputError(f"{urdf.path}: {found}; exchange them, or make the joint continuous")
    for link in urdf.links.values():
        for shape in link.shapes:
            if shape.kind == "mesh":
                _check_mesh_file(urdf, link, shape.mesh)


def _check_mesh_file(urdf: Urdf, link: Link, mesh: str) -> None:
    where = f"{urdf.path}: link '{link.name}': mesh '{mesh}'"
    if not mesh.lower().endswith(MESH_FORMATS):
        raise InputError(f"{where} is of a format that PyBullet cannot read: save it as one of {', '.join(MESH_FORMATS)}")
    if find_mesh(mesh, urdf.path) is None:
        raise InputError(
            f"{where} is not there, neither below {urdf.path.parent} nor below a folder above it: correct the name, or let"
            " 'forerun new-robot URDF' copy the meshes of ROS packages beside the URDF"
        )


def check_meshes(urdf: Urdf) -> None:
    """Reads every mesh file of ``urdf`` as PyBullet will.

    Raises:
        InputError: one is broken, or measures more than a robot can; the message names file, link, mesh and remedy.
    """
    known: dict[object, Matrix] = {}
    for link in urdf.links.values():
        for shape in link.shapes:
            path = find_mesh(shape.mesh, urdf.path) if shape.kind == "mesh" else None
            if path is None:
                continue
            try:
                if path not in known:
                    known[path] = np.abs(mesh_points(path)).max(axis=0)
            except (ValueError, OSError) as error:
                raise InputError(f"{urdf.path}: link '{link.name}': mesh {path}: {error}") from error
            if path.suffix.lower() != ".dae" and (known[path] * np.abs(shape.size)).max() > LONGEST:
                wide = (known[path] * np.abs(shape.size)).max()
                raise InputError(
                    f"{urdf.path}: link '{link.name}': mesh {path} is {wide:.4g} m wide: is it in millimetres?"
                    ' then write scale="0.001 0.001 0.001"'
                )
