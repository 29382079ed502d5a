"""Reading YAML into models; every error names the file, the key and what is allowed."""

from __future__ import annotations

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from forerun_sim import resources
from forerun_sim.errors import InputError
from forerun_sim.spec.base import NAMED, ONE
from forerun_sim.spec.robot import RobotSpec

Model = TypeVar("Model", bound=BaseModel)
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The safe loader, in C where PyYAML has it: ten times as fast."""


def load_yaml(path: Path) -> Any:
    """Content of a YAML file.

    Raises:
        InputError: the file is missing, unreadable or no YAML.
    """
    try:
        return _LOADER(path.read_text(encoding="utf-8")).get_single_data()
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: is not valid YAML: {error}") from error


def validate(model: type[Model], data: Any, source: Path | str) -> Model:
    """``data`` as an instance of ``model``; errors name ``source`` and the key."""
    if not isinstance(data, dict):
        raise InputError(f"{source}: expected a mapping of keys, found {type(data).__name__}")
    try:
        return model.model_validate(data)
    except ValidationError as error:
        rows = []
        for problem in error.errors():
            key = ".".join(str(part) for part in problem["loc"] if part not in (ONE, NAMED))
            rows.append(_explain(model, key, problem))
        raise InputError(f"{source}: " + "; ".join(rows)) from error


def _explain(model: type[BaseModel], key: str, problem: Any) -> str:
    message = str(problem["msg"]).removeprefix("Value error, ")
    if problem["type"] == "extra_forbidden":
        parent = model
        for part in problem["loc"][:-1]:
            parent = _model_below(parent, part)
        allowed = ", ".join(name for name, info in parent.model_fields.items() if not info.exclude)
        return f"unknown key '{key}'; allowed here: {allowed}"
    if problem["type"] == "missing":
        return f"key '{key}' is missing"
    return f"{key or 'file'}: {message}"


def _model_below(parent: type[BaseModel], part: Any) -> type[BaseModel]:
    """The model class reached from ``parent`` by one step of an error location, ``parent`` itself where it stays."""
    if isinstance(part, str) and part in parent.model_fields:
        stack = [parent.model_fields[part].annotation]
        while stack:
            item = stack.pop()
            if isinstance(item, type) and issubclass(item, BaseModel):
                return item
            stack.extend(getattr(item, "__args__", ()))
    return parent


def load_robot(name_or_path: str | Path) -> RobotSpec:
    """The robot called ``name_or_path``, or described by that folder or robot.yaml.

    Joint names are checked against the URDF where the robot has one. Without PyBullet a robot whose URDF is PyBullet's loads
    unchecked: its logs can be read and learned from.

    Raises:
        InputError: no such robot, or its robot.yaml is wrong; the message names the file and the key.
    """
    path = Path(name_or_path)
    if not path.exists():
        if path.suffix or "/" in str(name_or_path):
            raise InputError(f"{path}: no such robot.yaml or robot folder")
        path = resources.find("robots", str(name_or_path))
    if path.is_dir():
        path = path / "robot.yaml"
    data = load_yaml(path)
    spec = validate(RobotSpec, data, path)
    spec = spec.at(path.parent)
    if spec.has_urdf:
        from forerun_sim.urdf import check_joints

        check_joints(spec, path)
    return spec
