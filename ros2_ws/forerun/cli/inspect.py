"""`forerun inspect`: what a bundle, a bag or a robot holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forerun.cli.common import JsonOption, console, emit
from forerun_sim.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

    from forerun.bags import BagSummary
    from forerun_models.bundle import Manifest
    from forerun_sim.spec import RobotSpec

EXAMPLE = """
forerun inspect bundles/cartpole
forerun inspect recordings/monday --robot cartpole
forerun inspect cartpole
"""


def command(
    what: Annotated[str, typer.Argument(metavar="BUNDLE|BAG|ROBOT", help="A folder, a bag, a robot.yaml or a robot's name.")],
    robot: Annotated[
        str | None, typer.Option("--robot", "-r", help="The robot of a bag: shows the trials that can be made of it.")
    ] = None,
    json: JsonOption = None,
) -> None:
    """What a bundle, a bag or a robot holds.

    A bundle is checked as the controller checks it: digests, format, and the outputs that it must give.
    """
    out = console(json)
    path = Path(what)
    if (path / "bundle.json").exists():
        emit(_bundle(path, out), json)
    elif _is_robot(path, what):
        emit(_robot(what, out), json)
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


def _table(*columns: str) -> Table:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    return Table(*columns, box=SIMPLE_HEAD, header_style="bold", pad_edge=False)


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None or value != value or value in (float("inf"), float("-inf")) else f"{value:.4g}{unit}"


def _range(lower: float, upper: float) -> str:
    return f"{_number(lower)} to {_number(upper)}"


def _bundle(path: Path, out: Console) -> dict[str, Any]:
    from forerun_models.bundle import load

    bundle = load(path)
    manifest = bundle.manifest
    out.print(f"[bold]bundle[/] {bundle.path}", highlight=False)
    out.print(f"robot {manifest.robot}, task {manifest.task}, agent {manifest.agent}, sha256 {bundle.digest}")
    out.print(
        f"{_number(manifest.rate)} Hz, history {manifest.history}, horizon {manifest.horizon}, "
        f"commands at {_number(manifest.command_rate)} Hz, command delay {_number(manifest.command_delay * 1000)} ms, "
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
    table = _table("joint", "position", "velocity", "command", "limits", "slew per s")
    for index, joint in enumerate(manifest.joints):
        position = _range(manifest.position_lower[index], manifest.position_upper[index])
        row = [joint, position, _number(manifest.velocity_limit[index])]
        if joint in manifest.actions:
            action = manifest.actions.index(joint)
            limits = _range(manifest.command_lower[action], manifest.command_upper[action])
            row += [manifest.interfaces[action], limits, _number(manifest.slew[action])]
        table.add_row(*row)
    return table


def _robot(what: str, out: Console) -> dict[str, Any]:
    from forerun_sim.spec import load_robot

    spec = load_robot(what)
    out.print(f"[bold]robot[/] {spec.name}: {spec.description}")
    out.print(f"{spec.folder}")
    engines = [] if spec.urdf is None else ["bullet"]
    engines += [] if spec.foreign is None else ["mujoco"]
    engines += [] if spec.urdf is None or spec.bodies else ["mujoco_urdf"]
    out.print(
        f"{_number(spec.control.rate)} Hz, history {spec.control.history}, physics {_number(spec.control.physics_rate)} Hz, "
        f"engines {', '.join(engines) or 'none (logs only)'}"
    )
    out.print(_joints_of_robot(spec))
    tasks = _table("task", "duration", "goal", "terms")
    for name, task in spec.tasks.items():
        goal = ", ".join(f"{key} {value:.4g}" for key, value in zip(task.goal.names, task.goal.default, strict=True))
        tasks.add_row(name, f"{_number(task.duration)} s", goal, ", ".join(dict.fromkeys(term.kind for term in task.terms)))
    if spec.tasks:
        out.print(tasks)
    varied = [name for name, value in spec.randomization if value is not None]
    out.print(f"randomized: {', '.join(varied) or 'nothing'}; safe action {spec.safety.action}")
    return {"kind": "robot", "path": str(spec.folder), **spec.model_dump(mode="json")}


def _joints_of_robot(spec: RobotSpec) -> Table:
    table = _table("joint", "type", "position", "velocity", "command", "limits", "slew per s")
    for joint in spec.joints:
        position = _range(*joint.position) if joint.position else "-"
        row = [joint.name, joint.type, position, _number(joint.velocity)]
        if joint.actuated:
            row += [joint.interface, _range(*joint.command_limits), _number(joint.slew)]
        table.add_row(*row)
    return table


def _bag(path: Path, robot: str | None, out: Console) -> dict[str, Any]:
    from forerun.bags import inspect_bag
    from forerun_sim.spec import load_robot

    summary = inspect_bag(path, load_robot(robot) if robot is not None else None)
    out.print(f"[bold]bag[/] {summary.path}")
    out.print(f"{summary.storage}, {summary.messages} messages, {summary.bytes / 1e6:.1f} MB, {summary.duration:.2f} s")
    topics = _table("topic", "type", "messages", "rate")
    for topic in summary.topics:
        topics.add_row(topic.name, topic.type, str(topic.count), _number(topic.rate, " Hz"))
    out.print(topics)
    _bag_content(summary, out)
    return {"kind": "bag", **summary.to_json()}


def _bag_content(summary: BagSummary, out: Console) -> None:
    for joints in summary.joints:
        table = _table(f"joints of {joints.topic}", "lowest", "highest")
        for name, lower, upper in zip(joints.names, joints.lower, joints.upper, strict=True):
            table.add_row(name, _number(lower), _number(upper))
        out.print(table)
        absent = [field for field, there in (("velocities", joints.velocity), ("efforts", joints.effort)) if not there]
        if absent:
            out.print(f"{joints.topic} has no {' and no '.join(absent)}")
    if summary.trials:
        trials = _table("trial", "id", "rows", "start", "duration", "made by")
        for trial in summary.trials:
            maker = "simulator" if trial.simulated else "robot"
            trials.add_row(trial.source, trial.id, str(trial.rows), f"{trial.start:.2f} s", f"{trial.duration:.2f} s", maker)
        out.print(trials)
    for note in summary.notes:
        out.print(f"note: {note}", markup=False)
    if summary.problem is not None:
        out.print(f"no trials can be made of it: {summary.problem}", markup=False)
    elif summary.robot is not None and not summary.trials:
        out.print(f"recorded from robot {summary.robot}; --robot {summary.robot} shows its trials")
