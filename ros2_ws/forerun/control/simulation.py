"""A plant on the wall clock: commands act at the moment at which they arrived, whenever the plant is stepped."""

from __future__ import annotations

from collections import deque
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

Vector = NDArray[np.float64]


class Reads(Protocol):
    """What a plant reports: at ``time`` [s], position, velocity and effort [J], and its inertial unit, or None."""

    @property
    def time(self) -> float: ...
    @property
    def position(self) -> Vector: ...
    @property
    def velocity(self) -> Vector: ...
    @property
    def effort(self) -> Vector: ...
    @property
    def imu(self) -> Any: ...


class Steps(Protocol):
    """What this module needs of a plant."""

    episode: int

    def reset(self, episode: int | None = None) -> Any: ...
    def advance(self, command: ArrayLike, substeps: int) -> None: ...
    def read(self) -> Any: ...


class Simulation:
    """Steps a plant from reading to reading, with every command from the physics step on in which it arrived.

    Simulated time goes on over episodes. A command older than ``timeout`` is replaced by the idle command: no effort, no
    velocity, the last position.

    Args:
        plant: of J joints and A actions.
        step: physics step [s].
        held: [A] whether an action is a position, which the joint keeps.
        timeout: [s], infinite for none.

    Attributes:
        time: simulated time [s].
        idle: [A] what acts without a command.
    """

    def __init__(self, plant: Steps, step: float, held: NDArray[np.bool_], timeout: float) -> None:
        self._plant = plant
        self._step = step
        self._held = held
        self._timeout = timeout
        self._arrived: deque[tuple[float, Vector]] = deque()
        self._current: Vector | None = None
        self._expires = float("inf")
        self.idle = np.zeros(len(held))
        self.time = 0.0

    def begin(self, time: float, idle: Vector, episode: int | None = None) -> Reads:
        """Starts an episode (the next one if None) at simulated ``time`` [s]; ``idle`` [A] acts until a command comes."""
        self.time = time
        self._arrived.clear()
        self._current, self._expires, self.idle = None, float("inf"), idle
        reading: Reads = self._plant.reset(episode)
        return reading

    def command(self, time: float, values: Vector) -> None:
        """A command [A] arrived at simulated ``time`` [s]. From any thread."""
        self._arrived.append((time, values))

    def advance(self, until: float) -> Reads | None:
        """Steps to simulated time ``until`` [s] and reads; None where the reading dropped out."""
        steps = max(round((until - self.time) / self._step), 0)
        done = 0
        while done < steps:
            self._take(self.time + self._step)
            count = min(self._steps_unchanged(), steps - done)
            self._plant.advance(self.idle if self._current is None else self._current, count)
            self.time += count * self._step
            done += count
        reading: Reads | None = self._plant.read()
        return reading

    def _take(self, before: float) -> None:
        while self._arrived and self._arrived[0][0] < before:
            time, self._current = self._arrived.popleft()
            self.idle = np.where(self._held, self._current, 0.0)
            self._expires = time + self._timeout
        if self.time >= self._expires:
            self._current = None

    def _steps_unchanged(self) -> int:
        """Physics steps until the next command arrives or the current one expires; at least 1."""
        change = self._expires if self._current is not None else float("inf")
        if self._arrived:
            change = min(change, self._arrived[0][0])
        if change == float("inf"):
            return 1 << 30
        return max(int((change - self.time) / self._step), 1)
