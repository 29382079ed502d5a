"""`forerun bench pets`: both settings act on the same episodes, and a stopped measurement goes on where it was."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from forerun.bench import pets
from forerun.bench.pets_episodes import Control, Episodes
from forerun.bench.planner_sizes import PETS
from forerun.bench.records import Options
from forerun_models.recipe import Collection, ModelSettings, Phase, Planner, Recipe, Training
from forerun_models.training.start import build
from forerun_sim.spec import load_robot

MODEL = ModelSettings(members=3, elites=3, hidden=8, layers=1)
RECIPE = Recipe(
    robot="cartpole",
    task="swingup",
    collection=Collection(episodes=4, steps=60),
    model=MODEL,
    training=Training(batch=16, steps_per_epoch=2, phases=(Phase(epochs=1, horizon=1),), validation_horizon=5),
    planner=Planner(horizon=4, samples=16, iterations=1, elites=3),
)


def test_an_episode_is_the_same_again_however_its_planner_runs(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    spec = load_robot("cartpole")
    planner = Planner(horizon=4, samples=16, iterations=2, **{**PETS, "elites": 3})
    model = build(spec, MODEL).eval()
    control = Control(model, spec, RECIPE.model_copy(update={"planner": planner}), 1)
    returns = []
    for number, way in enumerate((control._onnx, control._torch)):
        control._way = way
        row = Episodes(tmp_path / f"{number}.jsonl", spec, "swingup", 5).run("setting", control, 0, 2)
        assert len(row["plan_ms"]) == 7
        returns.append(row["return"])
    assert returns[0] == pytest.approx(returns[1], rel=1e-3)


def test_what_was_trained_and_run_is_not_done_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    monkeypatch.setattr(pets, "load_recipe", lambda name, robot: RECIPE)
    monkeypatch.setattr(pets, "PETS_MODEL", MODEL)
    small = Planner(horizon=2, samples=16, iterations=1, **{**PETS, "elites": 3})
    monkeypatch.setattr(pets, "PETS_PLANNER", small)
    monkeypatch.setattr(pets, "PETS_THREADS", 1)
    monkeypatch.setattr(pets, "TIMED", 12)
    notes: list[str] = []
    options = Options((0, 1), tmp_path, tmp_path / "work", notes.append, kept=tmp_path / "kept", steps=3)
    first = pets.measure(options)
    assert [row["setting"] for row in first.rows] == ["forerun", "pets", "pets-h4"]
    assert first.rows[1]["percent_above_pets"] == 0.0
    assert [row["episodes"] for row in first.rows] == [2, 2, 1]
    assert first.rows[0]["plans"] == 12 and first.rows[1]["plans"] == 6
    kept = (tmp_path / "kept" / "episodes.jsonl").read_text()
    notes.clear()
    second = pets.measure(options)
    assert second.rows == first.rows and (tmp_path / "kept" / "episodes.jsonl").read_text() == kept
    assert not any("training" in note for note in notes)
