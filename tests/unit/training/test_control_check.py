"""A candidate that predicts better but controls worse than its parent does not pass the gate."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean

import pytest
import torch
from tests.support import slider

from forerun.training import control_check
from forerun.training.control_check import control, enough, standard_error
from forerun_models.bundle import Bundle, load
from forerun_models.export import Provenance, export_bundle
from forerun_models.recipe import ControlCheck, Recipe, load_recipe
from forerun_models.training.finetune import Parent, finetune, load_parent
from forerun_models.training.gate import Check
from forerun_models.training.split import Split
from forerun_models.training.start import build, initialise
from forerun_models.training.windows import Windows
from forerun_sim.collect import collect
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial


@dataclass(frozen=True)
class SoFar:
    """Of a verdict, what the check reads."""

    candidate_error: float


@pytest.fixture(scope="module")
def trials() -> list[Trial]:
    """Of a simulated pendulum that is another than the nominal one."""
    spec = load_robot("pendulum")
    return [one.trial(spec) for one in collect(spec, episodes=4, steps=60, task="balance", seed=0, engine="mujoco_urdf")]


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """A quick planner that balances."""
    data = load_recipe("pendulum", "pendulum").as_data()
    small = {"model": {"members": 2, "elites": 2, "hidden": 8}, "planner": {"horizon": 10, "samples": 32, "iterations": 1}}
    tuning = data["finetuning"] | {"control": {"episodes": 3, "seconds": 0.6}}
    return Recipe.model_validate(data | small | {"task": "balance", "finetuning": tuning})


def made(folder: Path, recipe: Recipe, trials: list[Trial]) -> Bundle:
    """A bundle that knows ``trials`` by least squares."""
    torch.set_num_threads(1)
    spec = load_robot("pendulum")
    model = build(spec, recipe.model)
    initialise(model, Windows(trials, model.features.history, 3), 0)
    return load(export_bundle(folder / "bundle", model.eval(), spec, recipe, trials, Provenance({}, 0)))


@pytest.fixture(scope="module")
def parent(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, trials: list[Trial]) -> Parent:
    return load_parent(made(tmp_path_factory.mktemp("parent"), recipe, trials))


def test_a_candidate_that_takes_the_motor_for_reversed_controls_worse_and_the_other_way_round_better(
    parent: Parent, recipe: Recipe, trials: list[Trial], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = Split(trials[:1], trials[2:3], trials[3:])
    found = control_check.identified(parent, split, "mujoco_urdf", 0)
    monkeypatch.setattr(control_check, "identified", lambda *given: found)  # the same for all
    mistaken = made(tmp_path, recipe, [replace(trial, actions=-trial.actions) for trial in trials])
    row = control(parent, mistaken, split, SoFar(9.0), 0)
    assert (row.name, row.passed) == ("control", False) and row.figure < row.low < -0.01
    assert "against the parent's" in row.text and "same 2 start(s)" in row.text, "two pairs were enough"
    better = control(load_parent(mistaken), parent.bundle, split, SoFar(9.0), 0)
    assert better.passed and better.figure > 0.1 and "same 2 start(s)" in better.text
    same = control(parent, parent.bundle, split, SoFar(9.0), 0)
    assert same.passed and same.figure == 0.0 and "same 3 start(s)" in same.text


@pytest.mark.parametrize(
    ("differences", "pairs", "passes"),
    [
        ([-0.1, -0.13, 0.0, 0.0, 0.0], 2, False),
        ([0.06, 0.03, 0.0, 0.0, 0.0], 2, True),
        ([-0.2, 0.15, 0.1, 0.12, -0.05], 5, True),
        ([-0.05, -0.03, -0.06, -0.04, -0.05], 4, False),
        ([0.05, -0.06, -0.08, -0.07, -0.06], 5, False),
        ([0.01, -0.02, -0.01, 0.0, 0.01], 5, True),
    ],
)
def test_pairs_are_driven_until_they_tell_and_an_unlucky_one_refuses_nobody(
    differences: list[float], pairs: int, passes: bool
) -> None:
    settings = ControlCheck()
    needed = next(count for count in range(1, 6) if enough(differences[:count], settings))
    seen = differences[:needed]
    assert needed == pairs and (mean(seen) >= -settings.worse - standard_error(seen)) == passes


def test_a_simulator_that_predicts_no_better_than_the_candidate_is_no_judge(parent: Parent, trials: list[Trial]) -> None:
    row = control(parent, parent.bundle, Split(trials[:2], trials[2:3], trials[3:]), SoFar(1e-6), 0)
    assert row.passed and math.isnan(row.figure) and "no judge" in row.text and row.outcome == "not judged"


def test_a_candidate_that_controls_worse_is_not_written_and_the_verdict_says_why(tmp_path: Path) -> None:
    spec = slider.robot(tmp_path / "robot")
    bundle = export_bundle(
        tmp_path / "parent", slider.exact_model(spec), spec, slider.recipe(), slider.trials(6), Provenance({}, 0)
    )
    parent, real = load_parent(load(bundle)), slider.trials(6, seed=7, rows=60, gain=0.6)
    worse = Check("control", -0.3, -0.02, math.inf, False, "it controls worse")
    refused = finetune(parent, real, tmp_path / "child", 0, driven=lambda *given: worse)
    assert refused.checks[0].passed and refused.checks[-1] == worse
    assert (refused.promoted, refused.reason) == (False, "better, but control: it controls worse")
    assert not (tmp_path / "child").exists()
    row = control(parent, load(tmp_path / "parent"), Split(real[:4], real[4:5], real[5:]), SoFar(1.0), 0)
    assert row.passed and "no simulator of this robot" in row.text
