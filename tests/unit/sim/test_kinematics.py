"""Forward kinematics agrees with PyBullet's, and is one definition for numpy, torch and a traced graph."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pybullet
import pytest
import torch

from forerun_sim.kinematics import Frame, Kinematics, check_frames
from forerun_sim.spec import load_robot
from forerun_sim.urdf import Urdf, load_urdf, robot_urdf

CROOKED = """<robot name="crooked">
  <link name="base"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1"/></inertial></link>
  <link name="one"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1"/></inertial></link>
  <link name="two"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1"/></inertial></link>
  <link name="three"><inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1"/></inertial></link>
  <link name="tool"><inertial><mass value="0.1"/><inertia ixx="1" iyy="1" izz="1"/></inertial></link>
  <joint name="a" type="revolute"><parent link="base"/><child link="one"/><origin xyz="0.1 0.2 0.3" rpy="0.4 -0.5 0.6"/>
    <axis xyz="1 2 -0.5"/><limit lower="-3" upper="3" effort="1" velocity="1"/></joint>
  <joint name="b" type="prismatic"><parent link="one"/><child link="two"/><origin xyz="-0.2 0 0.1" rpy="-1 0.3 2"/>
    <axis xyz="0 0.6 0.8"/><limit lower="-1" upper="1" effort="1" velocity="1"/></joint>
  <joint name="c" type="continuous"><parent link="two"/><child link="three"/><origin xyz="0 0.3 0"/>
    <axis xyz="0 0 1"/></joint>
  <joint name="d" type="fixed"><parent link="three"/><child link="tool"/><origin xyz="0.1 0.1 0.4" rpy="0.7 0.1 -0.2"/></joint>
</robot>"""


def bullet_origins(urdf: Urdf, joints: tuple[str, ...], position: np.ndarray) -> dict[str, np.ndarray]:
    """Origin of every moved link as PyBullet has it."""
    client = pybullet.connect(pybullet.DIRECT)
    try:
        body = pybullet.loadURDF(str(urdf.path), useFixedBase=True, physicsClientId=client)
        base, turned = pybullet.getBasePositionAndOrientation(body, client)
        # PyBullet puts the base's centre of mass at the origin; all robots here have it in the base frame's origin.
        assert np.allclose(base, 0) and np.allclose(turned, (0, 0, 0, 1))
        found = {}
        for index in range(pybullet.getNumJoints(body, client)):
            info = pybullet.getJointInfo(body, index, client)
            if info[1].decode() in joints:
                pybullet.resetJointState(body, index, position[joints.index(info[1].decode())], physicsClientId=client)
        for index in range(pybullet.getNumJoints(body, client)):
            link = pybullet.getJointInfo(body, index, client)[12].decode()
            found[link] = np.array(pybullet.getLinkState(body, index, computeForwardKinematics=1, physicsClientId=client)[4])
        return found
    finally:
        pybullet.disconnect(client)


@pytest.mark.parametrize("name", ["crooked", "cartpole", "pendulum", "double_pendulum"])
def test_links_are_where_pybullet_has_them(name: str, tmp_path: Path) -> None:
    if name == "crooked":
        (tmp_path / "crooked.urdf").write_text(CROOKED)
        urdf, joints = load_urdf(tmp_path / "crooked.urdf"), ("c", "a", "b")
    else:
        spec = load_robot(name)
        urdf, joints = robot_urdf(spec), spec.joint_names
    kinematics = Kinematics(urdf.frames(joints))
    for position in np.random.default_rng(1).uniform(-2, 2, (5, len(joints))):
        for link, expected in bullet_origins(urdf, joints, position).items():
            assert np.allclose(kinematics.point(np, position, link), expected, atol=1e-6), link


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_numpy_torch_and_trace_agree_on_batches(tmp_path: Path) -> None:
    (tmp_path / "crooked.urdf").write_text(CROOKED)
    kinematics = Kinematics(load_urdf(tmp_path / "crooked.urdf").frames(("a", "b", "c")))
    position = np.random.default_rng(2).uniform(-2, 2, (4, 6, 3))
    expected = kinematics.point(np, position, "tool")
    assert expected.shape == (4, 6, 3)
    assert np.allclose(kinematics.point(torch, torch.from_numpy(position), "tool").numpy(), expected, atol=1e-12)
    traced = torch.jit.trace(lambda q: kinematics.point(torch, q, "tool"), torch.zeros(2, 6, 3, dtype=torch.float64))
    assert np.allclose(traced(torch.from_numpy(position)).numpy(), expected, atol=1e-12)


def test_upright_double_pendulum_has_its_tip_half_a_metre_up() -> None:
    spec = load_robot("double_pendulum")
    kinematics = Kinematics(robot_urdf(spec).frames(spec.joint_names))
    assert np.allclose(kinematics.point(np, np.array([np.pi, 0.0]), "tip"), [0, 0, 0.5])
    assert np.allclose(kinematics.point(np, np.zeros(2), "tip"), [0, 0, -0.5])


def test_double_pendulum_has_the_published_parameters() -> None:
    urdf = robot_urdf(load_robot("double_pendulum"))
    published = {"upper": (0.5235, 0.2, 0.03189), "lower": (0.6256, 0.2557, 0.05087)}
    for link, (mass, arm, about_joint) in published.items():
        inertial = urdf.links[link]
        assert inertial.mass == mass and -inertial.com[2] == arm
        assert inertial.inertia[1] + mass * arm**2 == pytest.approx(about_joint, abs=5e-6)


def test_frames_survive_json_and_bad_ones_are_named(tmp_path: Path) -> None:
    (tmp_path / "crooked.urdf").write_text(CROOKED)
    frames = load_urdf(tmp_path / "crooked.urdf").frames(("c", "a", "b"))
    again = tuple(Frame.from_data(data) for data in json.loads(json.dumps([frame.as_data() for frame in frames])))
    assert again == frames and not check_frames(frames, 3)
    assert "link 'three': its joint or type is unknown" in check_frames((frames[0], replace(frames[3], parent=0, joint=7)), 3)
    assert "link 'one': its parent" in check_frames((frames[0], replace(frames[1], parent=1)), 3)
    assert "must be finite" in check_frames((replace(frames[0], xyz=(0.0, float("nan"), 0.0)),), 3)
