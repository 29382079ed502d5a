"""``forerun evaluate``: how well a bundle predicts trials that it never saw, and drives robots that it was not trained on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from forerun.cli.common import JsonOption, console, emit
from forerun_sim.errors import InputError

if TYPE_CHECKING:
    from forerun.evaluation import Comparison, Evaluation
    from forerun.rehearsal import Rehearsal


def command(
    paths: Annotated[
        list[Path],
        typer.Argument(metavar="BUNDLE... BAG...", help="Bundles to judge, then bags that none of them was trained on."),
    ],
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
    report: Annotated[Path | None, typer.Option(help="Write a page with charts to this HTML file.", show_default=False)] = None,
    out: JsonOption = None,
) -> None:
    """Open-loop k-step errors of bundles on unseen trials, side by side, beside persistence and a linear model; whether their
    uncertainty means what it says, how much their members disagree, and where they go wrong.

    With --engine the bundle itself drives a simulated robot, the rehearsal before hardware: returns, successes, and how well it
    predicted what it did.

    Example: forerun evaluate bundles/arm bundles/arm-2 bags/tuesday --reference bags/monday --report errors.html

    Example: forerun evaluate bundles/cartpole --engine mujoco --episodes 20
    """
    terminal = console(out)
    bundles, bags = _apart(paths)
    if bool(bags) == (engine is not None):
        raise InputError("evaluate needs bags to judge the bundle on, or --engine to rehearse in, and not both")
    if engine is not None:
        if len(bundles) > 1 or report is not None:
            raise InputError("a rehearsal (--engine) takes one bundle, and writes no --report")
        rehearsal = _rehearse(bundles[0], engine, robot, task, episodes, seed)
        emit(rehearsal.as_json(), out)
        _print_rehearsal(rehearsal, terminal)
        return
    result = _compare(bundles, bags, reference)
    emit(result.as_json(), out)
    _print_comparison(result, terminal)
    if report is not None:
        from forerun.report.evaluation import render_evaluation

        about = {"bags": ", ".join(map(str, bags)), "bundles": ", ".join(map(str, bundles))}
        about |= {"yardstick": ", ".join(map(str, reference)) if reference else "spread of the first bundle's training states"}
        render_evaluation(result, about, report)
        terminal.print(f"report: {report}", markup=False)


def _apart(paths: list[Path]) -> tuple[list[Path], list[Path]]:
    """Bundles and bags. What comes first is taken for a bundle, so that an error speaks of the file that is wrong."""
    from forerun_sim.resources import bundle_folder

    found = [bundle_folder(str(path)) for path in paths]
    count = 1
    while count < len(found) and (found[count] / "bundle.json").is_file():
        count += 1
    late = [path for path in found[count:] if (path / "bundle.json").is_file()]
    if late:
        raise InputError(f"{late[0]}: is a bundle; name all bundles before the bags")
    return found[:count], found[count:]


def _compare(paths: list[Path], bags: list[Path], reference: list[Path] | None) -> Comparison:
    from forerun.bags import load_trials
    from forerun.bags.quality import warnings
    from forerun.evaluation import OURS, compare
    from forerun_models.bundle import load
    from forerun_models.training.finetune import load_parent

    bundles = {(OURS if len(paths) == 1 else str(path)): load(path) for path in paths}
    known = load_parent(next(iter(bundles.values()))).robot
    trials = load_trials(bags, known, quality=True)
    with Console(stderr=True).status("predicting"):
        return compare(bundles, trials, load_trials(reference, known) if reference else None, warnings(trials, known))


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


def _print(result: Evaluation | Comparison, console: Console) -> None:
    title = f"normalised RMSE after k steps of {result.period:g} s: {result.windows} windows of {result.trials} trials"
    table = Table("model", *(f"k={k}" for k in result.steps), title=title)
    for name, row in result.rows.items():
        table.add_row(name, *(f"{row[k]:.3f}" if k in row else "" for k in result.steps))
    console.print(table)


def _print_comparison(result: Comparison, console: Console) -> None:
    """Errors with intervals, coverage, noise and ignorance, disagreement; a table a bundle."""
    for warning in result.warnings:
        console.print(f"[yellow]warning:[/] {escape(warning)}")
    _print(result, console)
    for name, one in result.judgements.items():
        heads = ("k", "mean (90 %)", "median (90 %)", "in 50 %, 90 %", "noise, ignorance")
        table = Table(*heads, title=f"{name}: intervals over trials, calibration, predicted deviations")
        for k in result.steps:
            error, sure = one.errors[k], one.uncertainty[k]
            table.add_row(
                str(k),
                *(f"{e.value:.3f} ({e.low:.3f}-{e.high:.3f})" for e in (error.mean, error.median)),
                f"{sure.coverage[0.5]:.2f}, {sure.coverage[0.9]:.2f}",
                f"{sure.aleatoric**0.5:.3f}, {sure.epistemic**0.5:.3f}",
            )
        console.print(table)
        spread = one.disagreement
        told = f"disagreement {spread.median:.3g} (median), {spread.high:.3g} (99 %)"
        if spread.above is not None:
            told += f"; {100 * spread.above:.1f} % of the windows above the threshold {spread.threshold:.3g}"
        told += f"; rank correlation with the error {spread.correlation:.2f}"
        if spread.surprised is not None:
            told += f"; {100 * spread.surprised:.1f} % come after surprises above {spread.surprise_threshold:.3g}"
        console.print(f"{name}: {told}", markup=False)
        if not one.calibrated:
            console.print(f"{name}: its variances are the model's own: export it again to have them recalibrated", markup=False)
