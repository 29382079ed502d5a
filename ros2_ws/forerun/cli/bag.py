"""`forerun bag`: logs that are no bags become bags."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer

from forerun.bags.convert import convert_logs, convert_npz
from forerun.bags.csv_log import mapped, read_csv
from forerun.bags.npz import Columns, Log
from forerun.cli.common import JsonOption, console, emit, progress
from forerun_sim.spec import load_robot

EXAMPLE = """
forerun bag from-npz logs/*.npz --robot so101 --command q_cmd --out bags/so101
forerun bag from-csv run.csv --robot pendulum --out bags/run --time t:ms --position shoulder=angle:deg --command shoulder=torque
"""

BagPerFile = Annotated[bool, typer.Option("--bag-per-file/--one-bag", help="A bag each, or all runs in one bag.")]
Storage = Annotated[Literal["mcap", "sqlite3"], typer.Option(help="File format of the bags.")]
Simulated = Annotated[bool, typer.Option("--simulated", help="The logs come from a simulator.")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace bags that exist already.")]

app = typer.Typer(no_args_is_help=True, add_completion=False, rich_markup_mode="rich")


@app.callback()
def _bag() -> None:
    """Make bags of logs that are none."""


@app.command("from-npz")
def from_npz(
    files: Annotated[list[Path], typer.Argument(help="Logs, one run in each.", show_default=False)],
    robot: Annotated[str, typer.Option(help="Name, folder or robot.yaml of the robot.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the bags, or the bag itself with --one-bag.", show_default=False)],
    time: Annotated[str, typer.Option(help="Array of times, s.")] = "t",
    position: Annotated[str, typer.Option(help="Array of joint positions, columns in the order of robot.yaml, rad or m.")] = "q",
    velocity: Annotated[str | None, typer.Option(help="Array of velocities, rad/s or m/s; else dq if there is one.")] = None,
    effort: Annotated[str | None, typer.Option(help="Array of efforts, Nm or N; else tau_meas if there is one.")] = None,
    command: Annotated[
        str | None, typer.Option(help="Array of commands; else tau_cmd, q_cmd or dq_cmd, by the robot's interface.")
    ] = None,
    bag_per_file: BagPerFile = True,
    storage: Storage = "mcap",
    simulated: Simulated = False,
    overwrite: Overwrite = False,
    json_file: JsonOption = None,
) -> None:
    """Turn NumPy logs (.npz) into rosbag2 bags. Row j holds a state and the command that was given just after it; SI units.

    \b
    Example:
      forerun bag from-npz logs/*.npz --robot so101 --command q_cmd --out bags/so101
    """
    columns = Columns(time, position, velocity, effort, command)
    with progress("converting", total=2 * len(files)) as move:
        written = convert_npz(
            files,
            out,
            load_robot(robot),
            columns,
            one_bag=not bag_per_file,
            simulated=simulated,
            storage=storage,
            overwrite=overwrite,
            progress=lambda path: move(note=path.name),
        )
    _tell(written, out, json_file)


@app.command("from-csv")
def from_csv(
    files: Annotated[list[Path], typer.Argument(help="Logs with a line of names, one run in each.", show_default=False)],
    robot: Annotated[str, typer.Option(help="Name, folder or robot.yaml of the robot.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the bags, or the bag itself with --one-bag.", show_default=False)],
    position: Annotated[
        list[str], typer.Option(metavar="JOINT=COLUMN:UNIT", help="rad, deg, rev, m, cm or mm; once a joint.", show_default=False)
    ],
    command: Annotated[
        list[str],
        typer.Option(
            metavar="JOINT=COLUMN:UNIT", help="In units of the joint's interface; once a driven joint.", show_default=False
        ),
    ],
    time: Annotated[str, typer.Option(metavar="COLUMN:UNIT", help="Column of times: s, ms, us or ns.")] = "t:s",
    velocity: Annotated[
        list[str] | None,
        typer.Option(metavar="JOINT=COLUMN:UNIT", help="rad/s, deg/s, rpm, rev/s, m/s or mm/s; derived if absent."),
    ] = None,
    effort: Annotated[
        list[str] | None,
        typer.Option(metavar="JOINT=COLUMN:UNIT", help="Nm, mNm or N; A*0.05 or mA*0.05 for currents, at 0.05 Nm per A."),
    ] = None,
    bag_per_file: BagPerFile = True,
    storage: Storage = "mcap",
    simulated: Simulated = False,
    overwrite: Overwrite = False,
    json_file: JsonOption = None,
) -> None:
    """Turn CSV logs into rosbag2 bags: columns by name, units as stated, SI where none is. A row holds a state and the command
    that was given just after it.

    \b
    Example:
      forerun bag from-csv run.csv --robot my_arm --out bags/run --time t:ms --position arm=q:deg --command arm=i:mA*0.05
    """
    spec = load_robot(robot)
    columns = mapped(spec, time, position, velocity or [], effort or [], command)
    with progress("converting", total=2 * len(files)) as move:
        written = convert_logs(
            files,
            out,
            spec,
            lambda path: read_csv(path, columns),
            one_bag=not bag_per_file,
            simulated=simulated,
            storage=storage,
            overwrite=overwrite,
            progress=lambda path: move(note=path.name),
        )
    _tell(written, out, json_file)


def _tell(written: Sequence[tuple[Path, Log]], out: Path, json_file: Path | None) -> None:
    """What was made of which log."""
    terminal = console(json_file)
    for name, remedy in (("velocity", "; it is derived from positions when the bag is read"), ("effort", "")):
        count = sum(name in log.lacking for _, log in written)
        if count:
            terminal.print(f"{count} of {len(written)} logs hold no {name}{remedy}", markup=False)
    rows = [{"file": str(log.path), "bag": str(bag), "rows": len(log.stamps), "lacking": log.lacking} for bag, log in written]
    total, bags = sum(len(log.stamps) for _, log in written), len({bag for bag, _ in written})
    terminal.print(f"{out}: {len(written)} logs, {total} rows, in {bags} bags", markup=False)
    emit({"bags": rows}, json_file)
