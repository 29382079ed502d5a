"""The documentation's commands exist as they stand: commands and options, launch files and arguments, services, parameters."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support.urdfs import write_arm
from typer.testing import CliRunner

from forerun.cli.app import COMMANDS, app, load_command

ROOT = Path(__file__).parents[3]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
OURS = ROOT / "docs" / "your_robot.md"


def lines_of(page: Path) -> Iterator[list[str]]:
    """The words of each command in the page's bash blocks."""
    for block in re.findall(r"```bash\n(.*?)```", page.read_text(), re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            if words := shlex.split(line, comments=True):
                yield words


def called(page: Path, *first: str) -> list[list[str]]:
    return [words[len(first) :] for words in lines_of(page) if tuple(words[: len(first)]) == first]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_and_option_exists(page: Path) -> None:
    for name, *words in called(page, "forerun"):
        assert name in COMMANDS, name
        command: Any = load_command(name)
        children = getattr(command, "commands", None)
        if children:
            command = children[words[0]]
        known = {option for parameter in command.params for option in (*parameter.opts, *parameter.secondary_opts)} | {"--help"}
        assert {word.partition("=")[0] for word in words if re.match(r"--?[a-z]", word)} <= known, (name, words)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_launch_file_argument_service_and_parameter_exists(page: Path) -> None:
    nodes = "".join(path.read_text() for path in (ROOT / "ros2_ws" / "forerun" / "nodes").glob("*.py"))
    for file, *words in called(page, "ros2", "launch", "forerun"):
        declared = set(re.findall(r'DeclareLaunchArgument\(\s*"(\w+)"', (ROOT / "launch" / file).read_text()))
        assert {word.partition(":=")[0] for word in words if ":=" in word} <= declared, (file, words)
    for service, *_ in called(page, "ros2", "service", "call"):
        assert f'"~/{service.rsplit("/", 1)[-1]}"' in nodes, service
    for _, parameter, *_ in called(page, "ros2", "param", "set"):
        assert f'"{parameter}"' in nodes, parameter


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text()):
        assert target.startswith("http") or (page.parent / target).exists(), target


def test_the_example_parameters_are_the_controllers() -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here, neither sourced nor from PyPI")
    from forerun.nodes.controller_parameters import PARAMETERS

    (text,) = re.findall(r"```yaml\n(.*?)```", OURS.read_text(), re.DOTALL)
    (given,) = [node["ros__parameters"] for node in yaml.safe_load(text).values()]
    assert set(_flat(given)) <= {declared.name for declared in PARAMETERS}


def _flat(values: dict[str, Any], before: str = "") -> Iterator[str]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{key}.")
        else:
            yield before + key


def test_the_page_can_be_followed_as_far_as_is_quick(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its own lines, with two short episodes: from a URDF to a bag and ros2_control's file."""
    source = write_arm(tmp_path / "source") / "arm.urdf"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_robot.urdf").write_text(source.read_text().replace('name="arm"', 'name="my_robot"'))
    for mesh in source.parent.rglob("*.stl"):
        target = tmp_path / mesh.relative_to(source.parent)
        target.parent.mkdir(exist_ok=True)
        target.write_bytes(mesh.read_bytes())
    quick = ("new-robot", "simulate", "ros2-control")
    for words in called(OURS, "forerun"):
        if words[0] in quick or words[:2] == ["inspect", "my_robot"]:
            short = ["--episodes", "2", "--steps", "20"] if words[0] == "simulate" else []
            done = CliRunner().invoke(app, [*words, *short], env={"COLUMNS": "200"})
            assert done.exit_code == 0, (words, done.output)
    assert {"my_robot", "my_robot.png", "bags", "my_robot_control.yaml"} <= {path.name for path in tmp_path.iterdir()}
