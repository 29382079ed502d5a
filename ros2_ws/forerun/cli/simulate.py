"""`forerun simulate`: trials of a randomized simulated robot, into a bag."""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forerun.cli.common import JsonOption, console, emit, progress
from forerun_sim.errors import ForerunError

if TYPE_CHECKING:
    from rich.console import Console

    from forerun_sim.collect import Collection, Recording, Sampled
    from forerun_sim.executors import Executor

EXAMPLE = """
forerun simulate cartpole --episodes 200 --seed 1 --out bags/cartpole
forerun simulate my_robot/robot.yaml --episodes 50 --steps 300 --workers 4 --out bags/mine
forerun simulate cartpole --episodes 100000 --ray 192.168.0.7:6379 --out bags/many
"""

TOLERATED = 0.02
"""Share of episodes whose physics may explode before it is asked which quantities they have in common."""


class Engine(str, Enum):
    """Physics engines."""

    bullet = "bullet"
    mujoco = "mujoco"
    mujoco_urdf = "mujoco_urdf"


class Initial(str, Enum):
    """Where episodes begin."""

    wide = "wide"
    task = "task"


def command(
    robot: Annotated[str, typer.Argument(help="Name of a shipped robot, a robot folder or a robot.yaml.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the bag (MCAP).", show_default=False)],
    episodes: Annotated[int, typer.Option(min=1, help="Episodes to run, a trial each.")] = 100,
    steps: Annotated[int | None, typer.Option(min=2, help="Control steps of an episode; the task's duration if absent.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random: the same seed gives the same trials.")] = 0,
    engine: Annotated[Engine, typer.Option(help="mujoco: the foreign plant; mujoco_urdf: the URDF in MuJoCo.")] = Engine.bullet,
    task: Annotated[str | None, typer.Option(help="Whose command limits and duration hold; the robot's first if absent.")] = None,
    initial: Annotated[Initial, typer.Option(help="Begin all over the state space, or as the task does.")] = Initial.wide,
    workers: Annotated[int, typer.Option(min=1, help="Processes; they change nothing but the time it takes.")] = 1,
    ray: Annotated[str | None, typer.Option(metavar="ADDRESS", help="Run on this Ray cluster instead (extra: scale).")] = None,
    randomize: Annotated[bool, typer.Option("--randomize/--no-randomize", help="Draw the plant anew in each episode.")] = True,
    print_parameters: Annotated[
        bool, typer.Option("--print-parameters", help="Show the least, mean and largest value of all that was drawn.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bag if it exists.")] = False,
    json: JsonOption = None,
) -> None:
    """Collect trials of a simulated robot into a bag, under exploratory commands, with all randomized that robot.yaml says.

    An episode whose physics explodes is left out and counted; where that happens to more than one in fifty, what those have in
    common is said. The same seed gives the same bag, wherever it was simulated. On a Ray cluster every node needs this
    package; the robot's folder goes along.
    """
    from forerun.bags import write_trials
    from forerun_sim.collect import collect
    from forerun_sim.files import refuse_existing
    from forerun_sim.spec import load_robot

    refuse_existing(out, overwrite)
    spec = load_robot(robot)
    began = time.perf_counter()
    runs = collect(
        spec,
        episodes=episodes,
        task=task or next(iter(spec.tasks), None),
        seed=seed,
        engine=engine.value,
        randomize=randomize,
        steps=steps,
        initial=initial.value,
        workers=workers,
        executor=_cluster(ray),
    )
    shown = _Shown(runs, f"simulating {spec.name}", episodes)
    try:
        written = write_trials(out, shown, spec, overwrite=overwrite)
    finally:
        runs.close()
    elapsed = time.perf_counter() - began
    result = {
        "bag": str(out),
        "robot": spec.name,
        "engine": engine.value,
        "seed": seed,
        "trials": written,
        "discarded": runs.discarded,
        "steps": shown.steps,
        "wall_s": elapsed,
        "steps_per_s": shown.steps / elapsed,
        "suspects": [vars(one) for one in runs.sampled.suspects()],
        "sampled": {name: {"min": one.low, "mean": one.mean, "max": one.high} for name, one in runs.sampled.spans.items()},
    }
    where = console(json)
    if print_parameters:
        _print_parameters(runs.sampled, where)
    _print_outcome(out, shown.steps, elapsed, runs, where)
    emit(result, json)


def _cluster(address: str | None) -> Executor | None:
    if address is None:
        return None
    from forerun_sim.executors.ray_cluster import RayCluster

    return RayCluster(address)


def _print_parameters(sampled: Sampled, where: Console) -> None:
    """What varied, line by line, and the names of what did not."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("drawn", "min", "mean", "max", box=SIMPLE_HEAD, header_style="bold", pad_edge=False)
    for name, span in sampled.spans.items():
        if span.low < span.high:
            table.add_row(name, *(f"{value:.4g}" for value in (span.low, span.mean, span.high)))
    where.print(table)
    same = [f"{name} {span.low:.4g}" for name, span in sampled.spans.items() if span.low == span.high]
    where.print(f"the same in all {sampled.episodes} episodes: {', '.join(same) or 'nothing'}")


def _print_outcome(out: Path, steps: int, elapsed: float, runs: Collection, where: Console) -> None:
    trials, lost = runs.sampled.episodes - len(runs.discarded), len(runs.discarded)
    left_out = f", {lost} left out because their physics exploded" if lost else ""
    where.print(f"{out}: {trials} trials, {steps} steps in {elapsed:.1f} s ({steps / elapsed:,.0f} steps/s){left_out}")
    if lost > TOLERATED * runs.sampled.episodes:
        where.print(_explosions(runs.sampled))


def _explosions(sampled: Sampled) -> str:
    """What the exploded episodes have in common, and what to do."""
    head = f"{sampled.exploded / sampled.episodes:.0%} of the episodes exploded"
    found = sampled.suspects()[:3]
    if not found:
        return f"{head}, whatever was drawn: raise control.physics_rate or soften the servos (actuators.stiffness, damping)"
    said = "; ".join(
        f"{one.name} was {one.exploded:.4g} in the median of these and {one.whole:.4g} in that of the others" for one in found
    )
    return f"{head}; narrow what they have in common, or raise control.physics_rate: {said}"


class _Shown:
    """``runs``, with a progress bar. ``steps`` counts their control steps."""

    def __init__(self, runs: Collection, title: str, episodes: int) -> None:
        self.steps = 0
        self._runs = runs
        self._title = title
        self._episodes = episodes

    def __iter__(self) -> Iterator[Recording]:
        began, left_out = time.perf_counter(), 0
        with progress(self._title, self._episodes) as move:
            for run in self._runs:
                self.steps += len(run.command)
                yield run
                move(1 + len(self._runs.discarded) - left_out, self._note(began))
                left_out = len(self._runs.discarded)
        if not self.steps:
            raise ForerunError(f"no trial is left to write: {_explosions(self._runs.sampled)}")

    def _note(self, began: float) -> str:
        speed = f"{self.steps / (time.perf_counter() - began):,.0f} steps/s"
        return speed + (f", {len(self._runs.discarded)} exploded" if self._runs.discarded else "")
