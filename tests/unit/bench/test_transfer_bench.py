"""`forerun bench transfer` in a short form: a second of a pendulum's life instead of minutes, without DDS, on a small model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from forerun import lockstep
from forerun.bench import transfer, transfer_changes, transfer_swing
from forerun.bench.pieces import Pieces
from forerun.bench.records import Options
from forerun.bench.transfer_lab import Lab, Setup
from forerun.bench.transfer_planner import SimulatorRollout
from forerun.lockstep import Lockstep
from forerun_models.export import Provenance, export_bundle
from forerun_models.recipe import load_recipe
from forerun_models.training.start import build, initialise
from forerun_models.training.windows import Windows
from forerun_sim.collect import collect
from forerun_sim.engines.mujoco_ahead import Ahead
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial


@pytest.fixture(scope="module")
def zero_shot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model of the simulated pendulum, by least squares alone, with all that fine-tuning needs."""
    torch.set_num_threads(1)
    spec, recipe = load_robot("pendulum"), load_recipe("pendulum", "pendulum")
    short = {"steps_per_epoch": 3, "batch": 32, "phases": [{"epochs": 2, "horizon": 3}], "validation_horizon": 5}
    recipe = type(recipe).model_validate(
        recipe.as_data()
        | {"model": {"members": 2, "elites": 2, "hidden": 8}, "planner": {"horizon": 8, "samples": 16, "iterations": 1}}
        | {
            "finetuning": {
                "training": short,
                "promote_below": 1.2,
                "forget_below": 9.0,
                "coverage": [0.0, 1.0],
                "control": {"episodes": 0},
            }
        }
        | {"training": short}
    )
    trials = [recording.trial(spec) for recording in collect(spec, episodes=4, steps=60, task="swingup", seed=0)]
    model = build(spec, recipe.model)
    initialise(model, Windows(trials, model.features.history, 3), 0)
    folder = tmp_path_factory.mktemp("zero_shot") / "bundle"
    return export_bundle(folder, model.eval(), spec, recipe, trials, Provenance({}, 0, held_out=trials[:2]))


class Player:
    """What ``lockstep.play`` does, without DDS; keeps what it was asked for."""

    def __init__(self) -> None:
        self.played: list[Lockstep] = []

    def __call__(self, bundle: Path, setting: Lockstep, folder: Path) -> tuple[Path, list[Trial]]:
        self.played.append(setting)
        return folder / "bag", lockstep.alone(bundle, setting)


def test_all_curves_are_measured_once_from_the_same_states(
    zero_shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transfer, "FEW", (2,))
    monkeypatch.setattr(transfer_changes, "SINCE", (1,))
    monkeypatch.setattr(transfer_changes, "BEFORE", 2)
    monkeypatch.setattr(transfer, "changes", lambda robot: {"weak motor": {"times": {"strength": 0.7}}})
    monkeypatch.setattr(Lab, "identified", lambda lab, stage: {"delay": 0.02, "mass.arm": 0.7})
    player = Player()
    setup = Setup("pendulum", zero_shot, 1.0, 1, (2,), player)
    options = Options((0,), tmp_path, tmp_path, kept=tmp_path / "keep")
    rows = transfer.robot_rows(setup, transfer.CURVES, options)
    named: dict[tuple[Any, ...], Any] = {(row["curve"], row["change"], row["seconds"]): row for row in rows}
    assert set(named) == {
        *(("hanging", "", 0), ("oracle", "", 0), ("fine-tuned", "", 0), ("fine-tuned", "", 2)),
        *(("scratch", "", 2), ("identified", "", 2)),
        *(("oracle", "weak motor", 0), ("changes", "weak motor", 0), ("changes", "weak motor", 1)),
    }
    assert named["hanging", "", 0]["share_median"] == 0.0 and named["oracle", "", 0]["share_median"] == 1.0
    assert named["fine-tuned", "", 2]["promoted"] in (0, 1) and "recovery_s" in named["changes", "weak motor", 0]
    assert [setting.first for setting in player.played if setting.changes is None] == [0]
    count = len(player.played)
    assert transfer.robot_rows(setup, transfer.CURVES, options) == rows and len(player.played) == count


def test_a_killed_piece_is_done_again_and_whole_ones_are_not(tmp_path: Path) -> None:
    def killed(folder: Path) -> dict[str, Any]:
        (folder / "half").touch()
        raise KeyboardInterrupt

    pieces = Pieces(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        pieces.done("one", killed)
    assert pieces.done("one", lambda folder: {"found": [path.name for path in folder.iterdir()]}) == {"found": []}
    assert pieces.done("one", killed) == {"found": []}


def test_a_refused_candidate_leaves_the_bundle_that_was_in_use(
    zero_shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(Setup("pendulum", zero_shot, 1.0, 1, (1, 2), Player()), 0, Pieces(tmp_path / "seed"), Pieces(tmp_path))
    monkeypatch.setattr(lab, "data", lambda stage: [])
    promoted = {"tuned_1": True, "tuned_2": False}
    monkeypatch.setattr(lab, "_tune", lambda name, parent, trials: {"promoted": promoted[name]})
    assert lab.tuned(0) == zero_shot
    assert lab.tuned(2) == lab.tuned(1) == tmp_path / "seed" / "tuned_1" / "bundle"


def test_a_changed_plant_is_learned_until_the_return_is_back(
    zero_shot: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = Lab(Setup("pendulum", zero_shot, 1.0, 1, (1, 2), Player()), 0, Pieces(tmp_path / "seed"), Pieces(tmp_path))
    monkeypatch.setattr(lab, "_tune", lambda name, parent, trials: {"promoted": False})
    change = {"times": {"strength": 0.7}}
    assert list(lab.recovery("weak", change, zero_shot, (1, 2), lambda found: False)) == [0, 1, 2]
    assert list(lab.recovery("weak", change, zero_shot, (1, 2), lambda found: True)) == [0]


def test_a_simulator_goes_step_by_step_where_it_goes_at_once() -> None:
    spec = load_robot("cartpole")
    rollout = SimulatorRollout(Ahead(spec, "mujoco_urdf"), spec)
    random = torch.Generator().manual_seed(0)
    states = [0.1 * torch.randn(4, generator=random) for _ in range(rollout.history)]
    past = [torch.randn(1, generator=random) for _ in range(rollout.history - 1)]
    actions = 5.0 * torch.randn(3, 1, 2, generator=random)
    at_once, particles = rollout(states, past, actions), rollout.begin(states, past, 2)
    for step, action in enumerate(actions):
        following, particles = rollout.step(particles, action[None, None])
        assert torch.equal(following, at_once[step][None]) and torch.equal(particles.newest, following)


def test_the_oracle_of_the_pendubot_knows_its_plant(tmp_path: Path) -> None:
    spec, recipe = transfer_swing.true_robot(tmp_path / "robot"), transfer_swing.recipe_of("pendubot")
    assert spec.actuators.coulomb == {"shoulder": 0.2, "elbow": 0.15} and spec.actuators.delay == 0.01
    robot = load_robot(transfer_swing.ROBOT)
    trials = [run.trial(robot) for run in collect(robot, episodes=2, steps=100, seed=0, engine="mujoco")]
    model, rows = transfer_swing.true_model(spec, recipe, trials), recipe.model.history or 1
    states, actions = (torch.tensor(array) for array in (trials[0].states, trials[0].actions))
    known = [rows_of[None, None].expand(model.members, 1, -1) for rows_of in (*states[40 - rows : 40],)]
    given = [row[None, None].expand(model.members, 1, -1) for row in actions[40 - rows : 60]]
    with torch.no_grad():
        reached = model.rollout(known, given[: rows - 1], given[rows - 1 :])
    assert (reached[-1][0, 0, :2] - states[60, :2]).abs().max() < 0.05
