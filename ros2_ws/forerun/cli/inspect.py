"""`forerun inspect`: what a bundle, a bag or a robot holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape

from forerun.cli.common import JsonOption, console, emit
from forerun.cli.tables import number, quality_table, span, table
from forerun_sim.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from forerun.bags import BagSummary
    from forerun_models.bundle import Manifest

EXAMPLE = """
forerun inspect bundles/cartpole
forerun inspect recordings/monday --robot cartpole
forerun inspect cartpole --episode 3 --seed 1
forerun inspect my_robot --picture my_robot.png --pose elbow=1.2
"""


def command(
    what: Annotated[str, typer.Argument(metavar="BUNDLE|BAG|ROBOT", help="A folder, a bag, a robot.yaml or a robot's name.")],
    robot: Annotated[
        str | None, typer.Option("--robot", "-r", help="The robot of a bag: shows the trials that can be made of it.")
    ] = None,
    episode: Annotated[
        int | None, typer.Option(min=0, help="Of a robot: show what is sampled for this episode.", show_default=False)
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random, with --episode.")] = 0,
    picture: Annotated[
        Path | None, typer.Option(help="Of a robot: write a picture of it to this PNG file.", show_default=False)
    ] = None,
    pose: Annotated[
        list[str] | None,
        typer.Option(metavar="JOINT=POSITION", help="Where a joint stands in the picture, rad or m; may be repeated."),
    ] = None,
    json: JsonOption = None,
) -> None:
    """What a bundle, a bag or a robot holds.

    A bundle is checked as the controller checks it: digests, format, and the outputs that it must give. A robot is shown as its
    first task begins.
    """
    out = console(json)
    path = Path(what)
    if (path / "bundle.json").exists():
        emit(_bundle(path, out), json)
    elif _is_robot(path, what):
        from forerun.cli.inspect_robot import inspect_robot

        emit(inspect_robot(what, out, episode, seed, picture, _pose(pose or [])), json)
    else:
        emit(_bag(path, robot, out), json)


def _is_robot(path: Path, what: str) -> bool:
    """Whether this names a robot; a path that does not exist may be the name of one that is shipped."""
    if path.exists():
        return (path / "robot.yaml").exists() or path.suffix in (".yaml", ".yml")
    from forerun_sim import resources

    known = resources.available("robots")
    if what not in known:
        raise InputError(f"{what}: no such file or folder, and no robot of that name; robots: {', '.join(known) or 'none'}")
    return True


def _pose(texts: list[str]) -> dict[str, float]:
    """``JOINT=POSITION`` as numbers by joint."""
    found = {}
    for text in texts:
        joint, _, value = text.partition("=")
        try:
            found[joint] = float(value)
        except ValueError as error:
            raise InputError(f"--pose {text}: write JOINT=POSITION, the position in rad or m, as in elbow=1.2") from error
    return found


def _bundle(path: Path, out: Console) -> dict[str, Any]:
    from forerun_models.bundle import load

    bundle = load(path)
    manifest = bundle.manifest
    out.print(f"[bold]bundle[/] {bundle.path}", highlight=False)
    out.print(f"robot {manifest.robot}, task {manifest.task}, agent {manifest.agent}, sha256 {bundle.digest}")
    out.print(
        f"{number(manifest.rate)} Hz, history {manifest.history}, horizon {manifest.horizon}, "
        f"commands at {number(manifest.command_rate)} Hz, command delay {number(manifest.command_delay * 1000)} ms, "
        f"safe action {manifest.safe_action}"
    )
    out.print(_joints_of_bundle(manifest))
    if manifest.goal_names:
        goal = ", ".join(f"{name} {value:.4g}" for name, value in zip(manifest.goal_names, manifest.goal_default, strict=True))
        out.print(f"goal: {goal}")
    for key, value in manifest.metrics.items():
        out.print(f"metric {key}: {value}", markup=False)
    if manifest.parent:
        out.print(f"fine-tuned from {manifest.parent}")
    out.print("checked: digests, format, outputs")
    import json

    return {"kind": "bundle", "path": str(bundle.path), "sha256": bundle.digest, **json.loads(manifest.to_json())}


def _joints_of_bundle(manifest: Manifest) -> Table:
    shown = table("joint", "position", "velocity", "command", "limits", "slew per s")
    for index, joint in enumerate(manifest.joints):
        position = span(manifest.position_lower[index], manifest.position_upper[index])
        row = [joint, position, number(manifest.velocity_limit[index])]
        if joint in manifest.actions:
            action = manifest.actions.index(joint)
            limits = span(manifest.command_lower[action], manifest.command_upper[action])
            row += [manifest.interfaces[action], limits, number(manifest.slew[action])]
        shown.add_row(*row)
    return shown


def _bag(path: Path, robot: str | None, out: Console) -> dict[str, Any]:
    from forerun.bags import inspect_bag
    from forerun_sim.spec import load_robot

    summary = inspect_bag(path, load_robot(robot) if robot is not None else None)
    out.print(f"[bold]bag[/] {summary.path}")
    out.print(f"{summary.storage}, {summary.messages} messages, {summary.bytes / 1e6:.1f} MB, {summary.duration:.2f} s")
    topics = table("topic", "type", "messages", "rate")
    for topic in summary.topics:
        topics.add_row(topic.name, topic.type, str(topic.count), number(topic.rate, " Hz"))
    out.print(topics)
    _bag_content(summary, out)
    return {"kind": "bag", **summary.to_json()}


def _bag_content(summary: BagSummary, out: Console) -> None:
    for joints in summary.joints:
        shown = table(f"joints of {joints.topic}", "lowest", "highest")
        for name, lower, upper in zip(joints.names, joints.lower, joints.upper, strict=True):
            shown.add_row(name, number(lower), number(upper))
        out.print(shown)
        absent = [field for field, there in (("velocities", joints.velocity), ("efforts", joints.effort)) if not there]
        if absent:
            out.print(f"{joints.topic} has no {' and no '.join(absent)}")
    if summary.trials:
        trials = table("trial", "id", "rows", "start", "duration", "made by")
        for trial in summary.trials:
            maker = "simulator" if trial.simulated else "robot"
            trials.add_row(trial.source, trial.id, str(trial.rows), f"{trial.start:.2f} s", f"{trial.duration:.2f} s", maker)
        out.print(trials)
        out.print(quality_table([(trial.source, trial.quality) for trial in summary.trials]))
    for note in summary.notes:
        out.print(f"note: {note}", markup=False)
    for warning in summary.warnings:
        out.print(f"[yellow]warning:[/] {escape(warning)}")
    if summary.problem is not None:
        out.print(f"no trials can be made of it: {summary.problem}", markup=False)
    elif summary.robot is not None and not summary.trials:
        out.print(f"recorded from robot {summary.robot}; --robot {summary.robot} shows its trials")
