"""Where a model has been: points that cover its data, how far unseen trials lead from them, and what a bundle makes of it."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tests.support import slider

from forerun_models.bundle import BundleError, Ground, load
from forerun_models.bundle.manifest import Manifest
from forerun_models.dynamics.features import Features
from forerun_models.export import Provenance, export_bundle
from forerun_models.uncertainty import unfamiliarity
from forerun_models.uncertainty.ground import LEAST, lay
from forerun_sim.trial import Trial


def swings(speeds: Sequence[float], seed: int = 0) -> list[Trial]:
    """A joint that turns at up to each of ``speeds``, a trial each."""
    rng, made = np.random.default_rng(seed), []
    for speed in speeds:
        velocity = speed * np.sin(np.linspace(0, 20, 300) + rng.uniform(0, 6))
        states = np.stack([np.cumsum(0.02 * velocity), velocity], axis=1).astype(np.float32)
        made.append(Trial(states, np.zeros((300, 1), np.float32), 0.02, "swing"))
    return made


def features(trials: Sequence[Trial]) -> Features:
    """Of one joint without limits, its statistics from ``trials``."""
    found = Features([True], 1, 1)
    states = torch.tensor(np.concatenate([trial.states for trial in trials]))
    found.fit(torch.stack([states[:-1], states[1:]], dim=1), torch.zeros(len(states) - 1, 1, 1))
    return found


def seen(speeds: Sequence[float]) -> tuple[Ground, float]:
    trials = swings(speeds)
    return lay(features(trials), trials, mirror=True)


def states(angle: float, velocity: float) -> NDArray[np.float64]:
    return np.array([[angle, velocity]])


def test_states_of_the_data_are_near_and_faster_ones_beyond_what_is_usual() -> None:
    trials = swings(np.linspace(3, 5, 12))
    ground, usual = lay(features(trials), trials, mirror=True)
    own = np.concatenate([ground.distance(trial.states) for trial in trials])
    unseen = np.concatenate([ground.distance(trial.states) for trial in swings(np.linspace(3, 5, 12), seed=1)])
    assert own.max() <= usual and (unseen <= usual).mean() > 0.97
    assert ground.distance(states(0.0, 15.0)) > 2 * usual


def test_full_turns_and_mirror_images_are_no_farther() -> None:
    ground, _ = seen([4.0])
    near = ground.distance(states(0.3, 3.0))
    assert ground.distance(states(0.3 + 20 * np.pi, 3.0)) == pytest.approx(near)
    assert ground.distance(states(-0.3, -3.0)) == pytest.approx(near, abs=0.1)


def test_what_is_no_number_is_farther_than_anything() -> None:
    ground, _ = seen([4.0])
    assert np.isinf(ground.distance(np.array([[np.nan, 0.0], [0.0, np.inf]]))).all()


def test_what_is_usual_is_told_by_trials_left_out_and_never_less_than_half_a_spread() -> None:
    assert seen([4.0])[1] == seen([4.0] * 10)[1] == LEAST
    assert seen([4.0] * 10 + [12.0])[1] > 2 * LEAST


def test_within_what_is_usual_a_distance_says_nothing() -> None:
    thresholds = {"disagreement": 0.1, "surprise": 0.0, "distance": 2.0}
    score = unfamiliarity([0.1] * 3, [-0.5] * 3, thresholds, [0.1, 1.9, 4.0])
    assert score[:2] == pytest.approx([-0.5, -0.5]) and score[2] == pytest.approx(2 * np.log(2))


def test_a_bundle_carries_it_and_a_wrong_one_is_refused(tmp_path) -> None:
    spec, trials = slider.robot(tmp_path), slider.trials(4)
    bundle = load(export_bundle(tmp_path / "b", slider.exact_model(spec), spec, slider.recipe(), trials, Provenance({}, 0)))
    ground, usual = bundle.manifest.ground, bundle.manifest.thresholds["distance"]
    assert ground is not None and ground.distance(trials[0].states).max() < usual < ground.distance([[100.0, 0.0]])[0]
    text = bundle.manifest.to_json()
    assert Manifest.from_json(text, "bundle.json").to_json() == text
    content = json.loads(text)
    for change in ({"scale": [1.0]}, {"points": []}, {"scale": [-1.0, 1.0]}):
        broken = {**content, "ground": {**content["ground"], **change}}
        with pytest.raises(BundleError, match="ground: "):
            Manifest.from_json(json.dumps(broken), "bundle.json")
    del content["thresholds"]["distance"]
    with pytest.raises(BundleError, match=r"ground needs thresholds\.distance"):
        Manifest.from_json(json.dumps(content), "bundle.json")
    del content["ground"]
    assert Manifest.from_json(json.dumps(content), "bundle.json").ground is None
