"""A wrong robot.yaml is refused by a message that names the file, the key and what is allowed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
import yaml

from forerun_sim import resources
from forerun_sim.errors import InputError
from forerun_sim.spec import load_robot
from forerun_sim.urdf import robot_urdf

SHIPPED = ("cartpole", "pendulum", "double_pendulum", "so101", "panda", "panda_velocity")


@pytest.fixture
def cartpole(tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """A copy of the cartpole: its folder, and its robot.yaml as data."""
    source = resources.find("robots", "cartpole")
    (tmp_path / "cartpole.urdf").write_bytes((source / "cartpole.urdf").read_bytes())
    return tmp_path, yaml.safe_load((source / "robot.yaml").read_text())


def refusal(folder: Path, data: dict[str, Any]) -> str:
    """The message with which this robot.yaml is refused; it must name the file."""
    (folder / "robot.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(InputError) as caught:
        load_robot(folder)
    message = str(caught.value)
    assert "robot.yaml" in message or ".urdf" in message
    assert caught.value.exit_code == 2
    return message


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_robots_load(name: str) -> None:
    assert load_robot(name).name == name


def test_unknown_key_is_named_with_what_is_allowed(cartpole: tuple[Path, dict[str, Any]]) -> None:
    folder, data = cartpole
    data["sensors"]["noize"] = 1
    message = refusal(folder, data)
    assert "sensors.noize" in message and "position_noise" in message and "dropout" in message


def test_unknown_key_of_a_distribution_is_named(cartpole: tuple[Path, dict[str, Any]]) -> None:
    folder, data = cartpole
    data["randomization"]["inertia"] = {"uniform": [0.8, 1.2], "relatively": True}
    message = refusal(folder, data)
    assert "randomization.inertia.relatively" in message and "log_uniform" in message


def test_folder_is_no_key_of_robot_yaml(cartpole: tuple[Path, dict[str, Any]]) -> None:
    folder, data = cartpole
    data["folder"] = "/etc"
    message = refusal(folder, data)
    assert "unknown key 'folder'" in message and "urdf" in message


def test_joint_that_the_urdf_lacks_is_named_with_those_it_has(cartpole: tuple[Path, dict[str, Any]]) -> None:
    folder, data = cartpole
    data["joints"][0]["name"] = "sledge"
    data["actuators"], data["tasks"], data["randomization"] = {}, {}, {}
    message = refusal(folder, data)
    assert "joints.0.name" in message and "'sledge'" in message and "slider, hinge" in message and "cartpole.urdf" in message


def test_joint_of_another_type_than_in_the_urdf_is_refused(cartpole: tuple[Path, dict[str, Any]]) -> None:
    folder, data = cartpole
    data["joints"][1]["type"] = "revolute"
    message = refusal(folder, data)
    assert "joints.1.type" in message and "'hinge'" in message and "revolute" in message and "continuous" in message


@pytest.mark.parametrize(
    ("where", "value", "expected"),
    [
        (("joints", 0, "position"), [2.0, -2.0], "joints.0.position: the limits are reversed"),
        (("randomization", "gravity"), {"uniform": [10.0, 9.0]}, "randomization.gravity: uniform: the limits are reversed"),
        (("tasks", "swingup", "command_limits"), {"slider": [1.0, -1.0]}, "command_limits.slider: the limits are reversed"),
        (("tasks", "swingup", "success"), [{"feature": "cos:hinge", "bounds": [1, -1]}], "bounds are reversed"),
        (("tasks", "swingup", "command_limits"), {"slider": [-20.0, 20.0]}, "exceeds the joint's [-10.0, 10.0]"),
        (
            ("tasks", "swingup", "command_limits"),
            {"sledge": [-1.0, 1.0]},
            "no joint named ['sledge']; joints: ['slider', 'hinge']",
        ),
        (("tasks", "swingup", "terms", 0, "feature"), "cos:sledge", "no such joint; allowed: ['slider', 'hinge']"),
        (("tasks", "swingup", "terms", 0, "feature"), "cosine:hinge", "'cosine:hinge' is no feature"),
        (("tasks", "swingup", "terms", 0, "feature"), "link:tip.w", "ends in .x, .y or .z"),
        (("tasks", "swingup", "terms", 0, "feature"), "link:top.z", "no link named 'top'"),
        (("tasks", "swingup", "terms", 0, "goal"), 0, "the goal has 0 numbers"),
        (("randomization", "mass"), {"pale": {"uniform": [0.1, 0.2]}}, "randomization.mass: no link named 'pale'"),
        (("randomization", "inertia"), {"uniform": [0.1, 0.2]}, "relative: true"),
        (("randomization", "lag"), {"sledge": {"value": 0.1}}, "randomization.lag: no joint named ['sledge']"),
        (("actuators", "lag"), {"sledge": 0.1}, "actuators.lag: no joint named ['sledge']"),
        (("safety", "damp_gain"), {"sledge": 8.0}, "safety.damp_gain: no joint named ['sledge']"),
        (("safety", "damp_gain"), {"hinge": 8.0}, "safety.damp_gain: action 'damp' would leave ['slider'] free"),
        (("safety", "damp_gain"), 0.0, "safety.damp_gain: action 'damp' would leave ['slider'] free"),
        (("actuators", "lag"), -0.1, "actuators.lag: Input should be greater than or equal to 0"),
        (("control", "physics_rate"), 333, "whole multiple"),
        (("joints", 0, "effort"), None, "needs a limit 'effort'"),
    ],
)
def test_wrong_value_is_named(cartpole: tuple[Path, dict[str, Any]], where: tuple[Any, ...], value: Any, expected: str) -> None:
    folder, data = cartpole
    inner: Any = data
    for key in where[:-1]:
        inner = inner[key]
    inner[where[-1]] = value
    assert expected in refusal(folder, data)


def test_broken_yaml_is_refused(tmp_path: Path) -> None:
    (tmp_path / "robot.yaml").write_text("format: [1\nname: x")
    with pytest.raises(InputError, match=r"robot\.yaml: is not valid YAML"):
        load_robot(tmp_path)


def test_yaml_that_is_no_mapping_is_refused(tmp_path: Path) -> None:
    (tmp_path / "robot.yaml").write_text("- a\n- b\n")
    with pytest.raises(InputError, match="expected a mapping"):
        load_robot(tmp_path)


def test_python_objects_in_yaml_are_never_built(tmp_path: Path) -> None:
    (tmp_path / "robot.yaml").write_text("!!python/object/apply:os.system ['touch pwned']\n")
    with pytest.raises(InputError, match="not valid YAML"):
        load_robot(tmp_path)


def test_unknown_robot_lists_those_that_exist() -> None:
    with pytest.raises(InputError, match=r"no robot named 'cartpool'; shipped: .*cartpole"):
        load_robot("cartpool")


@pytest.mark.parametrize(
    ("urdf", "expected"),
    [
        ("<robot name='x'><link", "not valid XML"),
        ("<mujoco/>", "begins with <robot>"),
        ("<robot><link name='a'/><link name='a'/></robot>", "more than one link named ['a']"),
        ("<robot><link name='a'/><link name='b'/></robot>", "one root"),
        ("<robot><link name='a'/><joint name='j' type='floating'/></robot>", "of type 'floating'"),
        (
            "<robot><link name='a'/><joint name='j' type='fixed'><parent link='a'/><child link='b'/></joint></robot>",
            "names link 'b', which does not exist",
        ),
        (
            "<robot><link name='a'/><link name='b'/><joint name='j' type='prismatic'><parent link='a'/><child link='b'/>"
            "<axis xyz='0 1 1'/></joint></robot>",
            "axis of length 1.414",
        ),
        (
            "<robot><link name='a'/><link name='b'/><joint name='slider' type='prismatic'><parent link='a'/>"
            "<child link='b'/></joint><link name='c'/><joint name='hinge' type='continuous'>"
            "<parent link='b'/><child link='c'/></joint></robot>",
            "has no mass",
        ),
    ],
)
def test_broken_urdf_is_refused(cartpole: tuple[Path, dict[str, Any]], urdf: str, expected: str) -> None:
    folder, data = cartpole
    (folder / "cartpole.urdf").write_text(urdf)
    message = refusal(folder, data)
    assert expected in message and "cartpole.urdf" in message


def test_missing_urdf_is_named(cartpole: tuple[Path, dict[str, Any]]) -> None:
    folder, data = cartpole
    (folder / "cartpole.urdf").unlink()
    assert "cartpole.urdf: the URDF cannot be read" in refusal(folder, data)


@pytest.mark.parametrize("rate", [25, 75, 120])
def test_command_rate_must_be_a_whole_multiple_of_the_rate(cartpole: tuple[Path, dict[str, Any]], rate: int) -> None:
    folder, data = cartpole
    data["control"]["command_rate"] = rate
    assert f"command_rate {rate:.1f} must be a whole multiple of rate 50.0" in refusal(folder, data)
    data["control"]["command_rate"] = 200
    (folder / "robot.yaml").write_text(yaml.safe_dump(data))
    assert load_robot(folder).control.command_rate == 200


def test_command_timeout_must_exceed_the_period(cartpole: tuple[Path, dict[str, Any]]) -> None:
    folder, data = cartpole
    data["safety"]["command_timeout"] = 0.02
    assert "safety.command_timeout 0.02 s must exceed the control period of 0.02 s" in refusal(folder, data)
    data["safety"]["command_timeout"] = 0.03
    (folder / "robot.yaml").write_text(yaml.safe_dump(data))
    assert load_robot(folder).safety.command_timeout == 0.03


def test_a_robot_of_pybullets_loads_without_pybullet(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "pybullet_data" else found(name, *rest))
    panda = load_robot("panda")
    assert panda.action_size == 7 and not panda.has_urdf
    with pytest.raises(InputError, match=r"'pybullet_data:franka_panda/panda.urdf' comes with PyBullet: pip install pybullet"):
        robot_urdf(panda)
    assert load_robot("cartpole").has_urdf
