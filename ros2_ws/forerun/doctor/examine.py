"""All families, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from forerun.doctor import clocks, cpu, dds, memory, packages, rights, ros
from forerun.doctor.checks import Check, Machine


def examine(
    machine: Machine, *, folder: Path, seconds: float, robot: str | None = None, bundle: str | None = None
) -> Iterator[tuple[str, Callable[[], list[Check]]]]:
    """Name and work of each family, in the order of the report.

    Args:
        machine: where to look.
        folder: where bags would be recorded.
        seconds: how long to measure sleeps and what the host takes.
        robot: a robot to check, or None.
        bundle: a bundle to check, or None.
    """
    yield "rights", rights.check
    yield "ROS", ros.check
    yield "DDS", lambda: dds.check(machine)
    before = cpu.ticks(machine)
    yield "clocks", lambda: clocks.check(machine, clocks.sleep_for(seconds))
    yield "CPU", lambda: cpu.check(machine, before)
    yield "memory", lambda: memory.check(machine, folder)
    yield "packages", packages.check
    if robot is not None or bundle is not None:
        yield "robot", lambda: _robot(robot, bundle)


def _robot(robot: str | None, bundle: str | None) -> list[Check]:
    from forerun.doctor.robots import check_bundle, check_robot

    name, found = check_robot(robot) if robot is not None else (None, [])
    return found + (check_bundle(bundle, name) if bundle is not None else [])
