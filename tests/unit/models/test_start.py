"""A training that begins with an earlier run's model goes on from there, resumes bit by bit, and refuses what does not fit."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from tests.support import slider
from tests.unit.models.test_rigid_body import ROBOT, SMALL, model, trials
from typer.testing import CliRunner

from forerun.bags import write_trials
from forerun.cli.app import app
from forerun_models.dynamics.model import WorldModel
from forerun_models.dynamics.physical import Physical
from forerun_models.recipe import LeastSquares, Phase, Recipe
from forerun_models.training.run import Run, load_run, train
from forerun_models.training.start import build, initialise, taken_from
from forerun_models.training.windows import Windows
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """Of a slider whose force is half of that of the trials to come."""
    folder = tmp_path_factory.mktemp("start")
    return train(slider.trials(12, gain=0.5), slider.robot(folder / "robot"), slider.recipe(), 0, folder / "run")


def short(epochs: int = 2) -> Recipe:
    """Too little to learn from nothing, in steps that are small for a start."""
    recipe = slider.recipe()
    changes = {"phases": (Phase(epochs=epochs, horizon=5),), "steps_per_epoch": 5, "learning_rate": 1e-3}
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changes)})


@torch.no_grad()
def predicted(found: WorldModel, windows: Windows) -> torch.Tensor:
    """Rollouts [H, E, N, S] of the first windows."""
    states, actions = windows.cut(torch.arange(min(len(windows), 16)))
    truth, given = (array.expand(found.members, *array.shape).unbind(2) for array in (states, actions))
    history = windows.history
    return torch.stack(found.rollout(truth[:history], given[: history - 1], given[history - 1 :]))


def test_what_was_learned_before_is_gone_on_with(start: Run, tmp_path: Path) -> None:
    run = train(slider.trials(8), start.robot, short(), 0, tmp_path / "run", start=load_run(start.folder))
    assert run.epochs[0].validation < 2 * start.epochs[-1].validation + 0.1
    assert run.trained_on["start"]["trials"] == start.trained_on["trials"], "a bundle of it says what it has seen"
    with pytest.raises(AssertionError):
        torch.testing.assert_close(run.model.state_dict(), start.model.state_dict())


def test_predictions_are_those_of_the_start_but_errors_are_measured_by_the_new_trials() -> None:
    before = model()
    windows = Windows([trial.part(0, 30) for trial in trials()], before.features.history, 5)
    after = build(load_robot(ROBOT), SMALL)
    initialise(after, windows, 0, before)
    assert not torch.allclose(after.features.state_std, before.features.state_std, rtol=1e-3)
    torch.testing.assert_close(predicted(after, windows), predicted(before, windows), rtol=1e-4, atol=1e-5)
    assert bool((after.features.fastest >= before.features.fastest).all())


def test_fewer_members_than_the_start_has_are_its_best(start: Run) -> None:
    settings = start.recipe.model.model_copy(update={"members": 2, "elites": 1})
    first = taken_from(start, start.robot, settings)
    for name, value in first.named_parameters():
        assert torch.equal(value, dict(start.model.named_parameters())[name][start.model.elites[:2]])


def test_a_killed_training_with_a_start_goes_on_bit_by_bit(start: Run, tmp_path: Path) -> None:
    class Killed(Exception):
        pass

    def kill(epoch: object, of: int) -> None:
        raise Killed

    def trained(name: str, **options: object) -> WorldModel:
        return train(slider.trials(8), start.robot, short(), 0, tmp_path / name, **options).model  # type: ignore[arg-type]

    whole = trained("whole", start=start).state_dict()
    with pytest.raises(Killed):
        trained("broken", start=start, on_epoch=kill)
    with pytest.raises(InputError, match=r"checkpoint\.pt: belongs to another --start"):
        trained("broken", resume=True)
    resumed = trained("broken", start=load_run(start.folder), resume=True).state_dict()
    assert all(torch.equal(value, whole[name]) for name, value in resumed.items())


def test_a_rigid_body_from_simulation_ends_with_least_squares_and_resumes_bit_by_bit(tmp_path: Path) -> None:
    training = {
        "batch": 8,
        "steps_per_epoch": 2,
        "phases": [{"epochs": 2, "horizon": 3}],
        "validation_horizon": 3,
        "mirror": True,
    }
    plain = Recipe.model_validate({"robot": ROBOT, "model": SMALL.model_dump(), "training": {**training, "choose": "last"}})
    fit = LeastSquares(iterations=1, windows=8, horizon=3)
    fitted = plain.model_copy(update={"training": plain.training.model_copy(update={"least_squares": fit})})
    robot, real = load_robot(ROBOT), trials(4, delay=0.01)
    before = train(trials(), robot, plain, 0, tmp_path / "simulated")

    def stop(epoch: object, of: int) -> None:
        raise KeyboardInterrupt

    unfitted = train(real, robot, plain, 1, tmp_path / "unfitted", start=before).model
    whole = train(real, robot, fitted, 1, tmp_path / "whole", start=before).model
    with pytest.raises(KeyboardInterrupt):
        train(real, robot, fitted, 1, tmp_path / "broken", start=before, on_epoch=stop)
    again = train(real, robot, fitted, 1, tmp_path / "broken", start=load_run(before.folder), resume=True).model.state_dict()
    assert all(torch.equal(value, again[name]) for name, value in whole.state_dict().items())
    assert isinstance(whole, Physical) and isinstance(unfitted, Physical)
    moved = [not torch.equal(one, other) for one, other in zip(whole.physical(), unfitted.physical(), strict=True)]
    assert any(moved), "least squares had the last word"


@pytest.mark.parametrize(
    ("robot", "changes", "message"),
    [
        (
            lambda folder: slider.robot(folder, name="cart"),
            {},
            "holds a model of robot 'slider'; start 'cart' from a run of its own",
        ),
        (lambda folder: slider.robot(folder, history=2), {}, "has another shape than the recipe's: the robot's history differs"),
        (slider.robot, {"hidden": 8}, "another shape than the recipe's: hidden 16 there, 8 here"),
        (slider.robot, {"members": 4}, "has 3 members, and the recipe wants model.members 4"),
    ],
)
def test_a_start_that_does_not_fit_is_refused(
    start: Run, tmp_path: Path, robot: Callable[[Path], RobotSpec], changes: dict[str, int], message: str
) -> None:
    recipe = short().model_copy(update={"model": start.recipe.model.model_copy(update=changes)})
    with pytest.raises(InputError, match=message):
        train(slider.trials(8), robot(tmp_path / "robot"), recipe, 0, tmp_path / "run", start=start)
    assert not (tmp_path / "run").exists()


def record(trial: Trial) -> Any:
    """``trial`` as a simulator would have recorded it."""
    position, velocity = np.hsplit(trial.states, 2)
    times = np.arange(len(trial)) * trial.period
    return SimpleNamespace(time=times, position=position, velocity=velocity, effort=velocity, command=trial.actions, meta={})


def test_the_command_takes_the_starts_recipe(start: Run, tmp_path: Path) -> None:
    write_trials(tmp_path / "bag", [record(trial) for trial in slider.trials(8)], start.robot)

    def command(*options: str) -> tuple[int, str]:
        words = ["train", str(tmp_path / "bag"), "--robot", str(start.folder / "robot"), "--no-tensorboard", *options]
        done = CliRunner().invoke(app, words, env={"COLUMNS": "300"})
        return done.exit_code, done.output

    code, text = command("--start", str(start.folder), "--out", str(tmp_path / "run"))
    assert code == 0, text
    assert load_run(tmp_path / "run").recipe == start.recipe
    code, text = command("--start", str(tmp_path / "nothing"), "--out", str(tmp_path / "other"))
    assert code == 2 and "nothing: it is no run" in text
    assert not (tmp_path / "other").exists()
