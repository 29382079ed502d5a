"""The URDF that a user has, made into one that stays valid wherever its folder goes: meshes and textures beside it."""

from __future__ import annotations

import os
import re
import shutil
from dataclasses import dataclass, field
from pathlib import Path
from xml.etree import ElementTree

import numpy as np

from forerun_sim.errors import InputError
from forerun_sim.urdf_shapes import MESH_FORMATS, find_mesh
from forerun_sim.urdf_xml import parse_urdf, urdf_text

_NUMBERS = ("xyz", "rpy", "size", "scale", "rgba")
_MATERIAL = re.compile(r"^\s*mtllib\s+(.+?)\s*$", re.MULTILINE)
_TEXTURE = re.compile(r"^\s*(?:map_\w+|bump|disp)\s+.*?(\S+)\s*$", re.MULTILINE)
_IMAGE = re.compile(r"<init_from>\s*([^<>]+?\.(?:png|jpe?g|tga|bmp))\s*</init_from>", re.IGNORECASE)
MESHES = "meshes"


@dataclass
class Source:
    """A URDF under repair: ``path`` as the user gave it, its XML, and what was changed or must be known about it."""

    path: Path
    tree: ElementTree.Element
    notes: list[str] = field(default_factory=list)

    def write(self, path: Path) -> None:
        """Writes the XML as it is now, a line an element."""
        ElementTree.indent(self.tree)
        path.write_text(ElementTree.tostring(self.tree, encoding="unicode") + "\n", encoding="utf-8")


def read_source(path: Path) -> Source:
    """The URDF at ``path``, with what can be put right without a doubt put right: blanks before the XML, commas between numbers.

    Raises:
        InputError: it is no URDF; the message says what to do.
    """
    text = urdf_text(path)
    notes = []
    if text != text.lstrip():
        text = text.lstrip()
        notes.append("blanks before the XML declaration were taken out")
    long = max(map(len, text.splitlines()), default=0)
    tree = parse_urdf(text.replace(">", ">\n") if long > 1000 else text, path)
    commas = 0
    for element in tree.iter():
        for key in _NUMBERS:
            value = element.get(key, "")
            if "," in value:
                element.set(key, value.replace(",", " "))
                commas += 1
    if commas:
        notes.append(f"commas between numbers became blanks ({commas} times)")
    if not tree.get("name"):
        tree.set("name", path.stem)
        notes.append(f"the robot had no name and got that of the file, {path.stem}")
    return Source(path, tree, notes)


def locate_mesh(name: str, urdf: Path) -> Path | None:
    """The file of mesh ``name``: as PyBullet finds it, or in the ROS package that ``package://`` or ``model://`` names: on
    ``ROS_PACKAGE_PATH``, ``AMENT_PREFIX_PATH``, or a folder above the URDF that is the package."""
    found = find_mesh(name, urdf)
    match = re.fullmatch(r"(?:package|model)://([^/]+)/(.+)", name)
    if found is not None or match is None:
        return found
    package, below = match.groups()
    return next((root / below for root in _package_roots(package, urdf) if (root / below).is_file()), None)


def _package_roots(package: str, urdf: Path) -> list[Path]:
    folders = [Path(part) for part in os.environ.get("ROS_PACKAGE_PATH", "").split(os.pathsep) if part]
    roots = [folder if folder.name == package else folder / package for folder in folders]
    prefixes = [Path(part) for part in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep) if part]
    roots += [prefix / "share" / package for prefix in prefixes]
    for folder in urdf.resolve().parents:
        manifest = folder / "package.xml"
        if folder.name == package or (manifest.is_file() and f"<name>{package}</name>" in manifest.read_text(errors="replace")):
            roots.append(folder)
    return roots


def copy_meshes(source: Source, folder: Path) -> int:
    """Copies every mesh and texture that ``source`` names into ``folder``/meshes, and names it there. Returns how many files.

    Text STL files become binary, which PyBullet reads.

    Raises:
        InputError: a mesh is missing or of a format that PyBullet cannot read; the message names file, link, mesh and remedy.
    """
    placed: dict[Path, str] = {}
    names: set[str] = set()
    for link in source.tree.findall("link"):
        for mesh in link.iter("mesh"):
            name = mesh.get("filename", "")
            where = f"{source.path}: link '{link.get('name', '')}': mesh '{name}'"
            if name and not name.lower().endswith(MESH_FORMATS):
                raise InputError(f"{where} is of a format that PyBullet cannot read: save it as one of {', '.join(MESH_FORMATS)}")
            found = locate_mesh(name, source.path) if name else None
            if found is None:
                looked = "below the URDF's folder and those above it, ROS_PACKAGE_PATH and AMENT_PREFIX_PATH"
                raise InputError(f"{where} is not there; looked {looked}: correct the name, or set ROS_PACKAGE_PATH")
            if found not in placed:
                placed[found] = _place(found, folder, names, source)
            mesh.set("filename", placed[found])
    for texture in source.tree.iter("texture"):
        found = locate_mesh(texture.get("filename", ""), source.path) if texture.get("filename") else None
        if found is not None:
            placed.setdefault(found, _place(found, folder, names, source))
            texture.set("filename", placed[found])
    return len(names)


def _place(found: Path, folder: Path, names: set[str], source: Source) -> str:
    """Copies ``found``, and what it names, under a name that is free."""
    below, count = f"{MESHES}/{found.parent.name or 'files'}", 1
    while f"{below}/{found.name}" in names:
        count += 1
        below = f"{MESHES}/{found.parent.name}{count}"
    target = folder / below / found.name
    target.parent.mkdir(parents=True, exist_ok=True)
    names.add(f"{below}/{found.name}")
    if found.suffix.lower() == ".stl" and (binary := _binary_stl(found.read_bytes())) is not None:
        target.write_bytes(binary)
        source.notes.append(f"the text STL {found.name} became a binary one, which PyBullet reads")
    else:
        shutil.copyfile(found, target)
        for needed in _needed_by(found):
            copied = target.parent / needed
            if (found.parent / needed).is_file() and copied.resolve().is_relative_to(folder.resolve()):
                copied.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(found.parent / needed, copied)
    return f"{below}/{found.name}"


def _needed_by(mesh: Path) -> list[str]:
    """Files that ``mesh`` names, relative to it: materials and their textures."""
    if mesh.suffix.lower() == ".dae":
        return _IMAGE.findall(mesh.read_text(encoding="utf-8", errors="replace"))
    if mesh.suffix.lower() != ".obj":
        return []
    materials = _MATERIAL.findall(mesh.read_text(encoding="utf-8", errors="replace"))
    files = [mesh.parent / name for name in materials]
    return materials + [name for file in files if file.is_file() for name in _TEXTURE.findall(file.read_text(errors="replace"))]


def _binary_stl(content: bytes) -> bytes | None:
    """The text STL ``content`` as a binary one; None where it is no text STL."""
    if content.lstrip()[:5].lower() != b"solid" or b"facet" not in content[:1000]:
        return None
    rows = [
        line.split()[1:4] for line in content.decode("utf-8", errors="replace").splitlines() if line.split()[:1] == ["vertex"]
    ]
    try:
        corners = np.array(rows, dtype="<f4").reshape(-1, 9)
    except ValueError:
        return None
    facets = np.zeros(len(corners), dtype=np.dtype([("normal", "<f4", 3), ("corners", "<f4", 9), ("more", "<u2")]))
    facets["corners"] = corners
    return bytes(80) + np.array([len(facets)], dtype="<u4").tobytes() + facets.tobytes()
