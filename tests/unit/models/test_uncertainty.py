"""Variances mean what they say, disagreement is one thing everywhere, and bundles without a calibration still work."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from tests.support import slider

from forerun_models.bundle import Bundle, BundleError, Calibration, Forecast, load
from forerun_models.bundle.manifest import Manifest
from forerun_models.evaluation.kstep import cut
from forerun_models.export import Provenance, export_bundle
from forerun_models.uncertainty import (
    auroc,
    disagreement,
    evidence,
    penalised,
    separate,
    surprise,
    transition_weights,
    trusted,
    unfamiliarity,
)
from forerun_models.uncertainty.calibrate import calibrate, factors
from forerun_models.uncertainty.familiarity import USUAL

NOISE = 0.3


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Bundle:
    """An exact model whose own variance is far off, calibrated on noisy held-out trials."""
    folder = tmp_path_factory.mktemp("calibrated")
    spec = slider.robot(folder)
    provenance = Provenance({}, 0, held_out=slider.trials(10, seed=5, noise=NOISE))
    replay = slider.trials(6, noise=NOISE)
    return load(export_bundle(folder / "b", slider.exact_model(spec), spec, slider.recipe(), replay, provenance))


def forecast_and_truth(bundle: Bundle) -> tuple:
    cuts = cut(slider.trials(20, seed=9, noise=NOISE), 1, horizon=20, stride=3)
    return bundle.forecast(cuts.past_states, cuts.past_actions, cuts.actions), cuts


def test_calibrated_variances_are_those_of_unseen_trials(bundle: Bundle) -> None:
    forecast, cuts = forecast_and_truth(bundle)
    assert np.allclose(forecast.mean, bundle.rollout(cuts.past_states, cuts.past_actions, cuts.actions), atol=1e-5)
    squared = (forecast.mean - cuts.future) ** 2
    for k in (1, 5, 20):
        assert np.allclose(forecast.variance[:, k - 1].mean(axis=0), squared[:, k - 1].mean(axis=0), rtol=0.25)


@pytest.mark.parametrize("level", [0.5, 0.9])
def test_intervals_hold_what_they_promise(bundle: Bundle, level: float) -> None:
    forecast, cuts = forecast_and_truth(bundle)
    z = (forecast.mean - cuts.future) / np.sqrt(forecast.variance)
    assert forecast.calibration is not None
    inside = np.abs(z) <= forecast.calibration.width(level, z.shape[1])
    # After one step the position's error is rounding alone.
    assert inside[:, 4:].mean() == pytest.approx(level, abs=0.05)
    assert np.allclose(np.abs(2 * forecast.calibration.probability(z) - 1) <= level, inside)


def test_factors_tell_noise_from_ignorance() -> None:
    rng = np.random.default_rng(0)
    aleatoric, epistemic = rng.uniform(0.1, 2.0, (4000, 1)), rng.uniform(0.1, 2.0, (4000, 1))
    squared = rng.normal(size=(4000, 1)) ** 2 * (3.0 * aleatoric + 0.5 * epistemic)
    a, b = factors(squared, aleatoric, epistemic)
    assert a[0] == pytest.approx(3.0, rel=0.15) and b[0] == pytest.approx(0.5, abs=0.35)


def drawn(trials: int, scale: float, tails: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Errors [N, 1, 1] of Student's t with ``tails`` degrees of freedom, a trial's own by a factor; and the trials' numbers."""
    rng = np.random.default_rng(seed)
    own = np.exp(0.3 * rng.normal(size=trials)) * scale
    return (own.repeat(200) * rng.standard_t(tails, 200 * trials))[:, None, None], np.arange(trials).repeat(200)


def forecast_of(count: int) -> Forecast:
    """Of 0, with the variances 1 and 1."""
    zeros, ones = np.zeros((count, 1, 1), np.float32), np.ones((count, 1, 1))
    return Forecast(zeros, zeros[None], ones, ones)


@pytest.mark.parametrize("tails", [2.5, 100.0])
@pytest.mark.parametrize("growth", [1.0, 3.0])
def test_intervals_hold_on_other_trials_whatever_the_tails_and_however_much_was_learned(growth: float, tails: float) -> None:
    """Two trials held out, which say little alone, and twelve that the model learned from, of errors ``growth`` times smaller."""
    judged, _ = drawn(100, 1.0, tails, 99)
    inside = []
    for seed in range(8):
        (held, one), (learned, two) = drawn(2, 1.0, tails, seed), drawn(12, 1.0 / growth, tails, 50 + seed)
        errors, trial = np.concatenate([held, learned]), np.concatenate([one, two + 2])
        found = calibrate(forecast_of(len(errors)), errors.astype(np.float32), trial, trial >= 2)
        assert found is not None
        z = np.abs(judged) / np.sqrt(forecast_of(len(judged)).calibrated(found).variance)
        inside.append([(z <= found.width(level, 1)).mean() for level in (0.5, 0.9)])
    assert np.mean(inside, axis=0) == pytest.approx([0.5, 0.9], abs=0.05)
    assert np.std(inside, axis=0)[0] < 0.12


def test_a_calibration_survives_the_manifest_and_a_wrong_one_is_refused(bundle: Bundle) -> None:
    text = bundle.manifest.to_json()
    again = Manifest.from_json(text, "bundle.json")
    assert isinstance(again.calibration, Calibration) and again.to_json() == text
    content = json.loads(text)
    content["calibration"]["aleatoric"][0][0] = -1.0
    with pytest.raises(BundleError, match="calibration: factors"):
        Manifest.from_json(json.dumps(content), "bundle.json")
    del content["calibration"]
    assert Manifest.from_json(json.dumps(content), "bundle.json").calibration is None


def test_numpy_and_torch_agree() -> None:
    rng = np.random.default_rng(0)
    members, scale = rng.normal(size=(5, 6, 7, 4)), rng.uniform(1, 2, 4)
    spread = disagreement(members, scale)
    assert spread.shape == (6, 7)
    assert np.allclose(disagreement(torch.tensor(members), torch.tensor(scale)), spread)
    for ours, theirs in zip(
        separate(members, members**2), separate(torch.tensor(members), torch.tensor(members) ** 2), strict=True
    ):
        assert np.allclose(ours, theirs)
    limit = float(np.quantile(spread, 0.8))
    kept = trusted(spread, limit)
    assert np.array_equal(trusted(torch.tensor(spread), limit).numpy(), kept)
    first = np.argmax(spread > limit, axis=1)
    for row, over in enumerate(first):
        assert kept[row].sum() == (over if spread[row].max() > limit else 7)
    assert np.allclose(transition_weights(spread), 1 / (1 + spread))
    assert np.allclose(penalised(np.ones_like(spread), spread, 2.0), 1 - 2 * spread)


def test_another_robot_surprises_and_the_same_does_not(bundle: Bundle) -> None:
    """The force is four times as strong: members that agree are all wrong, and only what came tells."""

    def score(gain: float) -> np.ndarray:
        cuts = cut(slider.trials(6, seed=11, noise=NOISE, gain=gain), 1, horizon=15, stride=3)
        forecast = bundle.forecast(cuts.past_states, cuts.past_actions, cuts.actions)
        told = evidence(*surprise(forecast, cuts.future, np.ones(2), 15), cuts.trial, cuts.row, 50)
        return unfamiliarity(np.zeros(len(cuts)), told, {**bundle.manifest.thresholds, "disagreement": 1.0})

    familiar, lighter = score(1.0), score(4.0)
    assert (familiar > 0).mean() < 0.1
    assert auroc(familiar, lighter) > 0.95


def test_evidence_is_of_the_last_rows_of_the_same_trial() -> None:
    values, weights = np.repeat([1.0, 3.0, 7.0], 200), np.repeat([1.0, 1.0, 0.0], 200)
    trial, row = np.repeat([0, 0, 1], 200), np.concatenate([np.arange(400), np.arange(200)])
    told = evidence(values, weights, trial, row, 100)
    assert told[[150, 249, 350]] == pytest.approx([1.0, 2.0, 3.0], abs=0.2)
    assert told[400:] == pytest.approx(USUAL), "a robot at rest says nothing"


def test_little_evidence_is_hardly_believed_however_dense_the_windows() -> None:
    for apart in (1, 10):
        row = np.arange(0, 500, apart)
        told = evidence(np.full(len(row), 3.0), np.ones(len(row)), np.zeros(len(row), int), row, 500)
        assert told[row <= 10].max() < 1.5 and told[-1] == pytest.approx(3.0, abs=0.2)


def test_auroc_counts_pairs() -> None:
    assert auroc([1, 2], [3, 4]) == 1.0
    assert auroc([1, 2], [1, 2]) == 0.5
    assert auroc([0, 2, 4], [1, 3]) == pytest.approx(0.5)
