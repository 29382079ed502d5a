"""`forerun doctor`: what of this machine will hurt a real-time controller, and what to do about it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forerun.cli.common import JsonOption, console, emit, progress

if TYPE_CHECKING:
    from rich.console import Console

    from forerun.doctor import Check

EXAMPLE = """
forerun doctor
forerun doctor --robot my_robot --bundle bundles/first --json doctor.json
"""
_COLOURS = {"OK": "green", "WARN": "yellow", "FAIL": "bold red"}


def command(
    robot: Annotated[
        str | None, typer.Option("--robot", "-r", help="Check this robot, too: a name, a folder or a robot.yaml.")
    ] = None,
    bundle: Annotated[str | None, typer.Option("--bundle", "-b", help="Check that this bundle loads and plans in time.")] = None,
    folder: Annotated[Path, typer.Option("--folder", help="Where bags are to be recorded.")] = Path(),
    seconds: Annotated[float, typer.Option("--seconds", min=0.1, max=60.0, help="How long to measure sleeps.")] = 2.0,
    json: JsonOption = None,
) -> None:
    """What of this machine will hurt a real-time controller: rights, ROS, DDS, clocks, processor, memory, packages.

    Each finding says what it will hurt and what to do. Two processes really talk over DDS for it, in your ROS_DOMAIN_ID. Exit
    code 1 where a check FAILs: a controller cannot work here. WARN: it can, but something will hurt.
    """
    from forerun.doctor import Level, Machine, examine

    found: list[Check] = []
    with progress("examining", None) as move:
        for name, work in examine(Machine(), folder=folder.resolve(), seconds=seconds, robot=robot, bundle=bundle):
            move(0, name)
            found += work()
            move(1)
    counts = Counter(check.level.value for check in found)
    _print(found, counts, console(json))
    emit({"checks": [asdict(check) for check in found], "counts": {level.value: counts[level.value] for level in Level}}, json)
    if counts["FAIL"]:
        raise typer.Exit(1)


def _print(found: list[Check], counts: Counter[str], out: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.markup import escape
    from rich.table import Table

    table = Table("", "what", "found", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for check in found:
        colour = _COLOURS[check.level.value]
        text = escape(check.found)
        if check.hurts:
            text += f"\n[dim]hurts:[/] {escape(check.hurts)}\n[dim]to do:[/] {escape(check.todo)}"
        table.add_row(f"[{colour}]{check.level.value}[/]", escape(f"{check.family}: {check.name}"), text)
    out.print(table, soft_wrap=False)
    out.print(", ".join(f"{counts[level]} {level}" for level in _COLOURS))
