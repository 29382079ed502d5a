"""The robot's URDF as a file with centres of mass shifted, which PyBullet cannot do to a robot that is loaded."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree

from forerun_sim.kinematics import Vector
from forerun_sim.urdf import Urdf
from forerun_sim.urdf_shapes import find_mesh
from forerun_sim.urdf_xml import read_urdf

_NOTHING = '<inertial><mass value="0"/><inertia ixx="0" iyy="0" izz="0" ixy="0" ixz="0" iyz="0"/></inertial>'


class ShiftedUrdf:
    """Writes the URDF of a robot with other centres of mass, one file after the other in the same place.

    Args:
        urdf: the robot.
        shapes: whether the file keeps the shapes; without, it loads a hundred times faster where they are meshes.
    """

    def __init__(self, urdf: Urdf, shapes: bool) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="forerun-")
        self._urdf = urdf
        self._path = Path(self._folder.name) / "shifted.urdf"
        self._tree = read_urdf(urdf.path)
        self._origins: dict[str, ElementTree.Element] = {}
        for link in self._tree.findall("link"):
            for shape in [*link.findall("visual"), *link.findall("collision")]:
                if not shapes:
                    link.remove(shape)
            inertial = link.find("inertial")
            if inertial is not None:
                origin = inertial.find("origin")
                self._origins[link.get("name", "")] = ElementTree.SubElement(inertial, "origin") if origin is None else origin
            elif link.get("name") != urdf.root:
                link.append(ElementTree.fromstring(_NOTHING))  # PyBullet would warn of it every time
        for mesh in self._tree.iter("mesh"):
            found = find_mesh(mesh.get("filename", ""), urdf.path)
            if found is not None:
                mesh.set("filename", str(found))

    def write(self, shifts: Mapping[str, Vector]) -> Path:
        """The file where the links' centres of mass are off by ``shifts`` [m], each in its link's frame."""
        for link, origin in self._origins.items():
            moved = zip(self._urdf.links[link].com, shifts.get(link, (0.0, 0.0, 0.0)), strict=True)
            origin.set("xyz", " ".join(repr(float(at + shift)) for at, shift in moved))
        ElementTree.ElementTree(self._tree).write(self._path, encoding="unicode")
        return self._path

    def close(self) -> None:
        """Removes the file. May be called twice."""
        self._folder.cleanup()
