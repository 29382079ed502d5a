"""What `forerun bench sac` says of learning curves, and without Stable-Baselines3."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from tests.support import point

from forerun.bench import sac, sac_offline
from forerun.bench.records import Options, Unavailable
from forerun_models.agents.environment_model import EnvironmentSettings


def options(tmp_path: Path, *only: str) -> Options:
    return Options((0,), tmp_path, tmp_path / "work", kept=tmp_path / "kept", only=only)


def test_a_curve_says_when_it_reached_the_threshold_and_what_it_cost():
    curve = sac.Curve("Pendulum-v1", "sac", 30, 10, -200.0)
    row = sac.figures(curve, [(10, -900.0), (20, -150.0), (30, -210.0)], cpu_s=3.0)
    assert row["steps_to_threshold"] == 20
    assert row["return_last"] == -210.0
    assert row["return_last_three"] == -420.0
    assert row["cpu_ms_per_step"] == 100.0
    assert sac.figures(curve, [(10, -900.0)], cpu_s=1.0)["steps_to_threshold"] == ""


def test_curves_that_are_kept_are_not_learned_again(tmp_path):
    (tmp_path / "kept").mkdir()
    kept = {"curve": [[500, -1000.0], [1000, -120.0]], "cpu_s": 5.0}
    (tmp_path / "kept" / "pendulum-sac-0.json").write_text(json.dumps(kept))
    (row,) = sac.measure(options(tmp_path, "pendulum-sac")).rows
    assert row["steps_to_threshold"] == 1000
    assert row["curve"] == "500:-1000 1000:-120"


def test_without_stable_baselines3_its_rows_are_left_out(tmp_path, monkeypatch):
    monkeypatch.delenv("FORERUN_SB3_PYTHON", raising=False)
    monkeypatch.setattr(sac, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="FORERUN_SB3_PYTHON"):
        sac.measure(options(tmp_path, "update-64", "pendulum-sb3"))


def test_offline_ways_learn_from_the_same_data(tmp_path, monkeypatch):
    monkeypatch.setattr(sac_offline, "UPDATES", 2)
    monkeypatch.setattr(sac_offline, "EVALUATED", 1)
    quick = {"model": EnvironmentSettings(members=2, elites=2, hidden=8, layers=1, updates=2), "rollouts": 20}
    monkeypatch.setattr(sac_offline, "WAYS", {"offline-cloning": None, "offline-mbpo": quick, "offline-mopo": quick})
    steps = [
        point.step(0.1 * number, 0.5, number % 10)._replace(observation=np.ones(12), following=np.ones(12))
        for number in range(200)
    ]
    rows = [sac_offline.row(name, steps, 0) for name in sac_offline.WAYS]
    assert [row["agent"] for row in rows] == ["cloning", "mbpo", "mbpo"]
    assert {row["transitions"] for row in rows} == {200}
    assert len(sac_offline.returns_of(steps)) == 20


def test_offline_data_are_the_newest_transitions_of_a_run_that_is_half_good(monkeypatch):
    monkeypatch.setattr(sac_offline, "MEDIUM", 30.0)
    monkeypatch.setattr(sac_offline, "KEPT", 15)
    steps = sac_offline.data()
    assert len(steps) == 15 and steps[-1].terminated
    assert all(np.array_equal(one.following, other.observation) for one, other in pairwise(steps))


def test_our_curve_is_learned_where_it_is_not_kept(tmp_path, monkeypatch):
    monkeypatch.setitem(sac.CURVES, "pendulum-sac", sac.Curve("Pendulum-v1", "sac", 120, 60, -200.0))
    (row,) = sac.measure(options(tmp_path, "pendulum-sac")).rows
    assert row["env_steps"] == 120
    assert row["cpu_s"] > 0
