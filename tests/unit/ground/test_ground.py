"""What lies around the code says the truth about it: package.xml, requirements, launch files, parameters, README."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from forerun.cli.app import COMMANDS, load_command

FLOORS = ("sim/forerun_sim", "models/forerun_models", "ros2_ws/forerun")
ROS_SUFFIXES = ("_msgs", "_interfaces", "_srvs")


def imported(folders: list[Path]) -> set[str]:
    """Top-level modules that the code names, outside the standard library and Forerun."""
    found: set[str] = set()
    for folder in folders:
        for path in folder.rglob("*.py"):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Import):
                    found |= {alias.name.partition(".")[0] for alias in node.names}
                elif isinstance(node, ast.ImportFrom) and node.module:
                    found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"forerun", "forerun_models", "forerun_sim"}


OPTIONAL = {"ray", "dm_control", "stable_baselines3"}
"""Packages that neither the demo nor the tests need: of extras, or peers that benchmarks compare with where they are there."""


def is_ros(module: str) -> bool:
    return module in ("rclpy", "launch", "launch_ros", "ament_index_python") or module.endswith(ROS_SUFFIXES)


def test_package_xml_declares_every_ros_package_that_is_imported(repository: Path) -> None:
    root = ElementTree.parse(repository / "package.xml").getroot()
    assert root.get("format") == "3"
    assert root.findtext("export/build_type") == "ament_python"
    declared = {element.text for element in root.iter("exec_depend")}
    needed = {name for name in imported([repository / floor for floor in FLOORS] + [repository / "launch"]) if is_ros(name)}
    assert needed - declared == set()


def test_requirements_pin_every_package_that_is_imported(repository: Path) -> None:
    lines = (repository / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert all(re.fullmatch(r"[a-z0-9-]+==[0-9][0-9A-Za-z.]*", pin) for pin in pins)
    pinned = {pin.partition("==")[0] for pin in pins}
    distributions = packages_distributions()
    missing = set()
    for module in imported([repository / floor for floor in FLOORS]):
        names = {re.sub("[-_.]+", "-", name).lower() for name in distributions.get(module, [module])}
        if not is_ros(module) and module not in OPTIONAL and not names & pinned:
            missing.add(module)
    assert missing == set()


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("simulator", {"robot", "engine", "namespace", "use_sim_time", "params_file"}),
        ("controller", {"bundle", "namespace", "use_sim_time", "params_file"}),
        ("record", {"uri", "robot", "namespace", "use_sim_time", "params_file"}),
        ("demo", {"robot", "engine", "bundle", "namespace", "use_sim_time", "params_file"}),
    ],
)
def test_launch_files_take_their_arguments(repository: Path, name: str, arguments: set[str]) -> None:
    tree = ast.parse((repository / "launch" / f"{name}.launch.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == "DeclareLaunchArgument"]
    assert arguments <= {ast.literal_eval(call.args[0]) for call in calls}
    assert all(any(keyword.arg == "description" for keyword in call.keywords) for call in calls)


def flat(values: dict[str, object], prefix: str = "") -> Iterator[tuple[str, object]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def test_the_shipped_parameters_are_known_to_their_nodes(repository: Path) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here, neither sourced nor from PyPI")
    from forerun.nodes import controller_parameters, recorder, simulator, trainer_parameters

    declared = {
        "/**/simulator": simulator.PARAMETERS,
        "/**/controller": controller_parameters.PARAMETERS,
        "/**/recorder": recorder.PARAMETERS,
        "/**/trainer": trainer_parameters.PARAMETERS,
    }
    content = yaml.safe_load((repository / "ros2_ws/config/forerun.yaml").read_text())
    assert set(content) == set(declared)
    for node, parameters in declared.items():
        known = {parameter.name: parameter for parameter in parameters}
        for name, value in flat(content[node]["ros__parameters"]):
            assert known[name].convert(value) == value == known[name].default
            assert value != [], f"rclpy stops with a traceback at the empty list '{name}' in a file"


@pytest.mark.parametrize("namespace", ["", "robot1", "/fleet/robot1"])
def test_the_parameter_file_reaches_a_node_in_any_namespace(tmp_path: Path, namespace: str) -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here, neither sourced nor from PyPI")
    file = tmp_path / "params.yaml"
    file.write_text("/**/controller:\n  ros__parameters:\n    seed: 41\n/**/simulator:\n  ros__parameters:\n    seed: 42\n")
    code = (
        "import sys, rclpy; rclpy.init(args=sys.argv); from rclpy.node import Node;"
        f"node = Node('controller', namespace={namespace!r}, automatically_declare_parameters_from_overrides=True);"
        "print('seed', node.get_parameter('seed').value); rclpy.shutdown()"
    )
    command = [sys.executable, "-c", code, "--ros-args", "--params-file", str(file)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert run.stdout.split("seed ")[1].strip() == "41"


def test_the_readmes_commands_exist(repository: Path) -> None:
    text = (repository / "README.md").read_text(encoding="utf-8")
    blocks = "\n".join(re.findall(r"```(?:bash|console|sh)?\n(.*?)```", text, re.DOTALL)).replace("\\\n", " ")
    lines = [line.partition(" #")[0].strip() for line in blocks.splitlines()]
    forerun = [line.split()[1:] for line in lines if line.startswith("forerun ")]
    assert forerun
    for name, *rest in forerun:
        command = load_command(name)
        assert name in COMMANDS
        if hasattr(command, "commands"):
            command = command.commands[rest[0]]
        options = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)}
        assert {word for word in rest if word.startswith("-")} <= options, name
    targets = set(re.findall(r"^([a-z.]+):", (repository / "Makefile").read_text(), re.MULTILINE))
    assert {line.split()[1] for line in lines if line.startswith("make ")} <= targets
    launched = [line.split() for line in lines if line.startswith("ros2 launch forerun")]
    for _, _, _, file, *arguments in launched:
        source = (repository / "launch" / file).read_text()
        assert all(
            f'DeclareLaunchArgument("{argument.partition(":=")[0]}"' in re.sub(r"\(\s+", "(", source) for argument in arguments
        )
