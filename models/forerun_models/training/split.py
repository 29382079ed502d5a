"""Held-out data are whole trials, never random rows: neighbouring rows are nearly copies of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forerun_sim.errors import InputError
from forerun_sim.trial import Trial


def hold_out(trials: Sequence[Trial], fraction: float, seed: int) -> tuple[list[Trial], list[Trial]]:
    """``trials`` as (train, held out): about ``fraction`` of the rows, at least one trial on each side.

    Raises:
        InputError: there are fewer than two trials.
    """
    if len(trials) < 2:
        raise InputError(
            f"{len(trials)} trial(s) are too few: one must be held out to judge the model; record at least two trials "
            "(a trial ends at a reset or a gap)"
        )
    order = np.random.default_rng(seed).permutation(len(trials))
    wanted = fraction * sum(len(trial) for trial in trials)
    held: set[int] = set()
    rows = 0
    for index in order:
        if held and (rows + len(trials[index]) / 2 > wanted or len(held) == len(trials) - 1):
            break
        held.add(int(index))
        rows += len(trials[index])
    return [t for i, t in enumerate(trials) if i not in held], [t for i, t in enumerate(trials) if i in held]
