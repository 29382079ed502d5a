"""Robots of a few lines for the simulator's tests, written to disk as a user's would be."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from forerun_sim.spec import RobotSpec, load_robot

BOB_URDF = """<robot name="bob">
  <link name="stand">
    <inertial><mass value="1"/><inertia ixx="1" iyy="1" izz="1" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  <link name="arm">
    <inertial>
      <origin xyz="0 0 -0.5"/><mass value="{mass}"/>
      <inertia ixx="0.02" iyy="0.02" izz="0.001" ixy="0" ixz="0" iyz="0"/>
    </inertial>
    <collision><origin xyz="0 0 -0.5"/><geometry><sphere radius="0.05"/></geometry></collision>
  </link>
  <joint name="swing" type="{type}">
    <parent link="stand"/><child link="arm"/><axis xyz="{axis}"/>
    <limit lower="-3" upper="3" effort="5" velocity="50"/>
    <dynamics damping="{damping}"/>
  </joint>
</robot>
"""

Robot = Callable[..., RobotSpec]


@pytest.fixture
def bob(tmp_path: Path) -> Robot:
    """A pendulum of 1 kg, 0.5 m from its joint, inertia 0.02 about its centre of mass, without any loss: ``bob(**changes)`` gives
    it with keys of robot.yaml replaced. ``type``, ``axis``, ``mass`` and ``damping`` go into its URDF."""

    def build(
        type: str = "continuous", axis: str = "0 -1 0", mass: float = 1.0, damping: float = 0.0, **changes: object
    ) -> RobotSpec:
        (tmp_path / "bob.urdf").write_text(BOB_URDF.format(type=type, axis=axis, mass=mass, damping=damping))
        robot: dict[str, object] = {
            "format": 1,
            "name": "bob",
            "urdf": "bob.urdf",
            "joints": [{"name": "swing", "type": type, "interface": "effort", "effort": 5.0}],
            "control": {"rate": 50, "physics_rate": 1000},
        }
        (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot | changes))
        return load_robot(tmp_path)

    return build
