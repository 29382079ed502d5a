"""``forerun evaluate``: several bundles on the same unseen trials, with intervals, calibration and a page that shows it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forerun.bags import write_trials
from forerun.cli.app import app
from forerun_models.evaluation.bootstrap import median, root_mean
from forerun_sim import resources
from forerun_sim.collect import collect
from forerun_sim.spec import load_robot


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    spec = load_robot("pendulum")
    path = tmp_path_factory.mktemp("logs") / "bag"
    runs = collect(spec, episodes=4, seed=7, steps=70)
    write_trials(path, runs, spec)
    runs.close()
    return path


def test_bundles_are_compared_on_the_same_windows(bag: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(resources.bundle_folder("pendulum"), other)
    figures, page = tmp_path / "e.json", tmp_path / "e.html"
    call = ["evaluate", "pendulum", str(other), str(bag), "--json", str(figures), "--report", str(page)]
    run = CliRunner().invoke(app, call)
    assert run.exit_code == 0, run.output
    told = json.loads(figures.read_text())
    first, second = told["bundles"].values()
    assert first["errors"] == second["errors"]
    assert told["rows"]["persistence"]["10"] > told["rows"][str(other)]["10"]
    mean = first["errors"]["10"]["mean"]
    assert mean["low"] <= mean["value"] <= mean["high"]
    joint = first["errors"]["10"]["by_joint"]["shoulder"]
    assert np.mean([part["value"] ** 2 for part in joint]) == pytest.approx(mean["value"] ** 2)
    at = first["uncertainty"]["10"]
    assert sum(at["pit"]) == pytest.approx(1) and 0 < at["coverage"]["0.5"] <= at["coverage"]["0.9"] <= 1
    assert at["aleatoric"] > 0 and at["epistemic"] > 0
    assert len(first["worst"]) == 4 and len(first["worst"][0]["truth"][0]) == 2
    text = page.read_text()
    assert text.count("data:image/svg+xml") == 3 + 8 and "rank correlation" in text


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["pendulum"], "needs bags"),
        (["pendulum", "{bag}", "cartpole"], "before the bags"),
        (["pendulum", "cartpole", "{bag}"], "other joints"),
    ],
)
def test_wrong_calls_are_refused_with_a_reason(bag: Path, args: list[str], message: str) -> None:
    run = CliRunner().invoke(app, ["evaluate", *(arg.format(bag=bag) for arg in args)])
    assert run.exit_code == 2 and message in run.output.replace("\n", " ")


def test_intervals_are_over_trials_not_windows() -> None:
    """Copies of a window tell nothing new: the interval of four trials is as wide with a hundred windows in each as with one."""
    values, trial = np.array([1.0, 2.0, 3.0, 6.0]), np.arange(4)
    for estimate in (root_mean, median):
        few, many = estimate(values, trial), estimate(np.repeat(values, 100), np.repeat(trial, 100))
        assert (few.low, few.high) == pytest.approx((many.low, many.high)) and few.low < many.value < few.high
    alone = root_mean(values, np.zeros(4, int))
    assert alone.value == pytest.approx(np.sqrt(3.0)) and np.isnan(alone.low)
