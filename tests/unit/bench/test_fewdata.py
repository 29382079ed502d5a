"""Which trials a model of little data learns from."""

from __future__ import annotations

import numpy as np

from forerun.bench.fewdata import drawn
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
