"""A candidate touches the robot only if it is better on real trials that it never saw."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.support import slider

from forerun_models.bundle import load
from forerun_models.export import Provenance, export_bundle
from forerun_models.training.finetune import finetune, load_parent
from forerun_sim.errors import InputError


@pytest.fixture
def parent(tmp_path):
    spec = slider.robot(tmp_path / "robot")
    path = export_bundle(
        tmp_path / "parent", slider.exact_model(spec), spec, slider.recipe(), slider.trials(6), Provenance({}, 0)
    )
    return load_parent(load(path))


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


def test_two_trials_are_too_few(parent, tmp_path):
    with pytest.raises(InputError, match="record at least three trials"):
        finetune(parent, slider.trials(2), tmp_path / "child", 0)
