"""What the links of a URDF look like: boxes, spheres, cylinders, capsules, planes and meshes, and where the meshes' files are."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.etree import ElementTree

from forerun_sim.kinematics import ORIGIN, Vector

_SIZES = {"sphere": ("radius",), "cylinder": ("radius", "length"), "capsule": ("radius", "length"), "plane": ()}
KINDS = ("box", *_SIZES, "mesh")
MESH_FORMATS = (".obj", ".stl", ".dae")
"""What PyBullet reads of what other programs write."""
LONGEST = 1000.0
"""Nothing on a robot is longer [m], or further from the frame of its link."""


@dataclass(frozen=True)
class Shape:
    """A visual or collision shape at ``xyz`` [m], ``rpy`` [rad] in its link's frame. ``size`` [m]: the edges of a box, radius
    (and length) of the round ones; the factors of a mesh. ``mesh`` is the file as the URDF names it."""

    role: Literal["visual", "collision"]
    kind: str
    size: tuple[float, ...] = ()
    mesh: str = ""
    xyz: Vector = ORIGIN
    rpy: Vector = ORIGIN


def parse_shapes(link: ElementTree.Element, where: str) -> tuple[Shape, ...]:
    """The shapes of a <link>, which messages call ``where``.

    Raises:
        ValueError: a shape is unknown, or its size is none.
    """
    found = []
    for role in ("visual", "collision"):
        for element in link.findall(role):
            found.append(_shape(element, "visual" if role == "visual" else "collision", f"a <{role}> of {where}"))
    return tuple(found)


def _shape(element: ElementTree.Element, role: Literal["visual", "collision"], where: str) -> Shape:
    geometry = element.find("geometry")
    inner = next(iter(geometry), None) if geometry is not None else None
    if inner is None:
        raise ValueError(f"{where} has no <geometry>: give it one of {', '.join(KINDS)}, or take it out")
    if inner.tag not in KINDS:
        raise ValueError(f"{where} is a <{inner.tag}>, which PyBullet cannot make; write one of {', '.join(KINDS)}")
    mesh = inner.get("filename", "")
    if inner.tag == "mesh":
        if not mesh:
            raise ValueError(f"{where} is a mesh without a 'filename'")
        size = _floats(inner, "scale", where, 3, "1 1 1")
    elif inner.tag == "box":
        size = _floats(inner, "size", where, 3)
    else:
        size = tuple(_floats(inner, key, where, 1)[0] for key in _SIZES[inner.tag])
    if inner.tag != "mesh" and any(not 0 <= value <= LONGEST for value in size):
        raise ValueError(f"{where}: the {inner.tag} measures {size} m: sizes are from 0 to {LONGEST:g} m")
    if inner.tag == "mesh" and any(value == 0 for value in size):
        raise ValueError(f"{where}: the scale of mesh '{mesh}' has a 0, which makes it vanish")
    origin = element.find("origin")
    zero = "0 0 0"
    x, y, z = (0.0, 0.0, 0.0) if origin is None else _floats(origin, "xyz", where, 3, zero)
    roll, pitch, yaw = (0.0, 0.0, 0.0) if origin is None else _floats(origin, "rpy", where, 3, zero)
    return Shape(role, inner.tag, size, mesh, (x, y, z), (roll, pitch, yaw))


def _floats(element: ElementTree.Element, key: str, where: str, count: int, default: str | None = None) -> tuple[float, ...]:
    text = element.get(key, default)
    if text is None:
        raise ValueError(f"{where}: the <{element.tag}> has no '{key}'")
    try:
        values = tuple(float(part) for part in text.split())
    except ValueError:
        values = ()
    if len(values) != count or not all(map(math.isfinite, values)):
        raise ValueError(f"{where}: {key}='{text}' is not {'a number' if count == 1 else f'{count} numbers'}; separate by spaces")
    return values


def find_mesh(name: str, urdf: Path) -> Path | None:
    """The file that PyBullet takes for mesh ``name`` of ``urdf``, or None: the name without its scheme, absolute or below the
    folder of the URDF or one of those above it, the nearest first; at last near the working directory."""
    for scheme in ("package://", "model://", "file://"):
        name = name.removeprefix(scheme)
    if name.startswith("/") and Path(name).is_file():
        return Path(name)
    below = name.lstrip("/")
    here = [Path("../.."), Path(".."), Path()]
    for folder in [*urdf.absolute().parents, *reversed(here)]:
        if (folder / below).is_file():
            return folder / below
    return None
