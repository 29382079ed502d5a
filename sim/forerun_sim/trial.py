"""A trial: one uninterrupted run of a plant, as arrays on the control grid."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


@dataclass(frozen=True)
class Trial:
    """States and actions on the control grid.

    ``states[i]`` [S] is the state at ``start + i * period``: all positions, then all velocities, SI, joint order of
    robot.yaml, continuous joints unwrapped. ``actions[i]`` [A] is the mean command over ``[t_i, t_i + period)`` in physical
    units, so it acts between ``states[i]`` and ``states[i + 1]``; the last row of ``actions`` leads out of the trial.

    Attributes:
        states: [T, S] float32.
        actions: [T, A] float32.
        period: grid period [s].
        start: time of row 0 [s], on the clock of the log.
        robot: name of the robot.
        source: where the trial came from, for messages: ``"<bag>#<n>"``.
        meta: what the log said about it (id, seed, randomization, simulated, ...); JSON values only.
    """

    states: Array
    actions: Array
    period: float
    robot: str
    start: float = 0.0
    source: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.states.ndim != 2 or self.actions.ndim != 2 or len(self.states) != len(self.actions):
            raise ValueError(f"trial {self.source}: states {self.states.shape} and actions {self.actions.shape} do not match")

    def __len__(self) -> int:
        return len(self.states)

    @property
    def duration(self) -> float:
        """Length of the trial [s]."""
        return (len(self) - 1) * self.period

    def part(self, first: int, end: int) -> Trial:
        """The rows from ``first`` up to, but without, ``end``."""
        rows, start = slice(first, end), self.start + first * self.period
        source = self.source if (first, end) == (0, len(self)) else f"{self.source}[{first}:{end}]"
        return replace(self, states=self.states[rows], actions=self.actions[rows], start=start, source=source)

    def digest(self) -> str:
        """Sixteen hex digits that identify the content of the trial, whatever file it came from."""
        sha = hashlib.sha256()
        sha.update(np.ascontiguousarray(self.states, np.float32).tobytes())
        sha.update(np.ascontiguousarray(self.actions, np.float32).tobytes())
        return sha.hexdigest()[:16]
