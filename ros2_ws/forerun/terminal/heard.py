"""What a listener hears of a robot and its nodes: the newest of each status, and a few seconds of each stream."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WINDOW = 5.0
"""Rates and errors are those of the last seconds [s]."""
_MOST = 10_000
"""Messages of a stream that are kept: 5 s at 2 kHz."""
_FORECASTS = 100
_LEVELS = ("OK", "WARN", "ERROR", "STALE")


@dataclass(frozen=True)
class Status:
    """One status of /diagnostics.

    Attributes:
        level: OK, WARN, ERROR or STALE.
        values: as they were sent; keys of other nodes may be anything.
        at: when it was heard [s].
    """

    level: str
    message: str
    values: dict[str, str]
    at: float


@dataclass(frozen=True)
class Measured:
    """Of one stream: its rate [Hz], percentiles of its period [ms] and the age of its newest message [s]; nan where unknown."""

    rate: float
    p50: float
    p99: float
    age: float


class Stream:
    """When messages of one topic arrived."""

    def __init__(self) -> None:
        self._times: deque[float] = deque(maxlen=_MOST)

    def add(self, now: float) -> None:
        """One arrived at ``now`` [s]."""
        self._times.append(now)
        while now - self._times[0] > WINDOW:
            self._times.popleft()

    def measured(self, now: float) -> Measured:
        """Its figures, of the messages of the last seconds."""
        times = np.array([time for time in self._times if now - time <= WINDOW])
        age = now - self._times[-1] if self._times else math.nan
        if len(times) < 2:
            return Measured(0.0, math.nan, math.nan, age)
        periods = np.diff(times)
        p50, p99 = np.percentile(periods, (50, 99)) * 1e3
        return Measured(float(1.0 / periods.mean()), float(p50), float(p99), age)


class Forecast(NamedTuple):
    """What a plan made at ``begin`` expects: ``times`` [H] of the states' clock [s], ``states`` [H, 2J] of ``joints``."""

    joints: tuple[str, ...]
    begin: float
    times: Floats
    states: Floats


@dataclass
class Heard:
    """All that a listener keeps, in bounded memory.

    Attributes:
        statuses: of each node by part: ``controller: timing`` is node ``controller``, part ``timing``.
        states, commands: when their messages came.
        joints: of the newest joint_states.
        rows: (stamp [s], [2J] positions and velocities) of the last seconds.
        forecasts: plans of the last seconds.
        announced: newest text on ``bundle``.
    """

    statuses: dict[str, dict[str, Status]] = field(default_factory=dict)
    states: Stream = field(default_factory=Stream)
    commands: Stream = field(default_factory=Stream)
    joints: tuple[str, ...] = ()
    rows: deque[tuple[float, Floats]] = field(default_factory=lambda: deque(maxlen=_MOST))
    forecasts: deque[Forecast] = field(default_factory=lambda: deque(maxlen=_FORECASTS))
    announced: str = ""

    def status(self, name: str, level: int, message: str, values: Mapping[str, str], now: float) -> None:
        """One status, heard at ``now`` [s]; ``level`` as diagnostic_msgs numbers it."""
        node, _, part = name.rpartition(": ")
        said = _LEVELS[level] if 0 <= level < len(_LEVELS) else str(level)
        self.statuses.setdefault(node or part, {})[part] = Status(said, message, dict(values), now)

    def state(
        self, joints: Sequence[str], position: Sequence[float], velocity: Sequence[float], stamp: float, now: float
    ) -> None:
        """One message of joint_states, stamped ``stamp`` and heard at ``now`` [s]. Incomplete ones count for the rate alone."""
        self.states.add(now)
        names = tuple(joints)
        if not names or not len(names) == len(position) == len(velocity):
            return
        if names != self.joints or (self.rows and stamp < self.rows[-1][0]):
            self.joints = names
            self.rows.clear()
        self.rows.append((stamp, np.array([*position, *velocity])))
        while stamp - self.rows[0][0] > WINDOW:
            self.rows.popleft()

    def forecast(self, joints: Sequence[str], begin: float, times: Sequence[float], states: Sequence[Sequence[float]]) -> None:
        """What a plan made at ``begin`` expects: ``states`` [H, 2J] at ``times`` [H] of the states' clock [s]."""
        rows = np.array(states, dtype=np.float64)
        if len(times) and rows.shape == (len(times), 2 * len(joints)):
            self.forecasts.append(Forecast(tuple(joints), begin, np.array(times, dtype=np.float64), rows))
