"""Real-robot logs through the commands that a user types. They are no part of this repository: without them these skip."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from forerun.bench.double_pendulum import Split, load_split, protocol_files
from forerun.bench.records import Options
from forerun.cli.app import app
from forerun_models.bundle import Bundle, BundleError, load
from forerun_models.evaluation import Linear, Predictor, persistence
from forerun_models.evaluation.kstep import cut, errors, rmse
from forerun_sim import resources
from forerun_sim.spec import load_robot

# On one worker, so that what the fixtures train is trained once.
pytestmark = pytest.mark.xdist_group("real logs")

STEPS = (1, 5, 10, 25, 50)
PROTOCOL = {
    "persistence": (0.116, 0.435, 0.803, 1.524, 1.893),
    "linear": (0.090, 0.277, 0.482, 0.862, 1.352),
    "physics": (0.072, 0.091, 0.126, 0.224, 0.655),
}
"""Validation rows of the README that lies beside the logs; its last digit is rounded."""
UNSEEN = {"persistence": (0.939, 2.176), "linear": (0.511, 1.648), "physics": (0.152, 0.904)}
"""The same for the unseen controller, k = 10 and 50."""
TOLERANCE = {"persistence": 0.02, "linear": 0.02, "physics": 0.10}
LEARNED = ("acrobot_ilqr_tvlqr_lqr_338af8", "acrobot_ilqr_tvlqr_lqr_perturbation_dc9c23", "full_sysid_excitation_bab827")
LEARNED += ("pendubot_ilqr_tvlqr_lqr_9a1b1a", "pendubot_ilqr_tvlqr_lqr_d3f519")
JUDGED = ("acrobot_ilqr_tvlqr_lqr_2b67ec", "pendubot_ilqr_tvlqr_lqr_104bd8", "full_sysid_excitation_340c2f")


def forerun(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [*map(str, args)], env={"COLUMNS": "200"})


def done(*args: str | Path) -> str:
    """Standard output of a command that must succeed."""
    run = forerun(*args)
    assert run.exit_code == 0, run.output
    return str(run.stdout)


def recipe(path: Path, robot: str, history: int, epochs: dict[int, int], **training: float) -> Path:
    """A small model and a short training; ``epochs`` by length of the rollouts."""
    phases = [{"epochs": count, "horizon": horizon} for horizon, count in epochs.items()]
    common = {"batch": 64, "steps_per_epoch": 60, "phases": phases, "weight_decay": 0.1, "holdout": 0.2}
    model = {"members": 3, "elites": 2, "hidden": 32, "history": history}
    path.write_text(yaml.safe_dump({"robot": robot, "model": model, "training": common | training}))
    return path


def known_from_logs(name: str, folder: Path) -> Path:
    """The shipped robot ``name`` without a model and tasks, in ``folder``."""
    data = yaml.safe_load((resources.find("robots", name) / "robot.yaml").read_text())
    folder.mkdir()
    kept = {key: value for key, value in data.items() if key not in ("urdf", "foreign", "tasks", "identify")}
    (folder / "robot.yaml").write_text(yaml.safe_dump(kept))
    return folder


def learn(robot: str | Path, bags: Path, settings: Path, out: Path) -> Path:
    """The bundle that ``forerun train`` and ``forerun export`` make of ``bags``."""
    done("train", bags, "--robot", robot, "--recipe", settings, "--out", out / "run", "--threads", "1", "--no-tensorboard")
    done("export", out / "run", "--out", out / "bundle")
    return out / "bundle"


def judged(bundle: Path, bags: Path, reference: Path, file: Path) -> dict[str, Any]:
    """What ``forerun evaluate --json`` says."""
    done("evaluate", bundle, bags, "--reference", reference, "--json", file)
    found: dict[str, Any] = json.loads(file.read_text())
    return found


def assert_better_at_every_step(rows: dict[str, dict[str, float]], than: str) -> None:
    assert all(rows["this bundle"][str(k)] < rows[than][str(k)] for k in STEPS), rows


@pytest.fixture(scope="module")
def split(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> Split:
    """All trials of the protocol, by way of bags."""
    return load_split(Options((0,), shared_data, tmp_path_factory.mktemp("protocol")))


@pytest.mark.parametrize("model", PROTOCOL)
def test_yardsticks_give_the_published_table(split: Split, model: str) -> None:
    predictors: dict[str, Predictor] = {"persistence": persistence, "linear": Linear(split.train), "physics": split.physics()}
    found = {
        name: errors(predictors[model], cut(trials, 8), split.std)
        for name, trials in (("validation", split.validation), ("unseen", split.unseen))
    }
    assert len(found["validation"]) == 2246
    # The table has three decimals.
    np.testing.assert_allclose(list(rmse(found["validation"], STEPS).values()), PROTOCOL[model], rtol=TOLERANCE[model], atol=5e-4)
    np.testing.assert_allclose(list(rmse(found["unseen"], (10, 50)).values()), UNSEEN[model], rtol=TOLERANCE[model], atol=5e-4)


def test_training_never_sees_the_validation_trials(split: Split) -> None:
    assert not {trial.digest() for trial in split.train} & {trial.digest() for trial in split.validation}
    assert len(split.unseen) == 7
    assert not any("pendubot" in trial.source and "perturbation" in trial.source for trial in split.train)


@pytest.fixture(scope="module")
def pendulum_bundle(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A bundle made of five trials of the double pendulum within seconds, and its evaluation on three others."""
    folder, logs = tmp_path_factory.mktemp("pendulum"), shared_data / "double_pendulum"
    for name, chosen in (("train", LEARNED), ("test", JUDGED)):
        files = [logs / f"C.1_{trial}.npz" for trial in chosen]
        done("bag", "from-npz", *files, "--robot", "double_pendulum", "--out", folder / name)
    settings = recipe(folder / "recipe.yaml", "double_pendulum", 6, {1: 4, 8: 8}, learning_rate=3e-3, mirror=True)
    bundle = learn("double_pendulum", folder / "train", settings, folder)
    return bundle, judged(bundle, folder / "test", folder / "train", folder / "errors.json")


def test_five_logs_make_a_model_that_beats_persistence_and_a_linear_one(pendulum_bundle: tuple[Path, dict[str, Any]]) -> None:
    _, found = pendulum_bundle
    (ours,) = found["bundles"].values()
    assert found["trials"] == 3 and found["period"] == pytest.approx(0.01) and len(ours["by_trial"]) == 3
    assert_better_at_every_step(found["rows"], "persistence")
    assert_better_at_every_step(found["rows"], "linear")


@pytest.mark.parametrize("rows", [1, 3, 16])
def test_a_bundle_predicts_from_any_length_of_past(pendulum_bundle: tuple[Path, dict[str, Any]], split: Split, rows: int) -> None:
    bundle = load(pendulum_bundle[0])
    cuts = cut(split.validation[:1], rows)
    whole = bundle.rollout(cuts.past_states, cuts.past_actions, cuts.actions)
    assert whole.shape == cuts.future.shape and whole.dtype == np.float32
    some = bundle.rollout(cuts.past_states[3:10], cuts.past_actions[3:10], cuts.actions[3:10])
    np.testing.assert_array_equal(some, whole[3:10])
    error = rmse((whole.astype(np.float64) - cuts.future) ** 2 / split.std**2)
    still = rmse(errors(persistence, cuts, split.std))
    assert error[10] < still[10]


def test_panda_log_without_commands_is_shown_and_refused_for_training(shared_data: Path, tmp_path: Path) -> None:
    bag = shared_data / "bags" / "panda_exciting_trajectory"
    shown = done("inspect", bag, "--robot", "panda")
    assert "sqlite3, 727 messages" in shown and "fer_joint7" in shown and "no trials can be made of it" in shown
    run = forerun("train", bag, "--robot", "panda", "--out", tmp_path / "run")
    assert run.exit_code == 2
    assert str(bag) in run.stderr and "no commands" in run.stderr and "Traceback" not in run.stderr
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def arm(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Bundle, dict[str, Any]]:
    """A bundle of the position-controlled arm, known from logs alone, made of four motions, and its evaluation on two others."""
    folder, logs = tmp_path_factory.mktemp("arm"), shared_data / "so101"
    robot = known_from_logs("so101", folder / "robot")
    learned = ("large_amplitude", "multisine", "sinusoidal_sweep", "triangle_wave")
    motions = {"train": learned, "test": ("wave_motion", "circular_motion")}
    for name, chosen in motions.items():
        files = [logs / f"so101_{motion}.npz" for motion in chosen]
        done("bag", "from-npz", *files, "--robot", robot, "--command", "q_cmd", "--out", folder / name)
    settings = recipe(folder / "recipe.yaml", "so101", 12, {1: 2, 5: 2}, learning_rate=1e-3)
    bundle = learn(robot, folder / "train", settings, folder)
    return load(bundle), judged(bundle, folder / "test", folder / "train", folder / "errors.json")


def test_position_servos_are_learned_with_their_delay(arm: tuple[Bundle, dict[str, Any]]) -> None:
    bundle, found = arm
    assert bundle.manifest.interfaces == ("position",) * 6 and bundle.manifest.history >= 10
    assert_better_at_every_step(found["rows"], "persistence")


def test_a_robot_without_tasks_gets_a_bundle_that_predicts_but_cannot_control(arm: tuple[Bundle, dict[str, Any]]) -> None:
    bundle, _ = arm
    assert bundle.has_model and not bundle.has_agent
    with pytest.raises(BundleError, match="without an agent"):
        bundle.act(np.zeros((12, 18)), np.zeros(0), np.zeros(0), 0.0, 0.0, bundle.start())


def test_the_protocol_takes_c1_trials_on_the_100_hz_grid_alone(shared_data: Path) -> None:
    files = protocol_files(shared_data / "double_pendulum", "train")
    assert len(files) == 21 and not any("33Hz" in file.name for file in files)
    spec = load_robot("double_pendulum")
    assert spec.control.rate == 100.0


def test_logs_of_another_robot_are_refused(shared_data: Path, tmp_path: Path) -> None:
    log = shared_data / "so101" / "so101_wave_motion.npz"
    run = forerun("bag", "from-npz", log, "--robot", "double_pendulum", "--command", "q_cmd", "--out", tmp_path / "bags")
    assert run.exit_code == 2 and "has 2 joints" in run.stderr
    assert list(tmp_path.iterdir()) == []
