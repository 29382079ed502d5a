"""A run: a folder that holds a training, its progress and, in the end, its model. Survives kill -9 at any moment."""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import yaml

from forerun_models.dynamics.model import WorldModel
from forerun_models.recipe import Recipe, load_recipe
from forerun_models.training.split import hold_out_some
from forerun_models.training.start import build, initialise, taken_from
from forerun_models.training.state import read_state, write_state
from forerun_models.training.store import pack_model, pack_trials, thin, unpack_model, unpack_trials
from forerun_models.training.trainer import Epoch, Source, Trainer
from forerun_models.training.windows import Windows
from forerun_sim.authoring.portable import portable_files
from forerun_sim.errors import InputError
from forerun_sim.files import write_file
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial

REPLAY_ROWS = 60_000
"""Rows of training data that a run, and a bundle made of it, keeps for later fine-tuning."""


@dataclass(frozen=True)
class Run:
    """A finished training."""

    folder: Path
    robot: RobotSpec
    recipe: Recipe
    model: WorldModel
    seed: int
    replay: list[Trial]
    held_out: list[Trial]
    trained_on: dict[str, Any]
    epochs: list[Epoch] = field(default_factory=list)


def train(
    trials: Sequence[Trial],
    robot: RobotSpec,
    recipe: Recipe,
    seed: int,
    folder: Path,
    *,
    held_out: Sequence[Trial] | None = None,
    start: Run | None = None,
    resume: bool = False,
    on_epoch: Callable[[Epoch, int], None] = lambda epoch, of: None,
) -> Run:
    """Trains an ensemble on ``trials`` into ``folder``.

    Args:
        trials: all on the robot's control grid.
        robot: whose trials they are.
        recipe: settings.
        seed: of weights, bootstrap and batches; the same seed, data and machine give the same weights.
        folder: is created; after each epoch it holds a checkpoint from which ``resume`` goes on.
        held_out: trials for early stopping; else they are taken from ``trials``.
        start: a run, for example on simulated trials, whose model this one is at first.
        resume: go on where a killed training stopped.
        on_epoch: told of each epoch and of how many there are at most.

    Raises:
        InputError: too few or too short trials, an existing folder without ``resume``, a checkpoint of other data, or a start
            that does not fit the recipe's model.
    """
    checkpoint = folder / "checkpoint.pt"
    if folder.exists() and any(folder.iterdir()) and not resume:
        raise InputError(f"{folder}: exists already; choose another folder, or give --resume to go on with its training")
    first = None if start is None else taken_from(start, robot, recipe.model)
    if held_out is None:
        shortest = recipe.training.validation_horizon + 1
        trials, held_out = hold_out_some(trials, recipe.training.holdout, seed, shortest)
    data = {"trials": [t.digest() for t in trials], "held_out": [t.digest() for t in held_out]}
    before = {} if start is None or first is None else {"start": {"model": _digest(first), **start.trained_on}}
    made_of = {"digests": data, "start": before, "recipe": recipe.as_data(), "seed": seed}
    model = build(robot, recipe.model)
    history, settings = model.features.history, recipe.training
    longest = max(phase.horizon for phase in settings.phases)
    windows = Windows(mirrored(trials) if settings.mirror else trials, history, longest)
    initialise(model, windows, seed, first)
    trainer = Trainer(model, [Source(windows)], Windows(held_out, history, settings.validation_horizon), settings, seed)
    rows: list[Epoch] = []
    if resume and checkpoint.exists():
        rows = _restore(trainer, checkpoint, made_of)
    folder.mkdir(parents=True, exist_ok=True)
    describe_robot(robot, folder)
    write_file(folder / "recipe.yaml", yaml.safe_dump(recipe.as_data(), sort_keys=False))

    def note(epoch: Epoch) -> None:
        rows.append(epoch)
        write_file(folder / "progress.csv", _as_csv(rows))
        write_state(checkpoint, {**made_of, "trainer": trainer.state_dict(), "rows": [asdict(row) for row in rows]})
        on_epoch(epoch, trainer.epochs)

    trainer.run(note)
    trained_on = {**data, **before, "bags": sorted({t.source.split("#")[0] for t in trials}), "seed": seed}
    write_file(folder / "model.yaml", yaml.safe_dump(recipe.model.model_dump(mode="json")))
    write_file(folder / "replay.npz", pack_trials(thin(trials, REPLAY_ROWS)))
    write_file(folder / "held_out.npz", pack_trials(thin(held_out, REPLAY_ROWS)))
    write_file(folder / "trained_on.yaml", yaml.safe_dump(trained_on))
    # Last, because its presence says that the run is finished.
    write_file(folder / "weights.safetensors", pack_model(model))
    return Run(folder, robot, recipe, model.eval(), seed, list(trials), list(held_out), trained_on, rows)


def load_run(folder: Path) -> Run:
    """A finished run.

    Raises:
        InputError: no run, or its training has not finished.
    """
    if not (folder / "weights.safetensors").is_file():
        unfinished = (folder / "checkpoint.pt").is_file()
        hint = "its training has not finished: go on with 'forerun train ... --resume'" if unfinished else "it is no run"
        raise InputError(f"{folder}: {hint}")
    robot = load_robot(folder / "robot")
    recipe = load_recipe(folder / "recipe.yaml", robot.name)
    weights, settings = (folder / "weights.safetensors").read_bytes(), (folder / "model.yaml").read_text()
    trained_on = yaml.safe_load((folder / "trained_on.yaml").read_text())
    with (folder / "progress.csv").open() as file:
        epochs = [_epoch_of(row) for row in csv.DictReader(file)]
    return Run(
        folder=folder,
        robot=robot,
        recipe=recipe,
        model=unpack_model(weights, settings, robot, str(folder)),
        seed=int(trained_on["seed"]),
        replay=unpack_trials((folder / "replay.npz").read_bytes(), f"{folder}/replay.npz"),
        held_out=unpack_trials((folder / "held_out.npz").read_bytes(), f"{folder}/held_out.npz"),
        trained_on=trained_on,
        epochs=epochs,
    )


def describe_robot(robot: RobotSpec, folder: Path) -> None:
    """Keeps the robot in ``folder``/robot."""
    for name, content in portable_files(robot).items():
        write_file(folder / "robot" / name, content)


def mirrored(trials: Sequence[Trial]) -> list[Trial]:
    """The trials and their mirror images, for robots whose physics does not know left from right."""
    images = [Trial(-t.states, -t.actions, t.period, t.robot, t.start, t.source, t.meta) for t in trials]
    return [*trials, *images]


def _digest(model: WorldModel) -> str:
    return hashlib.sha256(pack_model(model)).hexdigest()


def _restore(trainer: Trainer, path: Path, made_of: dict[str, Any]) -> list[Epoch]:
    """Takes up the training at ``path``, which must be of the same data, start, recipe and seed; its epochs so far."""
    state = read_state(path, "delete the run and train anew")
    other = {"digests": "other trials", "start": "another --start", "recipe": "another recipe", "seed": "another seed"}
    for name, mine in made_of.items():
        if state.get(name, {}) != mine:
            raise InputError(f"{path}: belongs to {other[name]}; resume with the same, or train into another folder")
    trainer.load_state_dict(state["trainer"])
    return [Epoch(**row) for row in state["rows"]]


def _as_csv(rows: Sequence[Epoch]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, [entry.name for entry in fields(Epoch)])
    writer.writeheader()
    writer.writerows(asdict(row) for row in rows)
    return text.getvalue()


def _epoch_of(row: dict[str, str]) -> Epoch:
    whole = ("number", "horizon", "samples")
    return Epoch(**{name: int(value) if name in whole else float(value) for name, value in row.items()})  # type: ignore[arg-type]
