"""How ``forerun inspect`` shows a bag."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forerun.bags import BagSummary, inspect_bag
from forerun_sim.spec import RobotSpec

MANY = 20


def describe_bag(path: str | Path, spec: RobotSpec | None, console: Console) -> BagSummary:
    """Print what the bag holds: topics, joints, trials where ``spec`` says which robot it is, and what is wrong with it.

    Returns:
        What was printed; ``to_json()`` is for machines.

    Raises:
        InputError: there is no bag, or it cannot be read at all.
    """
    summary = inspect_bag(path, spec)
    console.print(
        f"[bold]{escape(summary.path)}[/bold]  {summary.storage}, {summary.bytes / 1e6:.2f} MB, {summary.messages} messages, "
        f"{summary.duration:.1f} s" + (f", robot {escape(summary.robot)}" if summary.robot else "")
    )
    topics = Table("topic", "type", "messages", "rate [Hz]", box=None, pad_edge=False)
    for topic in summary.topics:
        topics.add_row(escape(topic.name), topic.type, str(topic.count), "" if topic.rate is None else f"{topic.rate:.1f}")
    console.print(topics)
    for joints in summary.joints:
        fields = ["position", *(["velocity"] if joints.velocity else []), *(["effort"] if joints.effort else [])]
        table = Table(f"joints of {escape(joints.topic)}", "lowest", "highest", box=None, pad_edge=False)
        for name, lower, upper in zip(joints.names, joints.lower, joints.upper, strict=True):
            table.add_row(escape(name), f"{lower:.3f}", f"{upper:.3f}")
        console.print(table)
        lacking = [name for name in ("velocity", "effort") if name not in fields]
        console.print(f"recorded: {', '.join(fields)}" + (f"; not recorded: {', '.join(lacking)}" if lacking else ""))
    _trials(summary, spec, console)
    for note in summary.notes:
        console.print(f"note: {note}", style="yellow", markup=False)
    return summary


def _trials(summary: BagSummary, spec: RobotSpec | None, console: Console) -> None:
    if spec is None:
        console.print("name the robot (--robot) to see the trials")
    elif summary.problem is not None:
        console.print(f"no trials for robot '{spec.name}': {summary.problem}", style="red", markup=False)
    else:
        table = Table("trial", "id", "rows", "start [s]", "length [s]", "", box=None, pad_edge=False)
        for trial in summary.trials[:MANY]:
            kind = "simulated" if trial.simulated else "real"
            number = trial.source.rpartition("#")[2]
            table.add_row(number, escape(trial.id), str(trial.rows), f"{trial.start:.3f}", f"{trial.duration:.2f}", kind)
        console.print(table)
        total = sum(trial.duration for trial in summary.trials)
        console.print(f"{len(summary.trials)} trials of robot '{spec.name}' at {spec.control.rate:g} Hz, {total:.1f} s")
