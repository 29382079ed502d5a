"""Trials as one long table from which batches of windows are cut."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from forerun_sim.errors import InputError
from forerun_sim.trial import Trial


class Windows:
    """All windows of ``history`` rows and ``horizon`` further ones that fit into the trials.

    Each trial is preceded by ``history - 1`` copies of its first row, as it is in the live stream.
    """

    def __init__(self, trials: Sequence[Trial], history: int, horizon: int):
        self.history, self.horizon = history, horizon
        states, actions, starts, offset = [], [], [], 0
        for trial in trials:
            front = history - 1
            states.append(np.concatenate([np.repeat(trial.states[:1], front, axis=0), trial.states]))
            actions.append(np.concatenate([np.repeat(trial.actions[:1], front, axis=0), trial.actions]))
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
        self.states = torch.from_numpy(np.concatenate(states).astype(np.float32))
        self.actions = torch.from_numpy(np.concatenate(actions).astype(np.float32))
        self.starts = torch.from_numpy(np.concatenate(starts))

    def __len__(self) -> int:
        return len(self.starts)

    def cut(self, index: Tensor, horizon: int | None = None) -> tuple[Tensor, Tensor]:
        """States [..., K + horizon, S] and actions [..., K + horizon - 1, A] of the windows ``index`` [...]."""
        first = self.starts[index]
        span = torch.arange(self.history + (self.horizon if horizon is None else horizon))
        rows = first[..., None] + span
        return self.states[rows], self.actions[rows[..., :-1]]
