"""Trials as one long table from which batches of windows are cut."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forerun_sim.errors import InputError
from forerun_sim.trial import Trial

IN_MEMORY = 2**28
"""Bytes of a table from which on it is mapped from a file, whose pages the system may drop."""


class Windows:
    """All windows of ``history`` rows and ``horizon`` further ones that fit into the trials.

    Each trial is preceded by ``history - 1`` copies of its first row, as it is in the live stream.
    """

    def __init__(self, trials: Sequence[Trial], history: int, horizon: int):
        self.history, self.horizon = history, horizon
        starts, offset = [], 0
        for trial in trials:
            front = history - 1
            count = len(trial) - horizon
            if count > 0:
                starts.append(offset + np.arange(count))
            offset += front + len(trial)
        if not starts:
            longest = max((len(trial) for trial in trials), default=0)
            raise InputError(
                f"no trial is long enough: {len(trials)} trials, the longest has {longest} rows, {horizon + 1} are needed "
                f"for rollouts of {horizon} steps; record longer trials or shorten 'horizon' in the recipe"
            )
        self.states = _table([trial.states for trial in trials], history - 1, offset)
        self.actions = _table([trial.actions for trial in trials], history - 1, offset)
        self.starts = torch.from_numpy(np.concatenate(starts))

    def __len__(self) -> int:
        return len(self.starts)

    def cut(self, index: Tensor, horizon: int | None = None) -> tuple[Tensor, Tensor]:
        """States [..., K + horizon, S] and actions [..., K + horizon - 1, A] of the windows ``index`` [...]."""
        first = self.starts[index]
        span = torch.arange(self.history + (self.horizon if horizon is None else horizon))
        rows = first[..., None] + span
        return self.states[rows], self.actions[rows[..., :-1]]


def _table(parts: Sequence[NDArray[np.float32]], front: int, rows: int) -> Tensor:
    """``parts`` one after another, each behind ``front`` copies of its first row: [rows, columns]."""
    shape, at = (rows, parts[0].shape[1]), 0
    if 4 * rows * shape[1] <= IN_MEMORY:
        table: NDArray[np.float32] = np.empty(shape, np.float32)
    else:
        with tempfile.TemporaryFile() as file:
            table = np.memmap(file, np.float32, "w+", shape=shape)
    for part in parts:
        table[at : at + front] = part[0]
        table[at + front : at + front + len(part)] = part
        at += front + len(part)
    return torch.from_numpy(table)
