"""What a simulated robot tells beside its joints, over DDS."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from geometry_msgs.msg import PoseStamped
from sensor_msgs.msg import Image, Imu, JointState

from forerun.nodes import qos
from support.probe import probing
from support.processes import Processes

URDF = """<robot name="puck"><link name="body">
<inertial><mass value="1"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
<collision><geometry><box size="0.2 0.2 0.1"/></geometry></collision></link>
<link name="arm">
<inertial><mass value="0.1"/><inertia ixx="0.001" iyy="0.001" izz="0.001" ixy="0" ixz="0" iyz="0"/></inertial></link>
<joint name="turn" type="continuous"><parent link="body"/><child link="arm"/><axis xyz="0 0 1"/></joint></robot>"""
SENSED = {"base_x": 0.5, "base_y": -0.25, "base_z": 0.05, "box_x": 1.0, "box_y": 0.75, "box_yaw": 0.5}


def test_base_objects_unit_and_camera_are_told_as_ros_knows_them(processes: Processes, domain: int, tmp_path: Path) -> None:
    free = [{"name": f"base_{part}", "type": "prismatic"} for part in "xyz"]
    turning = [{"name": f"base_{part}", "type": "continuous"} for part in ("roll", "pitch", "yaw")]
    box = [{"name": f"box_{part}", "type": "prismatic"} for part in "xy"] + [{"name": "box_yaw", "type": "continuous"}]
    robot = {
        "format": 1,
        "name": "puck",
        "urdf": "puck.urdf",
        "base": "floating",
        "ground": True,
        "objects": {"box": {"shape": "box", "size": [0.1, 0.1, 0.2], "mass": 0.5}},
        "joints": [*free, *turning, {"name": "turn", "type": "continuous", "interface": "effort", "effort": 1.0}, *box],
        "control": {"rate": 50, "physics_rate": 500},
        "sensors": {"imu": {}},
        "cameras": {"eye": {"position": [2.0, 0.0, 1.0], "look_at": [0.0, 0.0, 0.0], "width": 32, "height": 24, "rate": 10}},
        "tasks": {
            "rest": {
                "duration": 5.0,
                "initial_position": {name: {"value": value} for name, value in SENSED.items()},
                "terms": [{"kind": "quadratic", "feature": "position:turn"}],
            }
        },
    }
    (tmp_path / "puck.urdf").write_text(URDF)
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot))
    seen: dict[str, Any] = {}
    with probing(domain) as probe:
        topics = {"imu": Imu, "objects/box/pose": PoseStamped, "eye/image": Image, "eye/depth": Image, "joint_states": JointState}
        if importlib.util.find_spec("nav_msgs") is not None:
            topics["odom"] = importlib.import_module("nav_msgs.msg").Odometry
        for topic, kind in topics.items():
            probe.listen(kind, topic, lambda message, topic=topic: seen.__setitem__(topic, message), qos.STATES_OUT)
        processes.node("simulator", robot=str(tmp_path / "robot.yaml"), randomize=False)
        probe.until(lambda: set(seen) == set(topics), "every topic spoke")
    place = seen["objects/box/pose"].pose
    assert (place.position.x, place.position.y, place.position.z) == pytest.approx((1.0, 0.75, 0.1), abs=1e-3)
    assert (place.orientation.z, place.orientation.w) == pytest.approx((np.sin(0.25), np.cos(0.25)), abs=1e-3)
    assert seen["objects/box/pose"].header.frame_id == "world"
    assert seen["imu"].linear_acceleration.z == pytest.approx(9.81, abs=0.5) and seen["imu"].orientation_covariance[0] == -1.0
    colours, depths = seen["eye/image"], seen["eye/depth"]
    assert (colours.encoding, colours.height, colours.width, colours.step) == ("rgb8", 24, 32, 96)
    picture = np.frombuffer(bytes(depths.data), np.float32).reshape(24, 32)
    assert depths.encoding == "32FC1" and 1.0 < picture[12, 16] < 2.5, "the ground in the middle, 2 m away"
    if "odom" in seen:
        at = seen["odom"].pose.pose.position
        assert (at.x, at.y) == pytest.approx((0.5, -0.25), abs=1e-3) and seen["odom"].child_frame_id == "base_link"
