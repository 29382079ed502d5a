"""``forerun export``: a run becomes a bundle."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console


def command(
    run: Annotated[Path, typer.Argument(help="Folder of a finished run.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Bundle to write; must not exist.", show_default=False)],
    recipe: Annotated[str | None, typer.Option(help="Recipe whose planner and task to use; the run's own if absent.")] = None,
    replay: Annotated[
        int | None, typer.Option(min=1, help="How many training trials go along for later fine-tuning; all if absent.")
    ] = None,
) -> None:
    """Export a trained model with its planner, or a learned agent, to a bundle, and check that it computes what the training did.

    Example: forerun export runs/cartpole --out bundles/cartpole
    """
    from forerun_models.bundle import load

    console = Console(stderr=True)
    with console.status("exporting"):
        if (run / "learn.yaml").is_file():
            from forerun_models.export.agents import export_run

            export_run(run, out)
        else:
            _export_model(run, out, recipe, replay)
        bundle = load(out)
    size = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    kind = f"task {bundle.manifest.task}" if bundle.has_agent else "a model without a task (it cannot control)"
    console.print(
        f"{out}: bundle of {bundle.manifest.robot}, {kind}, {size / 1e6:.1f} MB, parity checked, id {bundle.digest[:12]}"
    )


def _export_model(run: Path, out: Path, recipe: str | None, replay: int | None) -> None:
    """The run of a ``forerun train``."""
    from forerun_models.export import Provenance, export_bundle
    from forerun_models.recipe import load_recipe
    from forerun_models.training.run import load_run

    trained = load_run(run)
    settings = trained.recipe if recipe is None else load_recipe(recipe, trained.robot.name)
    provenance = Provenance(trained.trained_on, trained.seed, {"held_out_error": min(e.best for e in trained.epochs)})
    export_bundle(out, trained.model, trained.robot, settings, trained.replay[:replay], provenance)
