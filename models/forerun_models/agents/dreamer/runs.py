"""Transitions of the buffer as runs of observations, the form in which latent models learn."""

from __future__ import annotations

import numpy as np
import torch

from forerun_models.agents.buffer import Arrays
from forerun_models.latent.world_model import Sequences


def runs_of(batch: Arrays, choices: int | None, device: str) -> Sequences:
    """``batch`` of ``sample_sequences`` [N, L, ...] as runs of L + 1 observations.

    Where a run goes on in another episode, both the last observation of the one and the first of the next are in it, so that
    a run may hold fewer transitions than it was drawn with.

    Args:
        batch: with ``first``.
        choices: how many, where actions are choices: they become one-hot.
        device: of the tensors.
    """
    first = batch["first"]
    count, length = first.shape
    # Each transition leads to the place of its following observation; an episode's first observation comes before that.
    place = np.arange(1, length + 1) + np.cumsum(first, axis=1) - 1
    row = np.broadcast_to(np.arange(count)[:, None], place.shape)
    action = batch["action"] if choices is None else np.eye(choices, dtype=np.float32)[batch["action"]]
    shape, size = (count, length + 1), action.shape[2:]
    observation = np.zeros((*shape, *batch["observation"].shape[2:]), batch["observation"].dtype)
    runs = Sequences(
        observation=torch.from_numpy(observation),
        action=torch.zeros(*shape, *size),
        reward=torch.zeros(shape),
        terminated=torch.zeros(shape, dtype=torch.bool),
        first=torch.zeros(shape, dtype=torch.bool),
    )
    kept = place <= length
    at = row[kept], place[kept]
    observation[at] = batch["following"][kept]
    for column, values in ((runs.action, action), (runs.reward, batch["reward"]), (runs.terminated, batch["terminated"])):
        column.numpy()[at] = values[kept]
    begins = first & (place - 1 <= length)
    at = row[begins], place[begins] - 1
    observation[at] = batch["observation"][begins]
    runs.first.numpy()[at] = True
    return Sequences(*(part.to(device) for part in runs))
