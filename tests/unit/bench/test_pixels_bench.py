"""`forerun bench pixels`: predictions are compared with the pictures that came, and with the last one seen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from forerun.bench import pixels
from forerun.bench.records import Options
from forerun_models.latent.settings import LatentSettings
from forerun_models.latent.world_model import WorldModel


def test_predictions_begin_after_what_was_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pixels, "SEEN", 3)
    buffer = pixels.record(range(1), seed=0)
    windows = buffer.sample_sequences(4, 7, np.random.default_rng(0))
    model = WorldModel(
        (32, 32, 3), 1, LatentSettings(groups=2, classes=3, deter=8, hidden=8, channels=2, bins=5), torch.Generator()
    )
    truth, predicted = pixels.foresee(model, windows, 0)
    assert truth.shape == (4, 8, 32, 32, 3) and predicted.shape == (4, 5, 32, 32, 3)
    assert np.array_equal(truth[:, 3:], windows["following"][:, 2:])


def test_errors_are_told_by_steps_ahead(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in {"EPISODES": 1, "TESTED": 1, "UPDATES": 2, "AHEAD": (1, 20), "WINDOWS": 4}.items():
        monkeypatch.setattr(pixels, name, value)
    (row,) = pixels.measure(Options((0,), tmp_path, tmp_path)).rows
    assert 0 < float(row["persistence_1"]) < float(row["persistence_20"]) < 0.5
    assert float(row["model_1"]) > 0 and row["mean_picture_1"] == pytest.approx(float(row["mean_picture_20"]), abs=0.02)
