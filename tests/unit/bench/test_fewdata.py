"""Which trials a model of little data learns from, and where the errors of a model of all are."""

from __future__ import annotations

import numpy as np

from forerun.bench.double_pendulum import Split, by_speed
from forerun.bench.fewdata import drawn
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial


def test_whole_trials_are_drawn_until_there_are_as_many_seconds() -> None:
    rows = (400, 900, 1000, 700)
    trials = [Trial(np.zeros((n, 4), np.float32), np.zeros((n, 2), np.float32), 0.01, "double_pendulum") for n in rows]
    for seed in range(5):
        found = drawn(trials, 12.0, seed)
        seconds = [len(trial) * trial.period for trial in found]
        assert sum(seconds[:-1]) < 12.0 <= sum(seconds)
        assert len({id(trial) for trial in found}) == len(found)
    assert {len(drawn(trials, 4.0, seed)[0]) for seed in range(10)} != {400}, "another seed draws others"
    assert len(drawn(trials, 100.0, 0)) == 4


def test_windows_faster_than_training_are_told_apart() -> None:
    random = np.random.default_rng(0)

    def trial(speed: float) -> Trial:
        states = random.normal(size=(200, 4)).astype(np.float32)
        states[:, 2:] = np.clip(states[:, 2:], -1, 1)
        states[120, 3] = speed
        return Trial(states, np.zeros((200, 2), np.float32), 0.01, "double_pendulum")

    split = Split(load_robot("double_pendulum"), [trial(1.0)], [trial(-5.0)])
    right = by_speed(split, lambda states, given, actions: np.zeros((len(states), 50, 4), np.float32), {"model": "none"})
    windows = {row["trials"]: row["windows"] for row in right}
    # Windows begin every 5 rows and reach 50 rows further: those from row 70 to 119 hold row 120.
    assert windows == {"validation, speeds of training": 20, "validation, faster": 10}
    assert all(0 < float(row["median10"]) < 3 and row["model"] == "none" for row in right)
