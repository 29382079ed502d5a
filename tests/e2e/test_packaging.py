"""What pip and colcon install is whole, and works away from the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

PARTS = ("package.xml", "setup.py", "setup.cfg", "pyproject.toml", "README.md", "LICENSE", "resource", "launch", "sim", "models")


@pytest.fixture(scope="module")
def source(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, so that building leaves nothing in it."""
    copy = tmp_path_factory.mktemp("source") / "forerun"
    copy.mkdir()
    skip = shutil.ignore_patterns("__pycache__", "build", "install", "log", "src")
    for part in PARTS:
        if (repository / part).is_dir():
            shutil.copytree(repository / part, copy / part, ignore=skip)
        else:
            shutil.copy(repository / part, copy / part)
    shutil.copytree(repository / "ros2_ws", copy / "ros2_ws", ignore=skip)
    return copy


@pytest.fixture(scope="module")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "--no-index",
        "-w",
        str(folder),
        ".",
    ]
    run = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return next(folder.glob("*.whl"))


def outside(install: Path) -> dict[str, str]:
    """An environment in which the installed packages are found and the checkout is not."""
    site = next(install.rglob("site-packages"))
    return {**os.environ, "PYTHONPATH": str(site), "PYTHONSAFEPATH": "1"}


def test_the_wheel_holds_three_floors_and_everything_beside_the_code(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    shared = [name.partition(".data/data/share/")[2] for name in names if ".data/data/share/" in name]
    assert {"forerun", "forerun_models", "forerun_sim"} <= {name.partition("/")[0] for name in names}
    assert "forerun/report/report.html.j2" in names
    assert {"forerun/package.xml", "forerun/launch/demo.launch.py", "forerun/config/forerun.yaml"} <= set(shared)
    assert {"forerun/rviz/forerun.rviz", "forerun/foxglove/forerun.json"} <= set(shared)
    assert {"forerun/robots/cartpole/robot.yaml", "forerun/recipes/cartpole.yaml"} <= set(shared)
    assert "ament_index/resource_index/packages/forerun" in shared


def test_an_installed_package_finds_its_robots_away_from_the_checkout(wheel: Path, tmp_path: Path) -> None:
    install = tmp_path / "install"
    command = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-index", "--ignore-installed"]
    subprocess.run([*command, "--prefix", str(install), str(wheel)], check=True, capture_output=True)
    assert (install / "bin" / "forerun").is_file()
    code = (
        "import forerun_sim, forerun_sim.spec as s; from forerun_sim import resources;"
        "print(forerun_sim.__file__, s.load_robot('cartpole').folder, resources.find('recipes', 'cartpole'))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=outside(install), capture_output=True, text=True, check=True
    )
    assert all(Path(path).is_relative_to(install) for path in run.stdout.split())


def test_colcon_builds_what_ros2_run_and_ros2_launch_find(source: Path, tmp_path: Path) -> None:
    if shutil.which("colcon") is None:
        pytest.skip("colcon is not installed here")
    workspace = tmp_path / "ws"
    (workspace / "src").mkdir(parents=True)
    (workspace / "src" / "forerun").symlink_to(source)
    subprocess.run(["colcon", "build"], cwd=workspace, check=True, capture_output=True)
    install = workspace / "install" / "forerun"
    nodes = {"simulator", "controller", "recorder", "guard", "trainer", "player"}
    assert {path.name for path in (install / "lib/forerun").iterdir()} == {"forerun", *nodes}
    assert (install / "share/ament_index/resource_index/packages/forerun").is_file()
    assert (install / "share/forerun/launch/controller.launch.py").is_file()
    assert (install / "share/forerun/robots/cartpole/robot.yaml").is_file()
