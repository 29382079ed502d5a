"""The clock of real trials: what came before what. A simulated clock begins anew with every start, and so does that of a bag."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np

from forerun_sim.trial import Trial

GAP = 1.0
"""Seconds that are left between what two clocks have told: nothing that ends there is taken for going on."""


def consistent(trials: Sequence[Trial]) -> bool:
    """Whether ``trials`` can be of one robot on one clock: no two of them at the same time."""
    in_order = sorted(trials, key=lambda trial: trial.start)
    return all(_end(before) < trial.start + 0.5 * trial.period for before, trial in pairwise(in_order))


def one_clock(trials: Sequence[Trial]) -> list[Trial]:
    """``trials``, given in the order in which they were recorded, on one clock: one that begins anew goes on where it was."""
    if consistent(trials):
        return list(trials)
    moved: list[Trial] = []
    shift = 0.0
    for trial in trials:
        if moved and trial.start + shift < _end(moved[-1]):
            shift = _end(moved[-1]) + GAP - trial.start
        moved.append(replace(trial, start=trial.start + shift))
    return moved


def before(trials: Sequence[Trial], others: Sequence[Trial]) -> list[Trial]:
    """``trials`` moved, all alike, so that the last of them ends before the first of ``others`` begins."""
    if not trials or not others:
        return list(trials)
    shift = min(other.start for other in others) - GAP - max(_end(trial) for trial in trials)
    return [replace(trial, start=trial.start + shift) for trial in trials]


def overlap(one: Trial, other: Trial) -> bool:
    """Whether their times, as they stand there, have something in common."""
    return one.start <= _end(other) and other.start <= _end(one)


def same(one: Trial, other: Trial) -> bool:
    """Whether two trials that overlap were recorded from the same robot at the same time, though perhaps on grids that begin at
    different moments: then their states differ no more than they change from row to row."""
    period = one.period
    first = max(one.start, other.start)
    rows = [round((first - trial.start) / period) for trial in (one, other)]
    count = min(len(trial) - row for row, trial in zip(rows, (one, other), strict=True))
    if count < 2:
        return True  # too little to tell; what may be the same counts as the same
    mine, theirs = (trial.states[row : row + count].astype(float) for row, trial in zip(rows, (one, other), strict=True))
    return bool(np.abs(mine - theirs).mean() <= np.abs(np.diff(mine, axis=0)).mean() + 1e-9)


def _end(trial: Trial) -> float:
    return trial.start + trial.duration
