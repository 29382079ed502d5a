"""Episodes in lockstep are those of the bundle, the plant and their numbers, and nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forerun.lockstep import Lockstep, alone, play
from support.processes import Processes
from support.tiny_bundle import Law, tiny_bundle

from .conftest import CART


def test_episode_is_the_same_whatever_was_before_it_until_the_plant_changes(domain: int, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "feedback", Law(gain=((-20.0, 1.0, -10.0, 2.0),), bias=(6.0,)), CART)
    changes = tmp_path / "changes.yaml"
    changes.write_text("{format: 1, changes: [{at: 0.4, times: {strength: 0.7}}]}")
    _, two = play(bundle, Lockstep("cartpole", "swingup", 0.8, first=6, episodes=2), tmp_path / "two")
    _, one = play(bundle, Lockstep("cartpole", "swingup", 0.8, first=7, episodes=1, changes=changes), tmp_path / "one")
    assert [len(trial) for trial in (*two, *one)] == [40, 40, 40]
    assert np.array_equal(two[1].states[:21], one[0].states[:21])
    assert np.abs(two[1].states - one[0].states).max() > 0.01
    without = alone(bundle, Lockstep("cartpole", "swingup", 0.8, first=6, episodes=2))
    assert all(np.array_equal(one.states, other.states) for one, other in zip(two, without, strict=True))
    assert all(np.array_equal(one.actions, other.actions) for one, other in zip(two, without, strict=True))
    assert two[1].meta["lived"] == 0.8 and one[0].meta["changes"][0]["times"] == {"strength": 0.7}


def test_node_ends_without_the_process_that_started_it(processes: Processes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORERUN_STARTER", "1")
    assert processes.node("simulator", robot="cartpole").wait() == 0
