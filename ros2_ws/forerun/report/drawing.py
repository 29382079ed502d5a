"""The robot from the side: the boxes, cylinders and spheres of its URDF's visuals, projected on the x-z plane."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from forerun_sim.kinematics import Kinematics, rotation
from forerun_sim.spec import RobotSpec
from forerun_sim.urdf import robot_urdf

Points = NDArray[np.float64]


@dataclass(frozen=True)
class Outline:
    """A polygon fixed to a link: corners [n, 3] in the link's frame [m]. ``moving`` is False for links that no joint moves."""

    link: str
    corners: Points
    moving: bool


class Drawing:
    """Polygons of a robot for any joint positions. Only robots with a URDF can be drawn."""

    def __init__(self, spec: RobotSpec) -> None:
        if spec.urdf is None:
            raise ValueError(f"robot '{spec.name}' has no URDF to draw")
        path = spec.file(spec.urdf)
        urdf = robot_urdf(spec)
        self._kinematics = Kinematics(urdf.frames(spec.joint_names))
        self.outlines = [Outline(link, corners, urdf.moved(link)) for link, corners in _outlines(path)]
        joints = [joint for joint in urdf.joints.values() if joint.movable and joint.type != "prismatic"]
        self._pivots = [joint.child for joint in joints]

    def polygons(self, positions: Points) -> list[Points]:
        """For positions [T, J]: an array [T, n, 2] (x, z) per outline, in the order of ``outlines``."""
        return [
            np.stack([self._project(positions, outline.link, corner) for corner in outline.corners], axis=1)
            for outline in self.outlines
        ]

    def pivots(self, positions: Points) -> list[Points]:
        """For positions [T, J]: where the turning joints are, [T, 2] each."""
        return [self._project(positions, link, np.zeros(3)) for link in self._pivots]

    def _project(self, positions: Points, link: str, offset: Points) -> Points:
        x, y, z = (float(value) for value in offset)
        point: Points = self._kinematics.point(np, positions, link, (x, y, z))[..., (0, 2)]
        return point


def _outlines(path: Path) -> list[tuple[str, Points]]:
    found: list[tuple[str, Points]] = []
    for link in ElementTree.parse(path).getroot().iter("link"):
        for visual in link.iter("visual"):
            flat = _flat(visual.find("geometry"))
            if flat is not None:
                origin = visual.find("origin")
                corners = flat @ np.asarray(rotation(_triple(origin, "rpy"))).T + np.array(_triple(origin, "xyz"))
                found.append((link.get("name", ""), corners))
    return found


def _triple(origin: ElementTree.Element | None, key: str) -> tuple[float, float, float]:
    x, y, z = (float(part) for part in (origin.get(key) if origin is not None and origin.get(key) else "0 0 0").split())  # type: ignore[union-attr]
    return x, y, z


def _flat(geometry: ElementTree.Element | None) -> Points | None:
    """The shape's outline in its own x-z plane [n, 3]; None for meshes, which are not drawn."""
    shape: Any = None if geometry is None else next(iter(geometry), None)
    if shape is None or shape.tag not in ("box", "cylinder", "sphere"):
        return None
    if shape.tag == "sphere":
        angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
        radius = float(shape.get("radius"))
        return np.stack([radius * np.cos(angle), 0 * angle, radius * np.sin(angle)], axis=1)
    if shape.tag == "box":
        width, _, height = (float(part) / 2 for part in shape.get("size").split())
    else:
        width, height = float(shape.get("radius")), float(shape.get("length")) / 2
    return np.array([[-width, 0, -height], [width, 0, -height], [width, 0, height], [-width, 0, height]])
