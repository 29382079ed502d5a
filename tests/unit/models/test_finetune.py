"""A candidate touches the robot only if it is better on real trials that it never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support import slider

from forerun_models.bundle import load
from forerun_models.export import Provenance, export_bundle
from forerun_models.planners.trajectory.feedback import NoTrajectory
from forerun_models.recipe import Finetuning
from forerun_models.training import clocks, gate, replay
from forerun_models.training.finetune import finetune, load_parent
from forerun_models.training.gate import Errors, remembers
from forerun_models.training.split import Split, rejoined, three_ways
from forerun_sim.errors import InputError


@pytest.fixture(scope="module")
def exact(tmp_path_factory):
    folder = tmp_path_factory.mktemp("exact")
    spec = slider.robot(folder / "robot")
    return export_bundle(folder / "parent", slider.exact_model(spec), spec, slider.recipe(), slider.trials(6), Provenance({}, 0))


@pytest.fixture
def parent(exact):
    return load_parent(load(exact))


def test_a_better_model_is_promoted_and_says_where_it_comes_from(parent, tmp_path):
    real = slider.trials(6, seed=7, gain=0.6)
    verdict = finetune(parent, real, tmp_path / "child", 0)
    assert verdict.promoted
    assert verdict.candidate_error < 0.7 * verdict.parent_error
    child = load(tmp_path / "child")
    assert child.manifest.parent == parent.digest
    assert not set(verdict.judged_on) & set(verdict.trained_on)
    assert not set(verdict.stopped_on) & set(verdict.trained_on)
    again = finetune(load_parent(child), slider.trials(6, seed=8, gain=0.6), tmp_path / "grandchild", 0)
    assert again.parent == child.digest


def test_a_model_that_is_not_better_is_not_written(parent, tmp_path):
    verdict = finetune(parent, slider.trials(6, seed=7), tmp_path / "child", 0)
    assert not verdict.promoted
    assert "not better" in verdict.reason
    assert not (tmp_path / "child").exists()


def test_noise_teaches_nothing(parent, tmp_path):
    rng = np.random.default_rng(0)
    real = [replace(t, states=rng.normal(size=t.states.shape).astype(np.float32)) for t in slider.trials(4)]
    judged = slider.trials(2, seed=9)
    verdict = finetune(parent, [*real, *judged], tmp_path / "child", 0)
    assert verdict.promoted == (verdict.candidate_error < 0.98 * verdict.parent_error)


def test_each_check_of_the_gate_is_a_row_with_its_figure_and_limits(parent, tmp_path):
    verdict = finetune(parent, slider.trials(6, seed=7, gain=0.6), tmp_path / "child", 0)
    assert [check.name for check in verdict.checks] == ["real", "replay", "calibration", "latency"]
    assert all(check.passed and check.text for check in verdict.checks)
    real = verdict.checks[0]
    assert real.figure == verdict.candidate_error and real.high == pytest.approx(0.98 * verdict.parent_error)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"coverage": (0.0, 0.001)}, "calibration"),
        ({"latency": 1e-9}, "latency"),
    ],
)
def test_a_better_candidate_that_fails_another_check_is_not_written(parent, tmp_path, settings, name):
    recipe = parent.recipe.model_copy(update={"finetuning": parent.recipe.finetuning.model_copy(update=settings)})
    verdict = finetune(replace(parent, recipe=recipe), slider.trials(6, seed=7, gain=0.6), tmp_path / "child", 0)
    assert not verdict.promoted and verdict.reason.startswith(f"better, but {name}")
    assert (verdict.checks[0].passed, verdict.checks[-1].passed) == (True, False)
    assert list(tmp_path.glob(".child*")) == [] and not (tmp_path / "child").exists()


def test_a_candidate_in_whose_model_no_trajectory_is_found_is_refused_for_that(parent, tmp_path, monkeypatch):
    def none(*args):
        raise NoTrajectory("planner.trajectory: none of 4 starts became a trajectory")

    monkeypatch.setattr("forerun_models.training.finetune.export_bundle", none)
    verdict = finetune(parent, slider.trials(6, seed=7, gain=0.6), tmp_path / "child", 0)
    assert not verdict.promoted and verdict.reason == "better, but plan: planner.trajectory: none of 4 starts became a trajectory"
    assert list(tmp_path.glob(".child*")) == [] and not (tmp_path / "child").exists()


def test_a_candidate_that_forgot_what_its_parent_knew_does_not_pass():
    settings = Finetuning(forget_below=1.25)
    on_robot, before = Errors(0.2, {}, 9), Errors(0.3, {}, 9)
    assert remembers(settings, "replay", before, Errors(0.37, {}, 9), on_robot.mean).passed
    assert not remembers(settings, "replay", before, Errors(0.38, {}, 9), on_robot.mean).passed
    assert remembers(settings, "replay", Errors(0.01, {}, 9), Errors(0.19, {}, 9), on_robot.mean).passed
    assert not remembers(settings, "replay", before, Errors(float("nan"), {}, 9), on_robot.mean).passed


@pytest.mark.parametrize(("allowed", "way"), [(0.4, 0.5), (0.01, 1.0)])
def test_a_candidate_that_forgot_is_taken_back_towards_its_parent_where_that_helps(parent, tmp_path, monkeypatch, allowed, way):
    def strict(settings, name, before, after, on_the_robot):
        return remembers(settings, name, before, after, allowed * on_the_robot)

    monkeypatch.setattr(gate, "remembers", strict)
    verdict = finetune(parent, slider.trials(6, seed=7, gain=0.6), tmp_path / "child", 0)
    assert verdict.way == way
    assert verdict.promoted == (way < 1.0) == (tmp_path / "child").exists()
    assert ("50% of its way" if verdict.promoted else "replay") in verdict.reason


def test_one_long_trial_is_cut_into_segments_and_two_short_ones_are_too_few():
    (long,) = slider.trials(1, rows=203)
    split = three_ways([long], 0.25, 0, shortest=11)
    assert sum(len(trial) for trial in split.trials) == 203 and len(split.trials) == 10
    assert not {t.start for t in split.judge} & {t.start for t in (*split.train, *split.stop)}
    whole = sorted(split.trials, key=lambda trial: trial.start)
    assert np.array_equal(np.concatenate([trial.states for trial in whole]), long.states)
    assert np.allclose([trial.start for trial in whole], 20 * 0.05 * np.arange(10))
    (again,) = rejoined(split.trials)
    assert np.array_equal(again.states, long.states) and np.array_equal(again.actions, long.actions)
    with pytest.raises(InputError, match="at least three trials, or 33 rows in one"):
        three_ways(slider.trials(2, rows=16), 0.25, 0, shortest=11)


def test_the_replay_keeps_the_simulated_trials_and_no_real_one_that_is_judged_by(monkeypatch):
    monkeypatch.setattr(replay, "REPLAY_ROWS", 700)
    simulated = slider.trials(4)
    real = [replace(trial, start=100.0 * number) for number, trial in enumerate(slider.trials(6, seed=5))]
    first = replay.of_child(simulated, Split(real[:2], real[2:3], real[3:4]))
    assert list(map(replay.learned_from, first)) == [False] * 4 + [True] * 2
    again = replay.of_child(first, Split(real[4:], [], real[:1]))
    assert [trial.start for trial in again if replay.learned_from(trial)] == [100.0, 400.0, 500.0]
    assert sum(not replay.learned_from(trial) for trial in again) == 4


def test_real_trials_of_a_clock_that_began_anew_are_older_than_the_new_ones_and_are_kept():
    known = [replace(trial, start=50.0 + 10.0 * n, meta={"finetuned": True}) for n, trial in enumerate(slider.trials(2, seed=5))]
    again = [replace(trial, start=50.0 + 10.0 * n) for n, trial in enumerate(slider.trials(3, seed=6))]
    kept = replay.carried([*slider.trials(1), *known], again)
    assert kept[0].start == 0.0 and [trial.digest() for trial in kept[1:]] == [one.digest() for one in known]
    assert kept[-1].start + kept[-1].duration < 50.0 and kept[2].start - kept[1].start == pytest.approx(10.0)
    assert replay.carried(known, [replace(known[0], meta={}), *again[1:]])[0].digest() == known[1].digest()


def test_the_same_trial_on_another_grid_is_the_same_trial():
    trial = slider.trials(1, seed=5)[0]
    between = 0.5 * (trial.states[:-1] + trial.states[1:])
    shifted = replace(trial, states=between, actions=trial.actions[:-1], start=trial.start + 0.5 * trial.period)
    assert clocks.same(trial, shifted) and clocks.same(shifted.part(3, 40), trial)
    assert not clocks.same(trial, replace(slider.trials(1, seed=6)[0], start=trial.start))


def test_recordings_whose_clock_begins_anew_follow_each_other_in_the_order_given():
    first, second, third = slider.trials(3)
    found = clocks.one_clock([first, replace(second, start=20.0), replace(third, start=1.0)])
    assert [trial.start for trial in found[:2]] == [0.0, 20.0] and found[2].start > 20.0 + second.duration
    assert clocks.consistent(found) and not clocks.consistent([first, third])
    apart = [replace(second, start=20.0), first]
    assert clocks.one_clock(apart) == apart, "a clock that goes on tells the order itself"
