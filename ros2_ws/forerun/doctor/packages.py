"""Whether Python and the packages that the controller needs are there, in versions that fit."""

from __future__ import annotations

import platform
import re
import sys
from collections.abc import Iterable
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec

from forerun.doctor.checks import Check, Family

FAMILY = Family("packages")
_REQUIREMENT = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^\]]*\])?\s*(?:\(?(==|>=)\s*([0-9][0-9.]*))?")


def check() -> list[Check]:
    """Python, what the controller needs, pinned wheels."""
    return [_python(), *_needed(), *_wheels()]


def _python() -> Check:
    found = f"{platform.python_version()} on {platform.machine()} ({sys.executable})"
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        return FAMILY.ok("Python", found)
    return FAMILY.warn("Python", found, "the wheels of rclpy exist for 3.10 to 3.13", "use Python 3.11 or 3.12")


def requirements(lines: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Package -> (relation, version) of requirements as Python's metadata writes them; both empty where any version will do."""
    matches = [match for match in map(_REQUIREMENT.match, lines) if match]
    return {match[1].lower(): (match[2] or "", match[3] or "") for match in matches}


def _ours() -> dict[str, tuple[str, str]]:
    """What Forerun's own metadata asks for; nothing where it was installed without."""
    try:
        return requirements(requires("forerun") or [])
    except PackageNotFoundError:
        return {}


def _needed() -> list[Check]:
    """numpy, ONNX Runtime and rclpy: the controller imports nothing else."""
    known = _ours()
    checks = []
    for package, extra in (("numpy", ""), ("onnxruntime", "robot"), ("rclpy", "ros")):
        todo = f"pip install 'forerun[{extra}]'" if extra else f"pip install {package}"
        if find_spec(package) is None:
            checks.append(FAMILY.fail(package, "not installed", "the controller does not start", todo))
            continue
        name = "ros-rclpy" if package == "rclpy" else package
        try:
            found = version(name)
        except PackageNotFoundError:
            checks.append(FAMILY.ok(package, "installed by the system"))
            continue
        relation, least = known.get(name, ("", ""))
        if relation == ">=" and _older(found, least):
            checks.append(FAMILY.fail(package, f"{found}, older than {least}", "the controller may not start", todo))
        else:
            checks.append(FAMILY.ok(package, found))
    return checks


def _wheels() -> list[Check]:
    """The ROS wheels are pinned: a mixture of two ROS releases crashes."""
    wrong = []
    for name, (relation, wanted) in _ours().items():
        if not name.startswith("ros-") or relation != "==":
            continue
        try:
            found = version(name)
        except PackageNotFoundError:
            continue
        if found != wanted:
            wrong.append(f"{name} {found} instead of {wanted}")
    if not wrong:
        return []
    return [FAMILY.warn("ROS wheels", ", ".join(wrong), "releases of ROS 2 are mixed", "pip install -U 'forerun[ros]'")]


def _older(found: str, least: str) -> bool:
    def numbers(text: str) -> list[int]:
        return [int(part) for part in re.findall(r"\d+", text)[:3]]

    return numbers(found) < numbers(least)
