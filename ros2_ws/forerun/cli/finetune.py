"""``forerun finetune``: a bundle learns from the robot's own bags, if the gate lets it pass."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from forerun.cli.epochs import epoch_bar
from forerun.plain import plain
from forerun_sim.errors import ForerunError, InputError

if TYPE_CHECKING:
    from forerun_models.training.split import Split
    from forerun_sim.spec import RobotSpec
    from forerun_sim.trial import Trial


def command(
    bundle: Annotated[Path, typer.Argument(help="Bundle to start from.", show_default=False)],
    bags: Annotated[
        list[Path],
        typer.Argument(
            help="Bags of the real robot, oldest first: at least three trials, or a long one; or the folder of a trainer, alone.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="Bundle to write if the candidate is better; must not exist.", show_default=False)],
    verdict: Annotated[Path | None, typer.Option(help="Verdict file; OUT.verdict.json if absent.")] = None,
    seed: Annotated[int, typer.Option(help="Of the split into trials and of the batches.")] = 0,
    threads: Annotated[int | None, typer.Option(min=1, help="CPU threads; all if absent.")] = None,
) -> None:
    """Fine-tune a bundle on real trials mixed with its simulated ones. A candidate must be better on held-out real trials, not
    have forgotten the simulated ones, know how sure it is, plan in time, and control a simulator that is like the robot as well;
    one that does not is not written, the verdict file says why, and the exit code is 1.

    Example: forerun finetune bundles/cartpole bags/monday --out bundles/cartpole-2
    """
    import torch

    from forerun.training.control_check import control
    from forerun_models.bundle import BundleError, load
    from forerun_models.training.finetune import finetune, load_parent
    from forerun_sim.files import write_file

    if threads is not None:
        torch.set_num_threads(threads)
    if out.exists():
        raise BundleError(f"{out}: exists already; bundles are never changed, choose another name")
    console = Console(stderr=True)
    parent = load_parent(load(bundle))
    trials = _given(bags, parent.robot, console)
    with epoch_bar(f"fine-tuning {parent.robot.name}") as show:
        result = finetune(parent, trials, out, seed, on_epoch=show, driven=control)
    target = verdict or out.with_name(f"{out.name}.verdict.json")
    write_file(target, json.dumps(plain(result.as_json()), indent=1))
    if result.changed is not None:
        console.print(
            f"[yellow]note:[/] the robot has changed: real trials of before {result.changed.time:.1f} s are left out; what is "
            f"learned from them too is off on newer ones by {result.changed.worse:.2f} times the squared error"
        )
    for check in result.checks:
        colour = "default" if check.passed else "red"
        console.print(f"[{colour}]{check.outcome}[/] {check.name}: {check.text}", highlight=False)
    if not result.promoted:
        raise ForerunError(f"not promoted: {result.reason}; {bundle} stays (verdict: {target})")
    console.print(f"{out}: promoted: {result.reason} (verdict: {target})")


def _given(paths: list[Path], robot: RobotSpec, console: Console) -> list[Trial] | Split:
    """The trials of bags; those of a trainer's folder with who is for what.

    Raises:
        InputError: no such bag, or a damaged one; or the folder has no trials for each purpose yet.
    """
    from forerun.bags import load_trials
    from forerun.training.choice import everything
    from forerun.training.store import trials_of
    from forerun_models.training.clocks import one_clock
    from forerun_models.training.split import Split

    folder = paths[0] / "trials"
    if len(paths) == 1 and any(folder.glob("*.piece")):
        split = Split(**{role: trials_of(folder, numbers) for role, numbers in everything(folder).items()})
        strangers = {trial.robot for trial in split.trials} - {robot.name}
        if strangers:
            raise InputError(f"{folder}: holds trials of robot '{strangers.pop()}', the bundle is for '{robot.name}'")
        if not (split.train and split.stop and split.judge):
            raise InputError(
                f"{folder}: has no trials yet to train on, to stop by and to judge by; let the trainer collect longer"
            )
        return split
    notes: list[str] = []
    trials = load_trials(paths, robot, note=notes.append)
    for text in dict.fromkeys(notes):
        console.print(f"[yellow]note:[/] {text}")
    return one_clock(trials)
