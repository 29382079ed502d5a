"""Bodies that cannot exist, made possible: inertia from the shapes, the smallest change where moments contradict each other."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from forerun_sim.authoring.source import Source
from forerun_sim.kinematics import rotation
from forerun_sim.meshes import mesh_points
from forerun_sim.urdf import Link, Urdf
from forerun_sim.urdf_checks import body_problem, principal_moments, rigid_group
from forerun_sim.urdf_shapes import Shape, find_mesh

Array = NDArray[np.float64]
DENSITY = 500.0
"""Of a link's box [kg/m^3] where nothing says its mass: light alloy and air."""
_KEYS = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")


def repair_bodies(source: Source, urdf: Urdf) -> None:
    """Changes the <inertial> of every link of ``source`` that ``urdf_checks`` would refuse; ``urdf`` is what it says now."""
    moved = {joint.child for joint in urdf.joints.values() if joint.movable}
    elements = {element.get("name"): element for element in source.tree.findall("link")}
    for link in urdf.links.values():
        element = elements[link.name]
        group = [body for body, _, _ in rigid_group(urdf, link.name)] if link.name in moved else []
        weightless = bool(group) and sum(body.mass for body in group) <= 0
        pointlike = link.mass > 0 and not any(link.inertia) and bool(group)
        if weightless or pointlike or principal_moments(link)[0] < 0:
            source.notes.append(_from_shapes(element, link, urdf.path))
        elif body_problem(link):
            source.notes.append(_widened(element, link))


def _from_shapes(element: ElementTree.Element, link: Link, urdf: Path) -> str:
    low, high = _box(link, urdf)
    edges = np.maximum(high - low, 0.01)
    mass = link.mass or float(DENSITY * edges.prod())
    squares = edges**2
    moments = mass / 12.0 * (squares.sum() - squares)
    inertial = element.find("inertial")
    if inertial is None:
        inertial = ElementTree.SubElement(element, "inertial")
        middle = " ".join(f"{value:.6g}" for value in 0.5 * (low + high))
        ElementTree.SubElement(inertial, "origin", {"xyz": middle})
    _child(inertial, "mass").set("value", f"{mass:.6g}")
    _set_inertia(inertial, (*moments, 0.0, 0.0, 0.0))
    origin = inertial.find("origin")
    if origin is not None:
        origin.attrib.pop("rpy", None)
    shown = ", ".join(f"{value:.3g}" for value in moments)
    return f"link '{link.name}': mass {mass:.3g} kg and moments of inertia {shown} are those of a solid box around its shapes"


def _widened(element: ElementTree.Element, link: Link) -> str:
    """As much more about every axis as the largest moment exceeds the sum of the others: the axes stay."""
    low, middle, high = principal_moments(link)
    more = float(high - low - middle) * (1.0 + 1e-6) + 1e-9 * float(high)
    inertial = element.find("inertial")
    assert inertial is not None, "a link without inertial has no moments that contradict each other"
    _set_inertia(inertial, tuple(value + more for value in link.inertia[:3]) + link.inertia[3:])
    return f"link '{link.name}': {more:.3g} kg m^2 more about every axis; its moments of inertia contradicted each other"


def _set_inertia(inertial: ElementTree.Element, values: tuple[float, ...]) -> None:
    inertia = _child(inertial, "inertia")
    for key, value in zip(_KEYS, values, strict=True):
        inertia.set(key, f"{value:.9g}")


def _child(element: ElementTree.Element, tag: str) -> ElementTree.Element:
    found = element.find(tag)
    return ElementTree.SubElement(element, tag) if found is None else found


def _box(link: Link, urdf: Path) -> tuple[Array, Array]:
    """Corners of the box around the collision shapes of ``link``, in its frame; of a ball of water of its mass where none is."""
    chosen = [shape for shape in link.shapes if shape.role == "collision"] or list(link.shapes)
    corners = [found for shape in chosen if len(found := _corners(shape, urdf))]
    if not corners:
        half = np.full(3, (max(link.mass, 0.001) / 8000.0) ** (1.0 / 3.0))
        return np.array(link.com) - half, np.array(link.com) + half
    points = np.concatenate(corners)
    return points.min(axis=0), points.max(axis=0)


def _corners(shape: Shape, urdf: Path) -> Array:
    """Corners [N, 3] around ``shape``, in its link's frame."""
    if shape.kind == "mesh":
        path = find_mesh(shape.mesh, urdf)
        try:
            points = np.zeros((0, 3)) if path is None else mesh_points(path) * np.array(shape.size)
        except ValueError:
            return np.zeros((0, 3))  # the check that follows refuses this mesh by name
    elif shape.kind == "plane":
        return np.zeros((0, 3))
    else:
        radius, length = shape.size[0], shape.size[-1] + (2 * shape.size[0] if shape.kind == "capsule" else 0.0)
        half = np.array(shape.size) / 2 if shape.kind == "box" else np.array([radius, radius, length / 2])
        half = np.full(3, radius) if shape.kind == "sphere" else half
        points = np.array(np.meshgrid(*[(-1, 1)] * 3)).reshape(3, -1).T * half
    turned: Array = points @ rotation(shape.rpy).T + np.array(shape.xyz)
    return turned
