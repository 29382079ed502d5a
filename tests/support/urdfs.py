"""URDFs of a few lines, whole and broken, and mesh files for them."""

from __future__ import annotations

import json
import random
import re
import struct
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

BODY = '<inertial><mass value="{mass}"/><inertia ixx="{i}" iyy="{i}" izz="{i}" ixy="0" ixz="0" iyz="0"/></inertial>'
ARM = """<?xml version="1.0"?>
<robot name="arm">
  <link name="foot"><inertial><mass value="2"/><inertia ixx="0.1" iyy="0.1" izz="0.1"/></inertial></link>
  <link name="upper">
    <inertial>
      <origin xyz="0 0 0.2" rpy="0 0 0"/><mass value="1.5"/>
      <inertia ixx="0.02" iyy="0.02" izz="0.003" ixy="0" ixz="0" iyz="0"/>
    </inertial>
    <visual><origin xyz="0 0 0.2"/><geometry><cylinder radius="0.04" length="0.4"/></geometry></visual>
    <collision><origin xyz="0 0 0.2"/><geometry><box size="0.08 0.08 0.4"/></geometry></collision>
  </link>
  <link name="lower">
    <inertial><origin xyz="0 0 0.15"/><mass value="0.8"/><inertia ixx="0.008" iyy="0.008" izz="0.001"/></inertial>
    <visual><geometry><mesh filename="lower.stl" scale="0.3 0.3 0.3"/></geometry></visual>
    <collision><geometry><sphere radius="0.05"/></geometry></collision>
  </link>
  <link name="tool"/>
  <joint name="shoulder" type="revolute">
    <parent link="foot"/><child link="upper"/><origin xyz="0 0 0.1"/><axis xyz="0 1 0"/>
    <limit lower="-1.5" upper="2" effort="40" velocity="3"/><dynamics damping="0.1" friction="0.2"/>
  </joint>
  <joint name="elbow" type="revolute">
    <parent link="upper"/><child link="lower"/><origin xyz="0 0 0.4"/><axis xyz="0 1 0"/>
    <limit lower="0.2" upper="2.6" effort="20" velocity="3"/>
  </joint>
  <joint name="flange" type="fixed"><parent link="lower"/><child link="tool"/><origin xyz="0 0 0.3"/></joint>
</robot>
"""
JOINTS = ("shoulder", "elbow")
CORNERS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1))
FACES = ((0, 2, 1), (0, 1, 3), (0, 3, 2), (1, 2, 3))


def binary_stl() -> bytes:
    """A tetrahedron."""
    facets = [struct.pack("<12fH", 0, 0, 0, *(x for corner in face for x in CORNERS[corner]), 0) for face in FACES]
    return bytes(80) + struct.pack("<I", len(facets)) + b"".join(facets)


def text_stl() -> str:
    """The same as text, which PyBullet cannot read."""
    loops = ["".join(f"vertex {x} {y} {z}\n" for x, y, z in (CORNERS[c] for c in face)) for face in FACES]
    return "solid t\n" + "".join(f"facet normal 0 0 0\nouter loop\n{loop}endloop\nendfacet\n" for loop in loops) + "endsolid t\n"


def collada() -> str:
    """One triangle."""
    source = (
        '<source id="p"><float_array id="pa" count="9">0 0 0 1 0 0 0 1 0</float_array>'
        '<technique_common><accessor source="#pa" count="3" stride="3"/></technique_common></source>'
        '<vertices id="v"><input semantic="POSITION" source="#p"/></vertices>'
        '<triangles count="1"><input semantic="VERTEX" source="#v" offset="0"/><p>0 1 2</p></triangles>'
    )
    return (
        '<COLLADA><asset><unit meter="1"/><up_axis>Z_UP</up_axis></asset>'
        f'<library_geometries><geometry id="a"><mesh>{source}</mesh></geometry></library_geometries>'
        '<library_visual_scenes><visual_scene id="s"><node><instance_geometry url="#a"/></node></visual_scene>'
        "</library_visual_scenes></COLLADA>"
    )


def write_arm(folder: Path, urdf: str = ARM) -> Path:
    """A robot's folder with ``urdf``, its mesh and a robot.yaml. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "arm.urdf").write_bytes(urdf.encode())
    (folder / "lower.stl").write_bytes(binary_stl())
    joints = [{"name": name, "type": "revolute", "interface": "effort", "effort": 20.0} for name in JOINTS]
    robot = {"format": 1, "name": "arm", "urdf": "arm.urdf", "joints": joints, "control": {"rate": 50}}
    (folder / "robot.yaml").write_text(json.dumps(robot))
    return folder


_NUMBER = re.compile(r'(?<==")-?[\d.]+(?="|\s)|(?<=\s)-?[\d.]+(?="|\s)')
_ODD = ("nan", "inf", "-1", "0", "1e300", "1e-300", "", "x", "-0.0001", "1e9", "0 0", "$(arg a)", "١")


def mutated(random_: random.Random, text: str = ARM) -> str:
    """``text`` with one to three things changed, as people and programs break files."""
    for _ in range(random_.randint(1, 3)):
        kind = random_.randrange(7)
        if kind == 0:  # a number
            found = list(_NUMBER.finditer(text))
            if found:
                match = random_.choice(found)
                text = text[: match.start()] + random_.choice(_ODD) + text[match.end() :]
        elif kind == 1:  # a line gone or doubled
            lines = text.splitlines(keepends=True)
            at = random_.randrange(len(lines))
            text = "".join(lines[:at] + lines[at : at + 1] * random_.choice((0, 2)) + lines[at + 1 :])
        elif kind == 2:  # an element gone
            found = list(re.finditer(r"<\w+[^<>]*/>", text))
            if found:
                match = random_.choice(found)
                text = text[: match.start()] + text[match.end() :]
        elif kind == 3:  # a name exchanged for another
            names = re.findall(r'(?:name|link|type|filename|id|source|url|semantic)="([^"]*)"', text) or [""]
            old, new = (
                random_.choice(names),
                random_.choice([*names, "", "a" * 3000, "ä", "floating", "planar", "x.dae", "../.."]),
            )
            text = text.replace(f'"{old}"', f'"{new}"', random_.randint(1, 2)) if old else text
        elif kind == 4:  # a character
            at = random_.randrange(len(text))
            text = text[:at] + random_.choice('<>"/& \x00é0') + text[at + 1 :]
        elif kind == 5:  # cut short
            text = text[: random_.randrange(len(text) // 2, len(text))] if random_.random() < 0.2 else text
        else:  # an attribute gone
            found = list(re.finditer(r'\s\w+="[^"]*"', text))
            if found:
                match = random_.choice(found)
                text = text[: match.start()] + text[match.end() :]
    return text


_SIMULATE = """
import sys
from forerun_sim.plant import Plant
from forerun_sim.errors import ForerunError
from forerun_sim.spec import load_robot
for folder in sys.argv[1:]:
    print("\\nBEGIN", folder, flush=True)
    try:
        plant = Plant(load_robot(folder))
        for _ in range(5):
            plant.step([1.0] * plant.spec.action_size)
        plant.close()
    except ForerunError as error:
        print("\\nREFUSED", str(error).splitlines()[0], flush=True)
    print("\\nEND", folder, flush=True)
"""


def simulate_apart(folders: Sequence[Path]) -> tuple[int, str]:
    """Simulates each robot, all in one process of their own. Returns its exit code and what it ended with."""
    command = [sys.executable, "-c", _SIMULATE, *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300, errors="replace")
    begun = [line for line in done.stdout.splitlines() if line.startswith("BEGIN")]
    return done.returncode, "\n".join([*begun[-1:], *done.stderr.splitlines()[-5:]])
