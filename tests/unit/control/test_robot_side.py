"""The robot's side: what the guard lets through, and the files that ros2_control reads."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from forerun.cli.app import app
from forerun.control.guard import CommandRefused, Contract, Guard
from forerun.ros2_control import controllers_yaml, update_rates
from forerun_sim import resources
from forerun_sim.errors import InputError
from forerun_sim.spec import load_robot
from support.tiny_bundle import tiny_bundle

COMMON = {"type", "update_rate", "is_async"}
KNOWN = {
    "controller_manager": {"update_rate"},
    "joint_state_broadcaster": COMMON | {"joints", "interfaces"},
    "JointGroupEffortController": COMMON | {"joints"},
    "JointGroupVelocityController": COMMON | {"joints"},
    "JointGroupPositionController": COMMON | {"joints"},
}
"""Parameters of ros2_control and ros2_controllers on Jazzy, as far as we use them (their *_parameters.yaml)."""

CONTRACT = Contract(
    ("lift", "turn"), ("effort", "position"), np.array([-10.0, -1.0]), np.array([10.0, 1.0]), rate=50.0, timeout=0.25
)


def test_commands_are_clipped_and_the_safe_one_holds_positions_only() -> None:
    guard = Guard(CONTRACT)
    assert guard.safe()[0] == 0.0 and np.isnan(guard.safe()[1])
    assert guard.accept([5.0, 0.5]).tolist() == [5.0, 0.5] and guard.clipped == 0
    assert guard.accept([50.0, -5.0]).tolist() == [10.0, -1.0] and guard.clipped == 1
    assert guard.safe().tolist() == [0.0, -1.0]


@pytest.mark.parametrize("bad", [[], [1.0], [1.0, 2.0, 3.0], [np.nan, 0.0], [0.0, np.inf]])
def test_a_refused_command_changes_nothing(bad: list[float]) -> None:
    guard = Guard(CONTRACT)
    guard.accept([5.0, 0.5])
    with pytest.raises(CommandRefused):
        guard.accept(bad)
    assert guard.safe().tolist() == [0.0, 0.5] and guard.refused == 1


def test_the_contract_is_read_from_a_bundle(tmp_path: Path) -> None:
    contract = Contract.of_bundle(tiny_bundle(tmp_path / "bundle"))
    assert (contract.joints, contract.interfaces, contract.topic) == (("slider",), ("effort",), "commands")
    assert (contract.lower[0], contract.upper[0], contract.rate, contract.timeout) == (-10.0, 10.0, 50.0, 0.25)


@pytest.mark.parametrize(
    ("text", "words"),
    [("", "is no manifest"), ("[]", "is no manifest"), ("{}", "key 'actions' is missing"), (None, "cannot be read")],
)
def test_a_damaged_bundle_is_named(tmp_path: Path, text: str | None, words: str) -> None:
    if text is not None:
        (tmp_path / "bundle.json").write_text(text)
    with pytest.raises(InputError, match=words) as caught:
        Contract.of_bundle(tmp_path)
    assert str(tmp_path / "bundle.json") in str(caught.value)


def test_the_guard_needs_numpy_and_rclpy_alone() -> None:
    pytest.importorskip("rclpy")
    code = "import sys, forerun.nodes.guard; print(*{name.partition('.')[0] for name in sys.modules})"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert {"forerun", "numpy", "rclpy"} <= set(loaded)
    assert {"onnxruntime", "pydantic", "torch", "scipy", "typer", "forerun_models"}.isdisjoint(loaded)


def nodes(text: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each node of a parameter file with its parameters."""
    for name, content in yaml.safe_load(text).items():
        assert name.startswith("/**/") and set(content) == {"ros__parameters"}
        yield name.removeprefix("/**/"), content["ros__parameters"]


@pytest.mark.parametrize("name", resources.available("robots"))
def test_controllers_of_every_shipped_robot_are_known_to_ros2_control(name: str) -> None:
    robot = load_robot(name)
    file = dict(nodes(controllers_yaml(robot, name, "control.yaml")))
    manager, guard = file.pop("controller_manager"), file.pop("guard")
    types = {key: manager.pop(key)["type"] for key in list(manager) if isinstance(manager[key], dict)}
    assert set(manager) <= KNOWN["controller_manager"]
    assert set(types) == set(file)
    commanded: dict[str, list[str]] = {}
    for controller, parameters in file.items():
        kind = types[controller].partition("/")[2]
        assert set(parameters) <= KNOWN["joint_state_broadcaster" if kind == "JointStateBroadcaster" else kind]
        if kind == "JointStateBroadcaster":
            assert parameters["joints"] == list(robot.joint_names)
            assert manager["update_rate"] % parameters["update_rate"] == 0
        else:
            commanded[controller.removeprefix("forerun_")] = parameters["joints"]
    assert guard["joints"] == list(robot.action_names)
    for kind, joints in commanded.items():
        assert joints == [joint for joint, other in zip(guard["joints"], guard["interfaces"], strict=True) if other == kind]
    contract = Contract(
        tuple(guard["joints"]),
        tuple(guard["interfaces"]),
        np.array(guard["lower"]),
        np.array(guard["upper"]),
        guard["rate"],
        guard["command_timeout"],
    )
    assert contract.timeout == robot.safety.command_timeout
    assert all(isinstance(value, float) for value in (*guard["lower"], *guard["upper"], guard["rate"], guard["command_timeout"]))


def test_odd_joint_names_and_numbers_survive(tmp_path: Path) -> None:
    source = resources.find("robots", "so101")
    data = yaml.safe_load((source / "robot.yaml").read_text())
    renamed = ["1", "on", "it's", "a: b", "Wrist_Roll", "null"]
    for joint, new in zip(data["joints"], renamed, strict=True):
        joint["name"] = new
    data["joints"][0] |= {"interface": "velocity", "velocity": 0.00001}
    data = {key: value for key, value in data.items() if key not in ("urdf", "foreign", "actuators", "identify", "tasks")}
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(data))
    file = dict(nodes(controllers_yaml(load_robot(tmp_path), "odd", "control.yaml")))
    assert file["guard"]["joints"] == file["joint_state_broadcaster"]["joints"] == renamed
    assert file["forerun_velocity"]["joints"] == ["1"] and file["forerun_position"]["joints"] == renamed[1:]
    assert file["guard"]["upper"][0] == 0.00001


@pytest.mark.parametrize(
    ("rate", "expected"),
    [(50.0, (200, 50)), (100.0, (400, 100)), (300.0, (900, 300)), (1000.0, (1000, 1000)), (2000.0, (2000, 2000))],
)
def test_the_managers_rate_is_a_multiple_of_the_states(rate: float, expected: tuple[int, int]) -> None:
    assert update_rates(rate) == expected
    assert update_rates(rate, 2 * rate)[0] >= 2 * rate


def test_the_command_writes_the_file_once(tmp_path: Path) -> None:
    out = tmp_path / "control.yaml"
    first = CliRunner().invoke(app, ["ros2-control", "cartpole", "--out", str(out)])
    assert first.exit_code == 0 and "slider (effort)" in first.output
    again = CliRunner().invoke(app, ["ros2-control", "cartpole", "--out", str(out)])
    assert again.exit_code == 2 and "exists already" in again.stderr
    assert CliRunner().invoke(app, ["ros2-control", "cartpole", "--out", str(out), "--overwrite"]).exit_code == 0
