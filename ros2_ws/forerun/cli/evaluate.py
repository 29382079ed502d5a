"""``forerun evaluate``: how well a bundle predicts trials that it never saw, and drives robots that it was not trained on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from forerun.evaluation import Evaluation
    from forerun.rehearsal import Rehearsal


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle to judge.", show_default=False)],
    bags: Annotated[list[Path] | None, typer.Argument(help="Bags that it was not trained on.", show_default=False)] = None,
    reference: Annotated[
        list[Path] | None,
        typer.Option(help="Training bags: the yardstick, and what the linear model is fitted to; repeat for several."),
    ] = None,
    engine: Annotated[
        str | None,
        typer.Option(help="Rehearse in this engine instead: mujoco (the foreign plant), mujoco_urdf, bullet."),
    ] = None,
    robot: Annotated[str | None, typer.Option(help="Robot of the rehearsal; the bundle's, as shipped, if absent.")] = None,
    task: Annotated[str | None, typer.Option(help="Task of the rehearsal; the bundle's if absent.")] = None,
    episodes: Annotated[int, typer.Option(min=1, help="Episodes of the rehearsal.")] = 10,
    seed: Annotated[int, typer.Option(min=0, help="Of everything random in the rehearsal.")] = 0,
    out: Annotated[Path | None, typer.Option("--json", help="Write the result as JSON to this file.", show_default=False)] = None,
) -> None:
    """Open-loop k-step errors of a bundle on unseen trials, beside persistence and a linear model.

    With --engine the bundle itself drives a simulated robot, the rehearsal before hardware: returns, successes, and how well it
    predicted what it did.

    Example: forerun evaluate bundles/arm bags/tuesday --reference bags/monday --json errors.json

    Example: forerun evaluate bundles/cartpole --engine mujoco --episodes 20
    """
    from forerun.bags import load_trials
    from forerun.evaluation import evaluate
    from forerun_models.bundle import load
    from forerun_models.training.finetune import load_parent
    from forerun_sim.errors import InputError
    from forerun_sim.files import write_file

    console = Console()
    if bool(bags) == (engine is not None):
        raise InputError("evaluate needs bags to judge the bundle on, or --engine to rehearse in, and not both")
    if engine is not None:
        rehearsal = _rehearse(bundle, engine, robot, task, episodes, seed)
        if out is not None:
            write_file(out, json.dumps(rehearsal.as_json(), indent=1))
        _print_rehearsal(rehearsal, console)
        return
    loaded = load(bundle)
    known = load_parent(loaded).robot
    trials = load_trials(bags or [], known)
    with Console(stderr=True).status("predicting"):
        result = evaluate(loaded, trials, load_trials(reference, known) if reference else None)
    if out is not None:
        write_file(out, json.dumps(result.as_json(), indent=1))
    _print(result, console)


def _rehearse(bundle: Path, engine: str, robot: str | None, task: str | None, episodes: int, seed: int) -> Rehearsal:
    from forerun.rehearsal import rehearse
    from forerun_models.bundle import load
    from forerun_sim.resources import bundle_folder
    from forerun_sim.spec import load_robot

    folder = bundle_folder(str(bundle)).resolve()
    loaded = load(folder)
    spec = load_robot(loaded.manifest.robot if robot is None else robot)
    with Console(stderr=True).status(f"rehearsing {episodes} episodes in {engine}"):
        return rehearse(loaded, folder, spec, engine, task or loaded.manifest.task, episodes, seed)


def _print_rehearsal(rehearsal: Rehearsal, console: Console) -> None:
    totals = sorted(episode.total for episode in rehearsal.episodes)
    won = sum(episode.success for episode in rehearsal.episodes)
    told = f"{won} of {len(totals)} episodes of '{rehearsal.task}' succeeded in {rehearsal.engine}"
    if totals:
        told += f"; return {totals[len(totals) // 2]:.4g} (median; {totals[0]:.4g} to {totals[-1]:.4g})"
    if rehearsal.discarded:
        told += f"; the physics exploded in {len(rehearsal.discarded)} more: {rehearsal.discarded}"
    console.print(told)
    if rehearsal.evaluation is not None:
        _print(rehearsal.evaluation, console)


def _print(result: Evaluation, console: Console) -> None:
    title = f"normalised RMSE after k steps of {result.period:g} s: {result.windows} windows of {result.trials} trials"
    table = Table("model", *(f"k={k}" for k in result.steps), title=title)
    for name, row in result.rows.items():
        table.add_row(name, *(f"{row[k]:.3f}" if k in row else "" for k in result.steps))
    console.print(table)
