"""A robot in files that need nothing beside them: what runs and bundles keep of it."""

from __future__ import annotations

import re
import tempfile
from pathlib import Path

from forerun_sim.authoring.source import copy_meshes, read_source
from forerun_sim.spec import RobotSpec
from forerun_sim.spec.robot import PYBULLET_DATA


def portable_files(robot: RobotSpec) -> dict[str, bytes]:
    """What is needed to load and simulate ``robot`` elsewhere, by path below one folder: robot.yaml, its URDF, the meshes that
    collide. What is only seen stays behind, unless the robot has cameras; so does the foreign plant.

    Raises:
        InputError: a mesh is missing; the message names file, link, mesh and remedy.
    """
    text = robot.file("robot.yaml").read_text(encoding="utf-8")
    if not robot.urdf or robot.urdf.startswith(PYBULLET_DATA):
        return {"robot.yaml": text.encode()}
    path = robot.file(robot.urdf)
    # robot.yaml may name a URDF in another folder.
    kept = {"robot.yaml": re.sub(r"(?m)^urdf\s*:.*$", f"urdf: {path.name!r}", text).encode()}
    source = read_source(path)
    if next(source.tree.iter("mesh"), None) is None:
        return {**kept, path.name: path.read_bytes()}
    for link in source.tree.findall("link"):
        for seen in link.findall("visual") if not robot.cameras else []:
            link.remove(seen)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        copy_meshes(source, folder)
        source.write(folder / path.name)
        found = {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    return {**kept, **found}
