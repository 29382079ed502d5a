"""The robot's URDF as a file with centres of mass shifted, which PyBullet cannot do to a robot that is loaded."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO
from xml.etree import ElementTree

from forerun_sim.kinematics import ORIGIN, Vector
from forerun_sim.urdf import Urdf
from forerun_sim.urdf_shapes import find_mesh
from forerun_sim.urdf_xml import read_urdf

_NOTHING = '<inertial><mass value="{mass}"/><inertia ixx="{mass}" iyy="{mass}" izz="{mass}" ixy="0" ixz="0" iyz="0"/></inertial>'

_HERE = "forerun:centre"
"""Stands where a centre of mass is to be written."""


class ShiftedUrdf:
    """Writes the URDF of a robot with other centres of mass, one file after the other in the same place.

    Args:
        urdf: the robot.
        keep: the shapes that the file keeps, of "visual" and "collision"; without them it loads a hundred times faster where they
            are meshes.
    """

    def __init__(self, urdf: Urdf, keep: Collection[str]) -> None:
        tree = read_urdf(urdf.path)
        self._links: list[str] = []
        for link in tree.findall("link"):
            for shape in [*link.findall("visual"), *link.findall("collision")]:
                if shape.tag not in keep:
                    link.remove(shape)
            inertial = link.find("inertial")
            if inertial is not None:
                found = inertial.find("origin")
                origin = ElementTree.SubElement(inertial, "origin") if found is None else found
                origin.set("xyz", _HERE)
                self._links.append(link.get("name", ""))
            else:  # PyBullet would warn of it every time; it holds still what has a root without mass
                mass = 0.0001 if link.get("name") == urdf.root else 0.0
                link.append(ElementTree.fromstring(_NOTHING.format(mass=mass)))
        for element in [*tree.iter("mesh"), *tree.iter("texture")]:
            file = find_mesh(element.get("filename", ""), urdf.path)
            if file is not None:
                element.set("filename", str(file))
        for element in tree.iter():  # without indentation, which costs the parser time; it reads lines of 1000 characters
            element.text, element.tail = None, "\n"
        self._centres = [urdf.links[link].com for link in self._links]
        self._parts = ElementTree.tostring(tree, encoding="unicode").split(_HERE)
        self._file: IO[bytes] | None = None

    def write(self, shifts: Mapping[str, Vector]) -> Path:
        """The file where the links' centres of mass are off by ``shifts`` [m], each in its link's frame."""
        if self._file is None:
            self._file = _own_file()
        text = [self._parts[0]]
        for (x, y, z), link, following in zip(self._centres, self._links, self._parts[1:], strict=True):
            dx, dy, dz = shifts.get(link, ORIGIN)
            text += [f"{x + dx!r} {y + dy!r} {z + dz!r}", following]
        written = "".join(text).encode()
        self._file.seek(0)
        self._file.write(written)
        self._file.truncate()
        return Path(self._file.name) if isinstance(self._file.name, str) else Path(f"/proc/self/fd/{self._file.name}")

    def close(self) -> None:
        """Removes the file. May be called twice."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _own_file() -> IO[bytes]:
    """A file for this process alone: in memory where the system can, for opening one on a disk may take longer than loading."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("forerun.urdf"), "wb", buffering=0)
    return tempfile.NamedTemporaryFile("wb", suffix=".urdf", buffering=0)
