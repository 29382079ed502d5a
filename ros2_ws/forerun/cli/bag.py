"""``forerun bag``: logs that are no bags become bags."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from forerun.bags.convert import convert_npz
from forerun.bags.npz import Columns
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.spec import load_robot

app = typer.Typer(help="Logs that are no bags become bags.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Logs that are no bags become bags."""


@app.command("from-npz")
def from_npz(
    files: Annotated[list[Path], typer.Argument(help="Logs, one run in each.", show_default=False)],
    robot: Annotated[str, typer.Option(help="Name, folder or robot.yaml of the robot.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the bags, or the bag itself with --one-bag.", show_default=False)],
    time: Annotated[str, typer.Option(help="Array of times [s].")] = "t",
    position: Annotated[str, typer.Option(help="Array of joint positions, columns in the order of robot.yaml [rad or m].")] = "q",
    velocity: Annotated[str | None, typer.Option(help="Array of velocities [rad/s, m/s]; else dq if there is one.")] = None,
    effort: Annotated[str | None, typer.Option(help="Array of efforts [Nm, N]; else tau_meas if there is one.")] = None,
    command: Annotated[
        str | None, typer.Option(help="Array of commands; else tau_cmd, q_cmd or dq_cmd, by the robot's interface.")
    ] = None,
    bag_per_file: Annotated[bool, typer.Option("--bag-per-file/--one-bag", help="A bag each, or all runs in one bag.")] = True,
    storage: Annotated[str, typer.Option(help="mcap or sqlite3.")] = "mcap",
    simulated: Annotated[bool, typer.Option("--simulated", help="The logs come from a simulator.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace bags that exist already.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Turn NumPy logs (.npz) into rosbag2 bags. Row j holds a state and the command that was given just after it; SI units.

    Example: forerun bag from-npz logs/*.npz --robot so101 --command q_cmd --out bags/so101
    """
    console = Console(stderr=True)
    try:
        if storage not in ("mcap", "sqlite3"):
            raise InputError(f"--storage {storage}: choose mcap or sqlite3")
        with Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            console=console,
            transient=True,
        ) as bar:
            task = bar.add_task("reading and writing", total=2 * len(files))
            written = convert_npz(
                files,
                out,
                load_robot(robot),
                Columns(time, position, velocity, effort, command),
                one_bag=not bag_per_file,
                simulated=simulated,
                storage="mcap" if storage == "mcap" else "sqlite3",
                overwrite=overwrite,
                progress=lambda path: bar.update(task, advance=1, description=path.name),
            )
    except ForerunError as error:
        console.print(f"[red]error:[/red] {error}", soft_wrap=True, markup=True, highlight=False)
        raise typer.Exit(error.exit_code) from error
    if as_json:
        rows = [{"file": str(log.path), "bag": str(bag), "rows": len(log.stamps), "lacking": log.lacking} for bag, log in written]
        typer.echo(json.dumps({"bags": rows}))
        return
    for name, remedy in (("velocity", "; it is derived from positions when the bag is read"), ("effort", "")):
        count = sum(name in log.lacking for _, log in written)
        if count:
            typer.echo(f"{count} of {len(written)} logs hold no {name}{remedy}")
    rows_in_all = sum(len(log.stamps) for _, log in written)
    typer.echo(f"{out}: {len(written)} logs, {rows_in_all} rows, in {len({bag for bag, _ in written})} bags")
