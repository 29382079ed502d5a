"""``forerun train``: a world model from bags."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from forerun.cli.epochs import epoch_bar
from forerun_sim.spec import load_robot

if TYPE_CHECKING:
    from forerun_models.training.trainer import Epoch


def command(
    bags: Annotated[list[Path], typer.Argument(help="Bags to learn from, simulated or real.", show_default=False)],
    robot: Annotated[str, typer.Option(help="Name, folder or robot.yaml of the robot.", show_default=False)],
    out: Annotated[Path, typer.Option(help="Folder of the run.", show_default=False)],
    recipe: Annotated[
        str | None,
        typer.Option(help="Name or path of a recipe; the robot's own recipe.yaml, or the one called like it, if absent."),
    ] = None,
    start: Annotated[
        Path | None,
        typer.Option(
            help="Finished run to begin with, for example on simulated trials, instead of chance; its recipe holds if --recipe "
            "is absent.",
            show_default=False,
        ),
    ] = None,
    held_out: Annotated[
        list[Path] | None, typer.Option("--hold-out", help="Bags for early stopping; else some trials are held out.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of weights, bootstrap and batches.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a training that was stopped.")] = False,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all if absent.")] = None,
    tensorboard: Annotated[bool, typer.Option(help="Write TensorBoard curves into RUN/tensorboard.")] = True,
) -> None:
    """Train a world model from bags, with early stopping on held-out trials; a checkpoint after each epoch.

    With --start the model is at first that of an earlier run of the same robot, with the same inputs and widths, and goes on with
    the given bags alone. How long and how fast is the recipe's matter: few steps at a low learning rate keep more of the start.

    \b
    Example:
      forerun train bags/sim --robot cartpole --out runs/cartpole
      forerun train bags/monday --robot cartpole --start runs/cartpole --out runs/monday
    """
    import torch

    from forerun.bags import load_trials
    from forerun.bags.quality import warnings
    from forerun_models.recipe import load_recipe, own_recipe
    from forerun_models.training.curves import Curves
    from forerun_models.training.run import load_run, train
    from forerun_models.training.schedule import choose

    if threads is not None:
        torch.set_num_threads(threads)
    console = Console(stderr=True)
    spec = load_robot(robot)
    before = load_run(start) if start is not None else None
    settings = load_recipe(recipe, spec.name, spec.folder) if before is None or recipe is not None else before.recipe
    notes: list[str] = []
    trials = load_trials(bags, spec, note=notes.append, quality=True)
    kept = load_trials(held_out, spec, note=notes.append) if held_out else None
    for text in dict.fromkeys(notes):
        console.print(f"[yellow]note:[/] {text}")
    for text in warnings(trials, spec):
        console.print(f"[yellow]warning:[/] {escape(text)}")
    if recipe is None and before is None and own_recipe(spec.name, spec.folder) is None:
        choice = choose(sum(len(trial) for trial in trials))
        settings = choice.settings(settings)
        console.print(f"no recipe for {spec.name}: the default one, kind {choice.kind}: {choice.reason}")
    with epoch_bar(f"training {spec.name}") as show, Curves(out / "tensorboard" if tensorboard else None) as curves:

        def on_epoch(epoch: Epoch, total: int) -> None:
            show(epoch, total)
            names = ("train", "validation", "best", "horizon")
            curves.add(epoch.number, {f"model/{name}": getattr(epoch, name) for name in names})

        try:
            run = train(trials, spec, settings, seed, out, held_out=kept, start=before, resume=resume, on_epoch=on_epoch)
        except KeyboardInterrupt:
            console.print(f"{out}: stopped; the last whole epoch is kept, go on with the same command and --resume")
            raise
    best = min(epoch.best for epoch in run.epochs)
    console.print(
        f"{out}: trained on {len(run.trained_on['trials'])} trials, {len(run.epochs)} epochs, held-out error {best:.4f}"
    )
    console.print(f"next: forerun export {out} --out {out}.bundle")
