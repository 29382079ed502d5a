"""What the controller remembers of the robot: states as measured, commands as they acted, on the grid that models read."""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from forerun.control.limits import Limits, Vector
from forerun.control.states import State
from forerun.grid import LiveGrid

_REMEMBERED = 256
"""Periods whose states and commands are kept for a new bundle that reads a longer history."""


class Memory:
    """A live grid that can grow.

    Args:
        period: of the grid, the control period of the model [s].
        limits: name joints and actions; joints without position limits are unwrapped.
        rows: that the grid holds.

    Attributes:
        grid: what ``Bundle.act`` and ``Bundle.predict`` read.
    """

    grid: LiveGrid

    def __init__(self, period: float, limits: Limits, rows: int) -> None:
        self._period, self._limits = period, limits
        self._samples: deque[tuple[float, Vector, Vector | None]] = deque(maxlen=_REMEMBERED * limits.ticks_per_period)
        self._acts = -math.inf
        self._build(rows)

    def clear(self) -> None:
        """Nothing before counts any more."""
        self._samples.clear()
        self.grid.clear()
        self._acts = -math.inf

    def add_state(self, state: State) -> bool:
        """Takes a measured state; False where it is older than the newest one."""
        taken = self.grid.add_state(state.time, state.position, state.velocity)
        if taken:
            self._samples.append((state.time, state.position, state.velocity))
        return taken

    def add_command(self, acts: float, command: Vector) -> None:
        """Takes a command [A] that acts from ``acts`` [s] on; never before one that was sent earlier. nan: nobody knows."""
        if math.isnan(acts):
            return
        # A new bundle may state a shorter delay: its first command cannot overtake those under way.
        self._acts = max(self._acts, acts)
        self._samples.append((self._acts, command, None))
        self.grid.add_command(self._acts, command)

    def widen(self, rows: int) -> None:
        """Makes the grid hold at least ``rows``, filled from what is remembered."""
        if self.grid.rows < rows:
            self._build(rows)

    def _build(self, rows: int) -> None:
        limits = self._limits
        continuous = np.isinf(limits.position_lower) & np.isinf(limits.position_upper)
        self.grid = LiveGrid(self._period, rows, len(limits.joints), len(limits.actions), continuous=continuous)
        for time, values, velocity in self._samples:
            if velocity is None:
                self.grid.add_command(time, values)
            else:
                self.grid.add_state(time, values, velocity)
