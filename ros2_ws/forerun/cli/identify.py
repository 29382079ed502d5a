"""``forerun identify``: a simulator's parameters from bags, and the experiment to do next."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from forerun.cli.common import JsonOption, console, emit, progress

if TYPE_CHECKING:
    from rich.console import Console

    from forerun_sim.identify import Design, Fit, Knows
    from forerun_sim.spec import RobotSpec
    from forerun_sim.trial import Trial

EXAMPLE = """
forerun identify cartpole bags/monday bags/tuesday --out cartpole_fit.yaml
forerun identify my_robot/robot.yaml bags/lab --hold-out bags/test --out fit.yaml --workers 4 --design bags/next
ros2 bag play bags/next --topics /commands
"""
ENGINES = """Whose parameters are sought. Segments of a robot on a fixed base are simulated many at a time where that means the
same: in mujoco_urdf always, in bullet for most robots, but not for a wrist a thousand times lighter than its arm."""


class Engine(str, Enum):
    """Engines that simulate the robot's own URDF."""

    bullet = "bullet"
    mujoco_urdf = "mujoco_urdf"


def command(
    robot: Annotated[str, typer.Argument(help="Name of a shipped robot, a robot folder or a robot.yaml.", show_default=False)],
    bags: Annotated[list[Path], typer.Argument(help="Bags to learn from, simulated or real.", show_default=False)],
    out: Annotated[Path, typer.Option(help="YAML file of new keys for robot.yaml; the report is beside it.", show_default=False)],
    hold_out: Annotated[
        list[Path] | None, typer.Option("--hold-out", help="Bags to judge by; else some of the trials.", show_default=False)
    ] = None,
    fraction: Annotated[float, typer.Option(min=0.05, max=0.8, help="Of the rows, held out without --hold-out.")] = 0.2,
    engine: Annotated[Engine, typer.Option(help=ENGINES)] = Engine.bullet,
    steps: Annotated[int, typer.Option(min=1, help="Steps ahead, up to which errors count.")] = 50,
    segments: Annotated[int, typer.Option(min=10, help="Pieces of the logs that are simulated, at most.")] = 200,
    generations: Annotated[int, typer.Option(min=1, help="Of CMA-ES, at most.")] = 40,
    workers: Annotated[int, typer.Option(min=1, help="Processes; they change nothing but the time it takes.")] = 1,
    seed: Annotated[int, typer.Option(min=0, help="Of the search, and of which trials are held out.")] = 0,
    design: Annotated[
        Path | None, typer.Option(help="Bag of commands that tell most about what is uncertain still.", show_default=False)
    ] = None,
    design_seconds: Annotated[float, typer.Option(min=0.5, help="Length of that experiment.")] = 10.0,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace what is there.")] = False,
    json: JsonOption = None,
) -> None:
    """Find the parameters with which the simulator predicts the bags best, and how sure they are.

    What to find out, and within which ranges, stands under 'identify' in robot.yaml; without it masses, inertias, friction,
    strengths, gains, lags and the delay are sought. First the data are asked what they can tell: parameters that hardly act, or
    that can be exchanged with others, are named and left as they are. OUT holds the keys 'nominal' and 'randomization' for
    robot.yaml; an HTML report lies beside it. A killed run goes on where it was with the same command; Ctrl-C keeps the best.
    """
    from forerun.bags import load_trials
    from forerun_sim.files import refuse_existing, write_file
    from forerun_sim.identify import Knows, Settings, as_yaml, fragment, identify
    from forerun_sim.identify.fit import nominal_values
    from forerun_sim.spec import load_robot

    where = console(json)
    for path in (out, design):
        if path is not None:
            refuse_existing(path, overwrite)
    spec = load_robot(robot)
    notes: list[str] = []
    trials = load_trials(bags, spec, note=notes.append)
    train, judged = _split(trials, load_trials(hold_out, spec, note=notes.append) if hold_out else None, fraction, seed)
    for text in dict.fromkeys(notes):
        where.print(f"[yellow]note:[/] {text}")
    settings = Settings(engine.value, steps, segments, generations, seed, workers)
    checkpoint = out.with_name(f".{out.name}.checkpoint")
    began = time.perf_counter()
    with _stop_by_interrupt() as stopped, progress(f"identifying {spec.name}", 100) as move:
        shown = _Shown(move)
        fit = identify(spec, train, judged, settings, checkpoint=checkpoint, stopped=stopped, tell=shown)
    about = _about(spec, engine.value, train, judged, fit, time.perf_counter() - began)
    heading = (
        f"What 'forerun identify' found for {spec.name}: put these keys into robot.yaml in the place of its own.\n"
        + "\n".join(f"{name}: {value}" for name, value in about.items())
    )
    write_file(out, as_yaml(fragment(spec, fit, nominal_values(spec, engine.value)), heading))
    _report(fit, spec, about, out.with_suffix(".html"))
    _print(fit, where)
    result = _result(fit, about, out)
    if design is not None and fit.complete:
        result["design"] = _design(spec, engine.value, Knows.of(fit), design, design_seconds, seed, overwrite, where)
    where.print(f"{out}: keys for robot.yaml; {out.with_suffix('.html')}: report", markup=False)
    emit(result, json)
    if not fit.complete:
        where.print(f"{out}: stopped; these are the best parameters so far, the same command with --overwrite goes on")
        raise typer.Exit(130)


def _split(trials: list[Trial], held: list[Trial] | None, fraction: float, seed: int) -> tuple[list[Trial], list[Trial]]:
    from forerun_models.training.split import hold_out

    return (trials, held) if held is not None else hold_out(trials, fraction, seed)


@contextmanager
def _stop_by_interrupt() -> Iterator[Any]:
    """The first Ctrl-C asks to stop, the second one does."""
    asked: list[int] = []
    before = signal.getsignal(signal.SIGINT)

    def note(number: int, frame: object) -> None:
        asked.append(number)
        signal.signal(signal.SIGINT, before)

    signal.signal(signal.SIGINT, note)
    try:
        yield lambda: bool(asked)
    finally:
        signal.signal(signal.SIGINT, before)


class _Shown:
    """Progress of a fit on a bar."""

    def __init__(self, move: Any) -> None:
        self._move = move
        self._share = 0.0

    def __call__(self, progress: Any) -> None:
        ahead = max(0.0, progress.share - self._share)
        self._share += ahead
        told = f"{progress.stage}: error {progress.error:.4f}, {progress.rate:,.0f} segments/s"
        self._move(100.0 * ahead, told + (f", at most {_span(progress.left)} more" if progress.left > 0 else ""))


def _span(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _about(spec: RobotSpec, engine: str, train: list[Trial], judged: list[Trial], fit: Fit, seconds: float) -> dict[str, str]:
    count, busy = fit.evaluated
    return {
        "engine": engine,
        "training": f"{len(train)} trials, {sum(trial.duration for trial in train):.1f} s",
        "held out": f"{len(judged)} trials, {sum(trial.duration for trial in judged):.1f} s",
        "segments begin": f"as {fit.start}",
        "simulated": f"{count} segments in {seconds:.0f} s, {count / max(busy, 1e-9):,.0f} a second",
        "held-out error before": ", ".join(f"k={k}: {value:.3f}" for k, value in fit.errors["before"].items()),
        "held-out error after": ", ".join(f"k={k}: {value:.3f}" for k, value in fit.errors["after"].items()),
        **({"WARNING": _warning(fit)} if fit.worse else {}),
    }


def _warning(fit: Fit) -> str:
    """What a user must know before such estimates get anywhere near a robot."""
    steps = ", ".join(f"k={k}" for k in fit.worse)
    return f"held-out trials are predicted worse than before at {steps}: do not use this; give more bags of the one robot"


def _report(fit: Fit, spec: RobotSpec, about: dict[str, str], out: Path) -> None:
    from forerun.report.identification import render_identification

    render_identification(fit, spec, about, out)


def _print(fit: Fit, where: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from forerun.report.identification import rows_of

    table = Table("parameter", "nominal", "estimate", "95 %", box=SIMPLE_HEAD)
    for row in rows_of(fit):
        table.add_row(row.name, f"{row.nominal:.4g}", f"{row.value:.4g}", f"{row.low:.4g} to {row.high:.4g}")
    where.print(table)
    for left in fit.knowledge.open:
        why = f"can be exchanged with {', '.join(left.partners)}" if left.partners else "hardly acts in these data"
        where.print(f"not told: {left.name} {why}; it stays at its nominal value", markup=False)
    errors = Table("held-out trials", *(f"k={k}" for k in fit.errors["after"]), box=SIMPLE_HEAD)
    for side, values in fit.errors.items():
        errors.add_row(side, *(f"{value:.4f}" for value in values.values()))
    where.print(errors)
    if fit.worse:
        where.print(f"WARNING: {_warning(fit)}", style="bold yellow", markup=False)


def _result(fit: Fit, about: dict[str, str], out: Path) -> dict[str, Any]:
    return {
        "file": str(out),
        "about": about,
        "complete": fit.complete,
        "parameters": {name: {"value": value, "interval": fit.interval(name)} for name, value in fit.values.items()},
        "not_told": {left.name: list(left.partners) for left in fit.knowledge.open},
        "held_out": fit.errors,
        "worse_at": list(fit.worse),
        "training": fit.training,
    }


def _design(
    spec: RobotSpec, engine: str, knows: Knows, out: Path, seconds: float, seed: int, overwrite: bool, where: Console
) -> dict[str, Any]:
    from forerun.bags import write_trials
    from forerun_sim.identify import design

    share = [0.0]
    with progress("designing an experiment", 100) as move:

        def tell(done: float, gain: float) -> None:
            move(100.0 * (done - share[0]), f"information {gain:+.2f}")
            share[0] = done

        made: Design = design(spec, engine, knows, seconds=seconds, seed=seed, tell=tell)
    write_trials(out, [made.recording], spec, overwrite=overwrite)
    _print_design(made, knows, where)
    where.print(f"{out}: play it with: ros2 bag play {out} --topics /{spec.topics.commands.lstrip('/')}", markup=False)
    return {"bag": str(out), "gain": made.gain, "default_gain": made.default_gain, "intervals": _expected(made, knows)}


def _expected(made: Design, knows: Knows) -> dict[str, Any]:
    from forerun_sim.identify.design import expected

    return {name: {"now": now, "after": after} for name, (now, after) in expected(made, knows).items()}


def _print_design(made: Design, knows: Knows, where: Console) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table("parameter", "95 % now", "after the experiment", box=SIMPLE_HEAD)
    for name, sides in _expected(made, knows).items():
        table.add_row(name, *(f"{low:.4g} to {high:.4g}" for low, high in sides.values()))
    where.print(table)
