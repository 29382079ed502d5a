"""From real-robot logs to the k-step table: bags, training, bundle, evaluation, through the same functions as the commands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from forerun.bags import load_trials
from forerun.bags.convert import convert_npz
from forerun.bags.npz import Columns
from forerun.bench.records import Options, Unavailable
from forerun_models.bundle import Bundle, load
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial

if TYPE_CHECKING:
    from forerun_models.recipe import Recipe
    from forerun_models.training.run import Run
    from forerun_models.training.trainer import Epoch


@dataclass(frozen=True)
class Fitted:
    """A trained model as a bundle, and what its training took."""

    bundle: Bundle
    seconds: float
    epochs: int
    samples: int


def folder_of_logs(options: Options, name: str) -> Path:
    """The folder ``name`` among the real-robot logs.

    Raises:
        Unavailable: it is not on this machine.
    """
    folder = options.data / name
    if not folder.is_dir():
        raise Unavailable(f"{folder}: no such folder; --data names the one with the real-robot logs")
    return folder


def as_trials(files: Sequence[Path], robot: RobotSpec, bags: Path) -> list[Trial]:
    """The logs ``files`` through bags in ``bags`` to trials, one a log."""
    convert_npz(files, bags, robot, Columns())
    return load_trials(bags, robot, note=lambda text: None)


def fit(
    trials: Sequence[Trial],
    robot: RobotSpec,
    seed: int,
    options: Options,
    recipe: Recipe | None = None,
    name: str | None = None,
    start: Run | None = None,
) -> Fitted:
    """Trains ``recipe`` (the robot's shipped one) on ``trials``, on one thread, and exports the model without its agent.

    Training begins with the model of ``start``, where there is one.

    Where trainings are kept, a finished one called ``name`` (the robot's, if absent) is not trained again.
    """
    import torch

    from forerun_models.export import Provenance, export_bundle
    from forerun_models.recipe import load_recipe
    from forerun_models.training.run import load_run, train

    torch.set_num_threads(1)
    called = f"{name or robot.name}-{seed}"
    folder = (options.kept or options.work) / called

    def tell(epoch: Epoch, of: int) -> None:
        options.note(f"{called}: epoch {epoch.number + 1} of at most {of}")

    if (folder / "weights.safetensors").exists():
        run = load_run(folder)
    else:
        chosen = recipe or load_recipe(robot.name, robot.name)
        run = train(trials, robot, chosen, seed, folder, start=start, resume=folder.exists(), on_epoch=tell)
    metrics = {"held_out_error": min(epoch.best for epoch in run.epochs)}
    out = options.work / f"{called}.bundle"
    alone = robot.model_copy(update={"tasks": {}})
    export_bundle(out, run.model, alone, run.recipe, run.replay, Provenance(run.trained_on, seed, metrics, held_out=run.held_out))
    taken = sum(epoch.seconds for epoch in run.epochs)
    return Fitted(load(out, robot=robot.name), taken, len(run.epochs), sum(epoch.samples for epoch in run.epochs))
