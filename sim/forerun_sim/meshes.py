"""Mesh files as PyBullet reads them: what it cannot read, or dies of, is found here first, and their corners for sizes."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
LARGEST = 200e6
"""Size [bytes] of a mesh file that nobody wants in a simulator."""
_HEADER, _FACET = 84, 50
_MOST_INPUTS = 100
_INDEX = re.compile(rb"(?<=\s)-?\d+(?=[/\s]|\Z)")
_LONGEST_INDEX = 15
_FACES = ("triangles", "polylist", "polygons")
_NEEDED = {
    "geometry": ("id",),
    "visual_scene": ("id",),
    "source": ("id",),
    "vertices": ("id",),
    "unit": ("meter",),
    "input": ("semantic", "source"),
    "instance_geometry": ("url",),
}
"""Attributes of COLLADA that PyBullet reads without looking whether they are there."""


def mesh_points(path: Path) -> Points:
    """The corners [N, 3] of the mesh in an .obj, binary .stl or .dae file, in the units of the file (those of a .dae without the
    transforms of its scene).

    Raises:
        ValueError: PyBullet could not read it, or would die of it; the message says what is wrong and what to do.
        OSError: the file cannot be read.
    """
    if path.stat().st_size > LARGEST:
        raise ValueError(f"it has {path.stat().st_size / 1e6:.0f} MB, at most {LARGEST / 1e6:.0f} are read: simplify the mesh")
    readers = {".obj": _obj, ".stl": _stl, ".dae": _dae}
    points = readers[path.suffix.lower()](path.read_bytes())
    if len(points) == 0:
        raise ValueError("it holds no faces: export the mesh again")
    if not np.isfinite(points).all():
        raise ValueError("it has corners that are not finite numbers: export the mesh again")
    return points


def _obj(content: bytes) -> Points:
    lines = [line for line in content.splitlines() if line[:2] in (b"v ", b"f ")]
    corners = [line[2:].split()[:3] for line in lines if line[:1] == b"v"]
    if len(corners) == len(lines):
        return np.zeros((0, 3))
    # An index beyond the corners so far reads memory that is not the mesh's.
    known, block = 0, []
    for line in lines:
        if line[:1] == b"f":
            block.append(line[1:])
        else:
            if block:
                _check_faces(block, known)
                block = []
            known += 1
    _check_faces(block, known)
    try:
        return np.array(corners, dtype=float).reshape(-1, 3)
    except ValueError as error:
        raise ValueError("a corner ('v') is not three numbers: export the mesh again") from error


def _check_faces(faces: list[bytes], corners: int) -> None:
    if not faces:
        return
    text = b"\n".join(faces)
    indices = _INDEX.findall(text)
    if indices and len(indices) == len(text.split()) and max(map(len, indices)) < _LONGEST_INDEX:
        numbers = np.abs(np.array(indices, dtype=np.int64))
        if numbers.min() > 0 and numbers.max() <= corners:
            return
    for face in faces:
        named = [part.partition(b"/")[0].removeprefix(b"-") for part in face.split()]
        if not all(part.isdigit() and len(part) < _LONGEST_INDEX and 0 < int(part) <= corners for part in named):
            shown = face.decode("utf-8", errors="replace").strip()[:40]
            raise ValueError(f"its face 'f {shown}' names a corner that it lacks: export the mesh again")


def _stl(content: bytes) -> Points:
    count = struct.unpack_from("<I", content, _HEADER - 4)[0] if len(content) >= _HEADER else -1
    if len(content) != _HEADER + _FACET * count:
        if content.lstrip()[:5].lower() == b"solid":
            raise ValueError("it is a text STL, and PyBullet reads binary ones alone: save it as binary STL or as OBJ")
        raise ValueError("it is no whole binary STL (its size does not fit its number of facets): export the mesh again")
    facet = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("more", "<u2")])
    facets = np.frombuffer(content, dtype=facet, offset=_HEADER)
    return np.asarray(facets["corners"], dtype=float).reshape(-1, 3)


def _dae(content: bytes) -> Points:
    """PyBullet's reader follows references without looking: each of them must lead somewhere."""
    try:
        tree = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise ValueError(f"it is no valid XML ({error}): export the mesh again") from error
    for element in tree.iter():
        element.tag = element.tag.rpartition("}")[2] if isinstance(element.tag, str) else ""
    if tree.tag != "COLLADA" or tree.find("asset") is None:
        raise ValueError("it is no COLLADA with an <asset>: export the mesh again, or save it as OBJ")
    meshes = tree.findall("library_geometries/geometry/mesh")
    if not meshes or tree.find("library_visual_scenes/visual_scene") is None:
        raise ValueError("it has no mesh, or no <visual_scene> that shows it: export the mesh again, or save it as OBJ")
    for element in tree.iter():
        absent = [key for key in _NEEDED.get(element.tag, ()) if not element.get(key)]
        if absent:
            raise ValueError(f"a <{element.tag}> has no '{absent[0]}': export the mesh again, or save it as OBJ")
    return np.concatenate([_dae_mesh(mesh) for mesh in meshes])


def _dae_mesh(mesh: ElementTree.Element) -> Points:
    sources = {source.get("id", ""): source for source in mesh.findall("source")}
    vertices = {group.get("id", ""): group for group in mesh.findall("vertices")}
    found = [np.zeros((0, 3))]
    for faces in (faces for kind in _FACES for faces in mesh.findall(kind)):
        corner = next((item for item in faces.findall("input") if item.get("semantic") == "VERTEX"), None)
        group = None if corner is None else vertices.get(corner.get("source", "")[1:])
        place = None if group is None else next((i for i in group.findall("input") if i.get("semantic") == "POSITION"), None)
        others = [item for item in faces.findall("input") if item is not corner]
        inputs = others + ([] if group is None else group.findall("input"))
        named = [item.get("source", "")[1:] for item in inputs]
        if place is None or not set(named) <= set(sources):
            raise ValueError("its faces name <vertices> or a <source> that it lacks: export the mesh again, or save it as OBJ")
        for name in named:
            _dae_values(sources[name])
        points = _dae_values(sources[place.get("source", "")[1:]])
        _check_indices(faces, len(points))
        found.append(points)
    return np.concatenate(found)


def _dae_values(source: ElementTree.Element) -> Points:
    values, accessor = source.find("float_array"), source.find("technique_common/accessor")
    if values is None or accessor is None:
        raise ValueError("a <source> has no <float_array> or no <accessor>: export the mesh again, or save it as OBJ")
    try:
        numbers, stride = np.array((values.text or "").split(), dtype=float), int(accessor.get("stride", "1"))
        count = int(accessor.get("count", "0"))
        if count * stride != len(numbers):
            raise ValueError
        return numbers.reshape(count, stride)[:, :3] if stride >= 3 else np.zeros((0, 3))
    except ValueError as error:
        raise ValueError("a <float_array> does not hold the numbers that it states: export the mesh again") from error


def _check_indices(faces: ElementTree.Element, corners: int) -> None:
    lists = [item.text or "" for item in faces.findall("p")]
    offsets = {item.get("semantic"): item.get("offset", "") for item in faces.findall("input")}
    if not all(value.isdecimal() and int(value) < _MOST_INPUTS for value in offsets.values()):
        raise ValueError(f"an <input> of its <{faces.tag}> has no 'offset': export the mesh again, or save it as OBJ")
    stride, offset = 1 + max(map(int, offsets.values())), int(offsets["VERTEX"])
    if not lists:
        raise ValueError(f"its <{faces.tag}> have no <p>: export the mesh again, or save it as OBJ")
    try:
        indices = np.array(" ".join(lists).split(), dtype=np.int64)
        count = int(faces.get("count", "0"))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"its <{faces.tag}> have a <p> or a count that is no number: export the mesh again") from error
    used = indices[offset::stride]
    if faces.tag == "triangles" and len(indices) != 3 * stride * count:
        raise ValueError("its triangles are not as many as it states: export the mesh again, or save it as OBJ")
    if len(used) and not 0 <= used.min() <= used.max() < corners:
        raise ValueError("its faces name corners that it lacks: export the mesh again, or save it as OBJ")
