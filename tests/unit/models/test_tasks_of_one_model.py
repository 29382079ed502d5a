"""One world model, several rewards: a bundle for another task needs no new data and no new training."""

from __future__ import annotations

from pathlib import Path

from tests.support import slider
from typer.testing import CliRunner

from forerun.cli.app import app
from forerun_models.bundle import load
from forerun_models.recipe import Phase, Training
from forerun_models.training.run import train
from forerun_sim.spec import load_robot

SECOND = """
  stand:
    terms:
      - {kind: quadratic, feature: "velocity:slider", weight: 1.0}
"""


def test_bundles_of_two_tasks_share_the_dynamics(tmp_path: Path) -> None:
    slider.robot(tmp_path / "robot")
    file = tmp_path / "robot" / "robot.yaml"
    file.write_text(file.read_text().rstrip() + SECOND)
    recipe = slider.recipe(samples=32, horizon=5, iterations=2).model_copy(
        update={"training": Training(batch=32, steps_per_epoch=5, phases=(Phase(epochs=1, horizon=1),), validation_horizon=10)}
    )
    train(slider.trials(6, noise=0.05), load_robot(tmp_path / "robot"), recipe, 0, tmp_path / "run")
    call = ["export", str(tmp_path / "run"), "--out", str(tmp_path / "bundles"), "--task", "regulate", "--task", "stand"]
    run = CliRunner().invoke(app, call)
    assert run.exit_code == 0, run.output
    regulate, stand = (load(tmp_path / "bundles" / name).manifest for name in ("regulate", "stand"))
    assert (regulate.task, stand.task) == ("regulate", "stand")
    assert (regulate.goal_size, stand.goal_size) == (1, 0)
    same = {name for name in regulate.files if regulate.files[name] == stand.files[name]}
    assert {"dynamics.onnx", "train/weights.safetensors", "train/replay.npz"} <= same and "act.onnx" not in same
    assert regulate.thresholds == stand.thresholds
    wrong = CliRunner().invoke(app, ["export", str(tmp_path / "run"), "--out", str(tmp_path / "b"), "--task", "fly"])
    assert wrong.exit_code == 2 and not (tmp_path / "b").exists()
