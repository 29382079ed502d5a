"""``forerun bench``: what this machine makes of planner, training, simulator, environments, bags, control loop and real logs."""

from __future__ import annotations

import os
import shlex
import sys
import tempfile
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forerun.cli.common import JsonOption, console, emit

if TYPE_CHECKING:
    from rich.console import Console

    from forerun.bench.records import Measurement

EXAMPLE = """
forerun bench simulator --json simulator.json
forerun bench logs --seeds 3 --data ../shared/data
forerun bench
"""


class Subject(str, Enum):
    """What can be measured, quick ones first; ``all`` takes them in this order."""

    all = "all"
    simulator = "simulator"
    environments = "environments"
    training = "training"
    agents = "agents"
    pixels = "pixels"
    planner = "planner"
    bags = "bags"
    loop = "loop"
    swap = "swap"
    live = "live"
    delay = "delay"
    pets = "pets"
    uncertainty = "uncertainty"
    sac = "sac"
    efficiency = "efficiency"
    identify = "identify"
    so101 = "so101"
    realaigym = "realaigym"
    latent = "latent"
    logs = "logs"
    ablation = "ablation"
    fewdata = "fewdata"
    transfer = "transfer"
    arms = "arms"
    deployment = "deployment"
    demo = "demo"


_BY_NAME = (
    Subject.ablation,
    Subject.fewdata,
    Subject.transfer,
    Subject.arms,
    Subject.efficiency,
    Subject.live,
    Subject.realaigym,
)
"""Measured only when asked for by name."""
_MODULES = {Subject.logs: "double_pendulum"}
"""Where the file is not called like the subject."""


def command(
    subject: Annotated[Subject, typer.Argument(help="What to measure.")] = Subject.all,
    json_file: JsonOption = None,
    out: Annotated[Path, typer.Option(help="Folder of the tables; rows are added to SUBJECT.csv.")] = Path("benchmarks/results"),
    seeds: Annotated[
        int | None,
        typer.Option(min=1, help="Trainings, demos and episodes with the seeds 0, 1, ...; 3 (pets: 10).", show_default=False),
    ] = None,
    seconds: Annotated[
        float, typer.Option(min=3.0, help="Length of each of the loop's measurements; of a robot's life in transfer.")
    ] = 60.0,
    steps: Annotated[int, typer.Option(min=1, help="Control steps of each of pets' episodes.")] = 150,
    only: Annotated[
        str | None,
        typer.Option(
            help="Rows of planner, simulator, identify, agents, efficiency, logs, ablation, fewdata, transfer, live (names), "
            "loop (Hz).",
            show_default=False,
        ),
    ] = None,
    robot: Annotated[str | None, typer.Option(help="Robots of transfer, commas between.", show_default=False)] = None,
    keep: Annotated[
        Path | None,
        typer.Option(
            help="Folder of pets', sac's, efficiency's, transfer's, arms' and the logs' work; a stopped run goes on there.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Real-robot logs; $FORERUN_DATA or ../shared/data if absent.", show_default=False)
    ] = None,
) -> None:
    """Measure and add the figures to CSV tables, with settings, seed, machine, commit and command.

    simulator, environments, training, agents and bags take a minute each, pixels and swap a few, planner 15, loop 18 at 60
    seconds a row; delay controls robots whose commands come late; logs, latent and so101 train on real-robot logs, minutes each;
    identify fits simulators, a quarter of an hour; deployment lets agents learn and runs them over ROS 2, minutes a row; demo
    runs the whole loop, minutes a seed; pets trains and runs PETS' setting of the cartpole, half an hour; sac lets agents learn
    beside Stable-Baselines3's, half an hour. Only when asked for by name: ablation trains the double pendulum's recipe in many
    variants, half an hour a seed, and fewdata on a part of its logs; transfer fine-tunes on foreign robots, a quarter of an hour
    a robot and seed; arms lets an arm of slow servos follow a moving posture, minutes a seed; efficiency lets mpc learn in
    dm_control, minutes a task and seed; realaigym plays acrobot and pendubot, ten minutes a seed; live runs the live loop for ten
    minutes of a robot's time, and through a change of the robot (--only change), a quarter of an hour. all leaves out what is not
    on this machine, and says so.

    \b
    Example:
      forerun bench simulator --json simulator.json
      forerun bench planner --only small,arm7
    """
    from forerun.bench.records import Options, Unavailable, append, provenance

    terminal = console(json_file)
    quick = [one for one in Subject if one is not Subject.all and one not in _BY_NAME]
    chosen = quick if subject is Subject.all else [subject]
    logs = data or Path(os.environ.get("FORERUN_DATA", "../shared/data"))
    rows, robots = (tuple(filter(None, (names or "").split(","))) for names in (only, robot))
    called = shlex.join(["forerun", *sys.argv[1:]])
    results: dict[str, object] = {}
    for one in chosen:
        module = import_module(f"forerun.bench.{_MODULES.get(one, one.value)}")
        with tempfile.TemporaryDirectory(prefix="forerun-bench-") as work, terminal.status(one.value) as status:
            numbers = tuple(range(seeds or int(getattr(module, "SEEDS", 3))))
            options = Options(numbers, logs, Path(work), status.update, seconds, keep, steps, rows, robots)
            origin = provenance(called)
            try:
                measurement = module.measure(options)
            except Unavailable as reason:
                if subject is not Subject.all:
                    raise
                terminal.print(f"{one.value}: left out: {reason}", markup=False)
                continue
        path = append(out, measurement, origin)
        _print(measurement, terminal)
        terminal.print(f"added to {path}", markup=False)
        results[one.value] = {**origin, "settings": measurement.settings, "rows": measurement.rows}
    emit(results, json_file)


def _print(measurement: Measurement, terminal: Console) -> None:
    """One table, a column a row of the measurement where there are few rows and many figures."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    rows = measurement.rows
    names = list(dict.fromkeys(name for row in rows for name in row))
    if len(rows) > len(names):
        table = Table(*names, box=SIMPLE_HEAD, title=measurement.subject)
        for row in rows:
            table.add_row(*(str(row.get(name, "")) for name in names))
    else:
        table = Table("", *(str(number + 1) for number in range(len(rows))), box=SIMPLE_HEAD, title=measurement.subject)
        for name in names:
            table.add_row(name, *(str(row.get(name, "")) for row in rows))
    terminal.print(table)
