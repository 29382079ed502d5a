"""A robot that has become another one is learned as it is now; what it was before counts no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support import slider

from forerun_models.bundle import load
from forerun_models.export import Provenance, export_bundle
from forerun_models.training import change
from forerun_models.training.change import Change
from forerun_models.training.clocks import one_clock
from forerun_models.training.finetune import finetune, load_parent
from forerun_models.training.replay import learned_from
from forerun_models.training.split import Split

SHORTEST = 11


def life(*gains: float):
    """Two trials of 5 s for each gain of the drive, one after the other, with a little noise."""
    made = [trial for i, gain in enumerate(gains) for trial in slider.trials(2, seed=10 + i, noise=0.01, gain=gain)]
    return [replace(trial, start=100.0 * i, source=f"life#{i}") for i, trial in enumerate(made)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    folder = tmp_path_factory.mktemp("change")
    spec = slider.robot(folder / "robot")
    return load(
        export_bundle(folder / "parent", slider.exact_model(spec), spec, slider.recipe(), slider.trials(6), Provenance({}, 0))
    )


@pytest.mark.parametrize("known", [1.0, 0.6])
def test_the_moment_of_a_change_is_found_whichever_robot_the_model_knows(bundle, known):
    model = slider.exact_model(load_parent(bundle).robot, gain=known)
    found = change.find(model, life(1.0, 1.0, 0.6), 1.15, SHORTEST)
    assert found is not None and found.time == 400.0 and found.worse > 2.0
    assert change.find(model, life(1.0, 1.0, 1.0), 1.15, SHORTEST) is None


def test_a_change_is_found_where_it_was_however_much_came_since(bundle):
    """Not at some later moment at which errors happen to differ more."""
    model = slider.exact_model(load_parent(bundle).robot)
    for gains in ((1.0, 1.0, 0.8), (1.0, 0.8, 0.8), (1.0, 1.0, 0.8, 0.8, 0.8)):
        first, found = 200.0 * gains.index(0.8), change.find(model, life(*gains), 1.15, SHORTEST)
        assert found is not None and abs(found.time - first) <= 5.0


def test_where_two_clocks_tell_the_same_time_no_change_is_found_and_with_one_clock_it_is(bundle):
    model = slider.exact_model(load_parent(bundle).robot)
    trials = [replace(trial, start=trial.start % 400.0) for trial in life(1.0, 1.0, 0.6)]
    assert change.find(model, trials, 1.15, SHORTEST) is None
    found = change.find(model, one_clock(trials), 1.15, SHORTEST)
    assert found is not None and found.worse > 2.0 and found.time == one_clock(trials)[4].start


def test_a_robot_at_rest_is_no_other_robot(bundle):
    resting = [
        replace(
            trial, states=np.random.default_rng(i).normal(0.0, 1e-4, (100, 2)), actions=0.0 * trial.actions, start=1000.0 + 5 * i
        )
        for i, trial in enumerate(life(1.0, 1.0))
    ]
    resting = [replace(trial, states=trial.states.astype(np.float32)) for trial in resting]
    assert change.find(load_parent(bundle).model, [*life(1.0, 1.0), *resting], 1.15, SHORTEST) is None


def test_a_changed_robot_is_learned_and_judged_by_what_came_since(bundle, tmp_path):
    parent = load_parent(bundle)
    before, after = life(1.0, 1.0), [replace(trial, start=trial.start + 1000.0) for trial in life(0.6, 0.6)]
    known = replace(parent, replay=[*parent.replay, *(replace(trial, meta={"finetuned": True}) for trial in before)])
    verdict = finetune(known, [*before, *after], tmp_path / "child", 0)
    assert verdict.changed is not None and verdict.changed.time == 1000.0
    assert verdict.promoted and verdict.candidate_error < 0.5 * verdict.parent_error
    real = [trial for trial in load_parent(load(tmp_path / "child")).replay if learned_from(trial)]
    assert real and all(trial.start >= 1000.0 for trial in real)


def test_a_purpose_for_which_nothing_newer_is_there_keeps_what_is_older():
    trials = life(1.0, 1.0)
    split = change.since(Split(trials[1:], trials[:1], trials[2:3], trials[:2]), Change(200.0, 3.0), SHORTEST)
    assert [trial.start for trial in split.train] == [200.0, 300.0] and [trial.start for trial in split.judge] == [200.0]
    assert [trial.start for trial in split.stop] == [0.0] and split.earlier == []
