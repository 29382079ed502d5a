"""What the processes of a vector environment share: arrays in memory that has no name, so that none of it is left behind."""

from __future__ import annotations

import mmap
import os
import tempfile
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_ALIGNED = 64
"""Arrays begin on cache lines of their own."""


@dataclass(frozen=True)
class Sizes:
    """N environments, A commands, D numbers of an observation, P parameters of a plant, G numbers of a goal."""

    environments: int
    commands: int
    observation: int
    parameters: int
    goal: int = 0


class Board:
    """The arrays. Rows are environments; their worker writes all but ``actions``.

    Attributes:
        actions: [N, A] float64, finite.
        observations, final_observations: [N, D] float32; the latter of episodes that ended in a step that also began the next.
        rewards: [N] float64.
        terminated, truncated: [N] bool.
        began: [N] bool, whether an episode began in this call; ``seeds`` and ``episodes`` [N] int64 say which, ``parameters``
            [N, P] float64 its plant, and ``goals`` [N, G] float64 its goal.
        ended: [N] bool, whether an episode ended in this call; ``success`` [N] int8 is then 1, 0, or -1 where the task does not
            say, and ``unstable`` [N] bool whether its physics exploded.
    """

    actions: NDArray[np.float64]
    observations: NDArray[np.float32]
    final_observations: NDArray[np.float32]
    rewards: NDArray[np.float64]
    terminated: NDArray[np.bool_]
    truncated: NDArray[np.bool_]
    began: NDArray[np.bool_]
    seeds: NDArray[np.int64]
    episodes: NDArray[np.int64]
    parameters: NDArray[np.float64]
    goals: NDArray[np.float64]
    ended: NDArray[np.bool_]
    success: NDArray[np.int8]
    unstable: NDArray[np.bool_]

    def __init__(self, sizes: Sizes, file: int | None = None) -> None:
        """On new memory of this process alone, or on that of ``file``, which ``shared_memory`` made."""
        count = sizes.environments
        wanted: dict[str, tuple[tuple[int, ...], type]] = {
            "actions": ((count, sizes.commands), np.float64),
            "observations": ((count, sizes.observation), np.float32),
            "final_observations": ((count, sizes.observation), np.float32),
            "rewards": ((count,), np.float64),
            "terminated": ((count,), np.bool_),
            "truncated": ((count,), np.bool_),
            "began": ((count,), np.bool_),
            "seeds": ((count,), np.int64),
            "episodes": ((count,), np.int64),
            "parameters": ((count, sizes.parameters), np.float64),
            "goals": ((count, sizes.goal), np.float64),
            "ended": ((count,), np.bool_),
            "success": ((count,), np.int8),
            "unstable": ((count,), np.bool_),
        }
        places, size = {}, 0
        for name, (shape, kind) in wanted.items():
            places[name] = size
            size += -(-int(np.prod(shape)) * np.dtype(kind).itemsize // _ALIGNED) * _ALIGNED
        if file is not None and os.fstat(file).st_size < size:
            os.ftruncate(file, size)
        memory = mmap.mmap(-1 if file is None else file, size)
        for name, (shape, kind) in wanted.items():
            setattr(self, name, np.ndarray(shape, kind, memory, places[name]))


def shared_memory() -> int:
    """A file descriptor of memory that processes can share. It has no name; it goes when the last of them has gone, however."""
    if hasattr(os, "memfd_create"):
        return os.memfd_create("forerun")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
