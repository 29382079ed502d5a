"""What no body, joint or mesh can be is refused before PyBullet sees it, by file, name and remedy; nothing kills the process."""

from __future__ import annotations

import json
import random
import struct
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.support.urdfs import ARM, binary_stl, collada, mutated, simulate_apart, text_stl, write_arm

from forerun_sim.errors import InputError
from forerun_sim.meshes import mesh_points
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot

UPPER = '<inertia ixx="0.02" iyy="0.02" izz="0.003" ixy="0" ixz="0" iyz="0"/>'


def refusal(folder: Path, urdf: str) -> str:
    """The message with which this URDF is refused; it names the file."""
    write_arm(folder, urdf)
    with pytest.raises(InputError) as caught:
        Plant(load_robot(folder))
    message = str(caught.value)
    assert "arm.urdf" in message
    return message


def test_the_whole_arm_is_simulated(tmp_path: Path) -> None:
    plant = Plant(load_robot(write_arm(tmp_path)))
    plant.step([1.0, 1.0])
    plant.close()


BROKEN = [
    (UPPER, UPPER.replace("0.02", "0").replace("0.003", "0"), ("'upper'", "no inertia", "--repair")),
    ('<mass value="1.5"/>', '<mass value="0"/>', ("'upper'", "'shoulder'", "no mass", "<inertial>")),
    ('<mass value="1.5"/>', '<mass value="-1.5"/>', ("'upper'", "negative")),
    ('<mass value="1.5"/>', '<mass value="nan"/>', ("'upper'", "value='nan' is no number")),
    ('<mass value="1.5"/>', '<mass value="1e9"/>', ("'upper'", "masses are in kg")),
    ('<mass value="1.5"/>', "", ("'upper'", "its <mass> has no 'value'")),
    (UPPER, UPPER.replace('ixx="0.02"', 'ixx="-0.02"'), ("'upper'", "negative", "none can be below 0")),
    (UPPER, UPPER.replace('ixx="0.02"', 'ixx="0.05"'), ("'upper'", "above the sum of the other two", "--repair")),
    (UPPER, UPPER.replace('ixy="0"', 'ixy="0.5"'), ("'upper'", "none can be negative", "products of inertia")),
    (UPPER, UPPER.replace('iyy="0.02" ', ""), ("'upper'", "its <inertia> has no 'iyy'")),
    (UPPER, UPPER.replace("0.02", "3e7").replace("0.003", "3e7"), ("'upper'", "check the units")),
    ('xyz="0 0 0.2" rpy="0 0 0"', 'xyz="0 nan 0.2"', ("'upper'", "not finite")),
    ('<origin xyz="0 0 0.4"/>', '<origin xyz="0 0 400000"/>', ("'elbow'", "lengths are in m")),
    ('<origin xyz="0 0 0.4"/>', '<origin xyz="0, 0, 0.4"/>', ("'elbow'", "separated by spaces")),
    ('<origin xyz="0 0 0.4"/>', '<origin xyz="$(arg reach)"/>', ("'elbow'", "half-expanded xacro")),
    ('<limit lower="0.2" upper="2.6" effort="20" velocity="3"/>', "", ("'elbow'", "no <limit>", "lower=... upper=")),
    ('lower="0.2" upper="2.6"', 'lower="2.6" upper="0.2"', ("'elbow'", "reversed", "exchange them")),
    ('<axis xyz="0 1 0"/>', '<axis xyz="0 0 0"/>', ("'shoulder'", "axis 0 0 0")),
    ('name="elbow"', 'name="shoulder"', ("more than one joint named ['shoulder']", "its own name")),
    ('name="elbow"', 'name="knee"', ("'elbow'", "shoulder, knee")),
    ('type="fixed"', 'type="floating"', ("'flange'", "'floating'", "revolute, continuous, prismatic, fixed")),
    ('<child link="tool"/>', '<child link="hand"/>', ("'flange'", "'hand'", "foot, upper, lower, tool")),
    ('<parent link="foot"/>', '<parent link="tool"/>', ("['lower', 'tool', 'upper']", "circle", "take out the joint")),
    ('<child link="tool"/>', '<child link="upper"/>', ("'upper'", "'shoulder'", "'flange'")),
    ("lower.stl", "higher.stl", ("'lower'", "'higher.stl'", "not there", "correct the name")),
    ("lower.stl", "lower.fbx", ("'lower'", "'lower.fbx'", ".obj, .stl, .dae")),
    ("lower.stl", "package://arm_description/lower.stl", ("'lower'", "forerun new-robot")),
    ('scale="0.3 0.3 0.3"', 'scale="3000 3000 3000"', ("'lower'", "millimetres", "0.001")),
    ('scale="0.3 0.3 0.3"', 'scale="0 1 1"', ("'lower'", "lower.stl", "vanish")),
    ('<cylinder radius="0.04" length="0.4"/>', '<cylinder radius="-0.04" length="0.4"/>', ("'upper'", "cylinder", "from 0 to")),
    ('<cylinder radius="0.04" length="0.4"/>', '<torus radius="1"/>', ("'upper'", "<torus>", "box, sphere")),
    ('<cylinder radius="0.04" length="0.4"/>', "", ("'upper'", "no <geometry>")),
    ('<robot name="arm">', "<robot>", ("no name", "<robot name=")),
    ('<robot name="arm">', '<robot name="arm"><xacro:macro name="m"/>', ("not valid XML",)),
    (
        '<robot name="arm">',
        '<robot name="arm" xmlns:xacro="http://ros.org/wiki/xacro"><xacro:leg/>',
        ("is a xacro file", "xacro arm.urdf"),
    ),
    ('<?xml version="1.0"?>', '<?xml version="1.0"?><!DOCTYPE robot [<!ENTITY m "1">]>', ("<!DOCTYPE>", "write the values")),
]


@pytest.mark.parametrize(("part", "instead", "expected"), BROKEN)
def test_a_broken_urdf_is_refused_by_name_and_remedy(tmp_path: Path, part: str, instead: str, expected: tuple[str, ...]) -> None:
    assert part in ARM
    message = refusal(tmp_path, ARM.replace(part, instead, 1))
    assert all(words in message for words in expected), message


def test_a_urdf_in_another_encoding_is_refused(tmp_path: Path) -> None:
    write_arm(tmp_path)
    (tmp_path / "arm.urdf").write_bytes(ARM.replace("tool", "Zubehör").encode("latin-1"))
    with pytest.raises(InputError, match=r"arm\.urdf: the URDF is not UTF-8 text.*save it as UTF-8"):
        load_robot(tmp_path)


def test_a_byte_order_mark_does_no_harm(tmp_path: Path) -> None:
    load_robot(write_arm(tmp_path, "\ufeff" + ARM))


def test_more_joints_than_pybullet_holds_are_refused(tmp_path: Path) -> None:
    more = "".join(
        f'<link name="l{k}"/><joint name="j{k}" type="fixed"><parent link="tool"/><child link="l{k}"/></joint>\n'
        for k in range(130)
    )
    assert "133 joints, and PyBullet holds 127" in refusal(tmp_path, ARM.replace("</robot>", more + "</robot>"))


@pytest.mark.parametrize("name", ["a" * 3000, "line"])
def test_names_and_lines_that_pybullet_breaks_on_are_refused(tmp_path: Path, name: str) -> None:
    urdf = ARM.replace("tool", name) if name != "line" else ARM.replace("\n", " ").replace("</robot>", " " * 9000 + "</robot>")
    message = refusal(tmp_path, urdf)
    assert "3000 characters" in message or "more than 8000 characters" in message


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("m.stl", text_stl().encode(), "text STL.*binary"),
        ("m.stl", binary_stl()[:-3], "no whole binary STL"),
        ("m.stl", bytes(80) + struct.pack("<I", 4_000_000_000), "no whole binary STL"),
        ("m.stl", b"", "no whole binary STL"),
        ("m.obj", b"v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 9\n", "face 'f 1 2 9' names a corner"),
        ("m.obj", b"v 0 0 0\nv nan 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("m.obj", b"v 0 0 0\n", "no faces"),
        ("m.dae", b"<COLLADA/>", "no COLLADA with an <asset>"),
        ("m.dae", b"\x00\x01", "no valid XML"),
        ("m.dae", collada().replace("0 1 2", "0 1 99999999").encode(), "corners that it lacks"),
        ("m.dae", collada().replace('source="#p"', 'source="#q"').encode(), "a <source> that it lacks"),
        ("m.dae", collada().replace("<p>0 1 2</p>", "").encode(), "no <p>"),
    ],
)
def test_a_mesh_that_pybullet_cannot_read_or_dies_of_is_refused(tmp_path: Path, name: str, content: bytes, expected: str) -> None:
    write_arm(tmp_path, ARM.replace("lower.stl", name))
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=rf"arm\.urdf: link 'lower': mesh .*{name}.*{expected}"):
        Plant(load_robot(tmp_path))


@settings(max_examples=150)
@given(st.randoms(use_true_random=False))
def test_broken_meshes_are_refused_and_never_raise_anything_else(folder_of_meshes: Path, source: random.Random) -> None:
    for name, text in (("m.dae", collada().replace("><", ">\n<")), ("m.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")):
        (folder_of_meshes / name).write_bytes(mutated(source, text).encode())
        try:
            mesh_points(folder_of_meshes / name)
        except ValueError as error:
            assert "export" in str(error) or "save" in str(error)


@pytest.fixture(scope="module")
def folder_of_meshes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("meshes")


def test_mutated_urdfs_are_refused_or_simulated_and_nothing_dies(tmp_path: Path) -> None:
    """Three hundred broken files; those that load are simulated, in a process that would die with PyBullet."""
    accepted, refused = [], 0
    for seed in range(300):
        folder = write_arm(tmp_path / str(seed), mutated(random.Random(seed)))
        try:
            load_robot(folder)
            accepted.append(folder)
        except InputError as error:
            refused += 1
            assert "arm.urdf" in str(error) or "robot.yaml" in str(error)
    assert refused > 100
    assert len(accepted) > 20
    code, end = simulate_apart(accepted)
    assert code == 0, end


def test_a_massless_link_may_move_where_links_with_mass_are_fixed_to_it(tmp_path: Path) -> None:
    frame = '<link name="frame"/><joint name="weld" type="fixed"><parent link="frame"/><child link="lower"/></joint>'
    urdf = ARM.replace('<child link="lower"/>', '<child link="frame"/>').replace("</robot>", frame + "</robot>")
    plant = Plant(load_robot(write_arm(tmp_path, urdf)))
    before = plant.true_state()
    plant.step([0.0, 5.0])
    assert plant.true_state()[1] > before[1]


def test_a_camera_on_a_link_that_is_not_there_is_refused(tmp_path: Path) -> None:
    write_arm(tmp_path)
    data = json.loads((tmp_path / "robot.yaml").read_text())
    data["cameras"] = {"eye": {"link": "hand"}}
    (tmp_path / "robot.yaml").write_text(json.dumps(data))
    with pytest.raises(InputError, match=r"robot\.yaml: cameras\.eye\.link: no link named 'hand'.*foot, upper, lower, tool"):
        load_robot(tmp_path)
