"""`forerun simulate`: trials of a randomized simulated robot, into a bag."""

from __future__ import annotations

import time
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from forerun.cli.common import JsonOption, console, emit, progress

if TYPE_CHECKING:
    from forerun_sim.collect import Collection, Recording

EXAMPLE = """
forerun simulate cartpole --episodes 200 --seed 1 --out bags/cartpole
forerun simulate my_robot/robot.yaml --episodes 50 --steps 300 --workers 4 --out bags/mine
"""


class Engine(str, Enum):
    """Physics engines."""

    bullet = "bullet"
    mujoco = "mujoco"


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
    engine: Annotated[Engine, typer.Option(help="mujoco is the robot's foreign plant.")] = Engine.bullet,
    task: Annotated[str | None, typer.Option(help="Whose command limits and duration hold; the robot's first if absent.")] = None,
    initial: Annotated[Initial, typer.Option(help="Begin all over the state space, or as the task does.")] = Initial.wide,
    workers: Annotated[int, typer.Option(min=1, help="Processes; they change nothing but the time it takes.")] = 1,
    randomize: Annotated[bool, typer.Option("--randomize/--no-randomize", help="Draw the plant anew in each episode.")] = True,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the bag if it exists.")] = False,
    json: JsonOption = None,
) -> None:
    """Collect trials of a simulated robot into a bag, under exploratory commands, with all randomized that robot.yaml says.

    An episode whose physics explodes is left out and counted.
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
        task=task,
        seed=seed,
        engine=engine.value,
        randomize=randomize,
        steps=steps,
        initial=initial.value,
        workers=workers,
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
    }
    where = console(json)
    left_out = f", {len(runs.discarded)} left out because their physics exploded" if runs.discarded else ""
    where.print(
        f"{out}: {written} trials, {shown.steps} steps in {elapsed:.1f} s ({shown.steps / elapsed:,.0f} steps/s){left_out}"
    )
    emit(result, json)


class _Shown:
    """``runs``, with a progress bar. ``steps`` counts their control steps."""

    def __init__(self, runs: Collection, title: str, episodes: int) -> None:
        self.steps = 0
        self._runs = runs
        self._title = title
        self._episodes = episodes

    def __iter__(self) -> Iterator[Recording]:
        began = time.perf_counter()
        with progress(self._title, self._episodes) as move:
            for run in self._runs:
                self.steps += len(run.command)
                yield run
                move(1, f"{self.steps / (time.perf_counter() - began):,.0f} steps/s")
