"""Imports go down the floors only, heavy ones stay in their files, and the robot loads nothing that it does not need."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

FLOORS = {"forerun_sim": "sim", "forerun_models": "models", "forerun": "ros2_ws"}
ORDER = list(FLOORS)
ROS = ("rclpy", "rosgraph_msgs", "lifecycle_msgs", "rcl_interfaces", "builtin_interfaces", "launch", "launch_ros", "std_srvs")


class Import(NamedTuple):
    """``module`` as imported by ``file`` (relative to the checkout); ``late`` where importing ``file`` does not import it yet."""

    file: Path
    line: int
    module: str
    late: bool

    @property
    def top(self) -> str:
        return self.module.partition(".")[0]


@pytest.fixture(scope="module")
def trees(repository: Path) -> dict[Path, ast.Module]:
    """The code of all floors by its file, relative to the checkout."""
    paths = [path for name, folder in FLOORS.items() for path in sorted((repository / folder / name).rglob("*.py"))]
    return {path.relative_to(repository): ast.parse(path.read_text(encoding="utf-8")) for path in paths}


@pytest.fixture(scope="module")
def imports(trees: dict[Path, ast.Module]) -> list[Import]:
    found = [item for path, tree in trees.items() for item in imports_of(tree, path)]
    assert found
    return found


def imports_of(tree: ast.Module, file: Path) -> Iterator[Import]:
    nodes = list(ast.walk(tree))
    later = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) or for_types_only(node)]
    late = {id(inner) for node in later for inner in ast.walk(node) if isinstance(inner, ast.Import | ast.ImportFrom)}
    for node in nodes:
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}:{node.lineno}: relative imports hide the floor"
            names = [node.module or ""]
        for name in names:
            yield Import(file, node.lineno, name, id(node) in late)


def for_types_only(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def floor_of(file: Path) -> str:
    return next(name for name in ORDER if file.is_relative_to(Path(FLOORS[name]) / name))


def test_imports_go_down_the_floors_only(imports: list[Import]) -> None:
    upward = [
        f"{item.file}:{item.line} imports {item.module}"
        for item in imports
        if item.top in ORDER and ORDER.index(item.top) > ORDER.index(floor_of(item.file))
    ]
    assert not upward


@pytest.mark.parametrize(("package", "engine"), [("pybullet", "bullet"), ("mujoco", "mujoco")])
def test_each_engine_stays_in_its_files(imports: list[Import], package: str, engine: str) -> None:
    files = {item.file for item in imports if item.top == package}
    assert files
    assert {file for file in files if file.parent != Path("sim/forerun_sim/engines") or not file.stem.startswith(engine)} == set()


def test_ros_stays_in_the_nodes(imports: list[Import]) -> None:
    nodes = Path("ros2_ws/forerun/nodes")
    ros = {item for item in imports if item.top in ROS or item.top.endswith("_msgs")}
    assert {str(item.file) for item in ros if not item.file.is_relative_to(nodes)} == set()


def test_the_ground_floor_and_the_bundle_know_no_torch(imports: list[Import]) -> None:
    without = (Path("sim"), Path("models/forerun_models/bundle"), Path("ros2_ws/forerun/nodes"), Path("ros2_ws/forerun/control"))
    wrong = [item for item in imports if item.top in ("torch", "tensorboard") and any(map(item.file.is_relative_to, without))]
    assert not wrong


def test_the_top_floor_imports_torch_only_when_a_command_needs_it(imports: list[Import]) -> None:
    early = [item for item in imports if item.top == "torch" and floor_of(item.file) == "forerun" and not item.late]
    # What a benchmark compares with may be a torch module; then nothing imports its file before it is needed.
    compared = {item.file for item in early if item.file.parent.name == "bench"}
    names = {f"forerun.bench.{file.stem}" for file in compared}
    assert not [item for item in early if item.file not in compared]
    assert not [item for item in imports if item.module in names and not item.late and item.file not in compared]


def test_nothing_from_a_file_is_executed(trees: dict[Path, ast.Module], imports: list[Import]) -> None:
    """No pickle, no eval, no unsafe YAML: bundles and bags come from anywhere."""
    wrong = [str(item) for item in imports if item.top in ("pickle", "dill", "joblib", "shelve", "marshal")]
    for path, tree in trees.items():
        for call in (node for node in ast.walk(tree) if isinstance(node, ast.Call)):
            called = name_of(call.func)
            given = {keyword.arg: keyword.value for keyword in call.keywords}
            unsafe = called in ("eval", "exec", "yaml.load", "yaml.unsafe_load", "yaml.full_load")
            unsafe |= called == "torch.load" and not is_constant(given.get("weights_only"), True)
            unsafe |= called == "np.load" and not is_constant(given.get("allow_pickle", ast.Constant(False)), False)
            if unsafe:
                wrong.append(f"{path}:{call.lineno} {called}")
    assert not wrong


def name_of(function: ast.expr) -> str:
    """``name`` or ``module.name`` of what is called."""
    if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
        return f"{function.value.id}.{function.attr}"
    return function.id if isinstance(function, ast.Name) else ""


def is_constant(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def loaded_by(module: str) -> set[str]:
    """Top-level modules outside the standard library that a fresh interpreter holds after ``import module``."""
    code = f"import sys, {module}; print(*{{name.partition('.')[0] for name in sys.modules}} - set(sys.stdlib_module_names))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name for name in run.stdout.split() if not name.startswith("_")}


def test_the_controller_loads_numpy_onnxruntime_and_rclpy_alone() -> None:
    pytest.importorskip("rclpy", reason="no ROS 2 here, neither sourced nor from PyPI")
    ours = {"forerun", "forerun_models", "forerun_sim", "numpy", "onnxruntime"}
    extra = loaded_by("forerun.nodes.controller") - loaded_by("rclpy.lifecycle") - ours
    assert {name for name in extra if not name.endswith(("_msgs", "_srvs", "_interfaces"))} <= {"cython_runtime"}


def test_a_bundle_loads_with_numpy_and_onnxruntime_alone() -> None:
    extra = loaded_by("forerun_models.bundle") - loaded_by("sys") - {"cython_runtime"}
    assert extra == {"forerun_models", "forerun_sim", "numpy", "onnxruntime"}
