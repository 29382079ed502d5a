"""``forerun export``: a run becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from forerun_sim.errors import InputError


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Bundle to write; must not exist.", show_default=False)],
    recipe: Annotated[str | None, typer.Option(help="Recipe whose planner and task to use; the run's own if absent.")] = None,
    replay: Annotated[
        int | None, typer.Option(min=1, help="How many training trials go along for later fine-tuning; all if absent.")
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            help="Task of the robot to plan for; the recipe's if absent. Repeat for a bundle each, OUT/TASK.", show_default=False
        ),
    ] = None,
    last: Annotated[
        bool, typer.Option("--last", help="Of a 'forerun learn': the agent that it ended with, not its best evaluation's.")
    ] = False,
) -> None:
    """Export a trained model with its planner, or a learned agent, to a bundle, and check that it computes what the training did.

    One world model serves every task of its robot: a bundle for another task needs no new data and no new training. Of what an
    agent learned the best evaluation's agent is taken.

    Example: forerun export runs/cartpole --out bundles/cartpole

    Example: forerun export runs/arms --task full --task acrobot --out bundles/arms
    """
    console = Console(stderr=True)
    chosen: list[str | None] = list(dict.fromkeys(task or [])) or [None]
    if (run / "learn.yaml").is_file():
        from forerun_models.export.agents import export_run
        from forerun_models.recipe import load_recipe

        if task:
            raise InputError(f"{run}: holds an agent that learned one task; --task is for runs of 'forerun train'")
        with console.status("exporting"):
            export_run(run, out, None if recipe is None else load_recipe(recipe, ""), best=not last)
        console.print(_which(run, last))
        _tell(out, console)
        return
    if last:
        raise InputError(f"{run}: holds no agent of 'forerun learn', of whose evaluations --last would choose")
    for name in chosen:
        target = out if name is None or len(chosen) == 1 else out / name
        with console.status("exporting"):
            _export_model(run, target, recipe, replay, name)
        _tell(target, console)


def _which(run: Path, last: bool) -> str:
    """Which agent of the run was exported, and what it returned."""
    from forerun_models.agents.folder import Folder

    best, final = (Folder(run).row(best) for best in (True, False))
    chosen, other, names = (final, best, ("last", "best")) if last else (best, final, ("best", "last"))
    told = [
        f"evaluation after {int(row['env_steps'])} steps, return {row['eval_return_mean']:.4g} +- {row['eval_return_std']:.2g}"
        for row in (chosen, other)
    ]
    aside = f" (the {names[1]}: {told[1]})" if chosen != other else ""
    return f"{run}: the agent of the {names[0]} {told[0]}{aside}"


def _tell(out: Path, console: Console) -> None:
    """Loads the bundle, which checks it, and says what it is."""
    from forerun_models.bundle import load

    bundle = load(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    kind = f"task {bundle.manifest.task}" if bundle.has_agent else "a model without a task (it cannot control)"
    console.print(
        f"{out}: bundle of {bundle.manifest.robot}, {kind}, {size / 1e6:.1f} MB, parity checked, id {bundle.digest[:12]}"
    )


def _export_model(run: Path, out: Path, recipe: str | None, replay: int | None, task: str | None) -> None:
    """The run of a ``forerun train``."""
    from forerun_models.export import Provenance, export_bundle
    from forerun_models.recipe import load_recipe
    from forerun_models.training.run import load_run

    trained = load_run(run)
    settings = trained.recipe if recipe is None else load_recipe(recipe, trained.robot.name)
    if task is not None:
        trained.robot.task(task)
        settings = settings.model_copy(update={"task": task})
    metrics = {"held_out_error": min(epoch.best for epoch in trained.epochs)}
    provenance = Provenance(trained.trained_on, trained.seed, metrics, held_out=trained.held_out)
    export_bundle(out, trained.model, trained.robot, settings, trained.replay[:replay], provenance)
