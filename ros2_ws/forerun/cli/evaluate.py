"""``forerun evaluate``: how well a bundle predicts trials that it never saw."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from forerun.evaluation import Evaluation


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle to judge.", show_default=False)],
    bags: Annotated[list[Path], typer.Argument(help="Bags that it was not trained on.", show_default=False)],
    reference: Annotated[
        list[Path] | None,
        typer.Option(help="Training bags: the yardstick, and what the linear model is fitted to; repeat for several."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--json", help="Write the result as JSON to this file.", show_default=False)] = None,
) -> None:
    """Open-loop k-step errors of a bundle on unseen trials, beside persistence and a linear model.

    Example: forerun evaluate bundles/arm bags/tuesday --reference bags/monday --json errors.json
    """
    from forerun.bags import load_trials
    from forerun.evaluation import evaluate
    from forerun_models.bundle import load
    from forerun_models.training.finetune import load_parent
    from forerun_sim.files import write_file

    console = Console()
    loaded = load(bundle)
    robot = load_parent(loaded).robot
    trials = load_trials(bags, robot)
    with Console(stderr=True).status("predicting"):
        result = evaluate(loaded, trials, load_trials(reference, robot) if reference else None)
    if out is not None:
        write_file(out, json.dumps(result.as_json(), indent=1))
    _print(result, console)


def _print(result: Evaluation, console: Console) -> None:
    title = f"normalised RMSE after k steps of {result.period:g} s: {result.windows} windows of {result.trials} trials"
    table = Table("model", *(f"k={k}" for k in result.steps), title=title)
    for name, row in result.rows.items():
        table.add_row(name, *(f"{row[k]:.3f}" if k in row else "" for k in result.steps))
    console.print(table)
