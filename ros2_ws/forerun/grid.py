"""The control grid: timed samples become states and actions at equal steps, for bags and for the live stream alike.

A trial's grid has its rows at ``t_i = start + i * period``.

- **State** of row i: linear interpolation of the measured positions and velocities at ``t_i``.
- **Action** of row i: the mean over ``[t_i, t_i + period)`` of the zero-order-held command, an exact integral.

The bag reader calls the functions on whole recordings, ``LiveGrid`` calls the same functions on the newest samples, so a model
sees on the robot what it saw in training. Needs numpy alone: the controller runs this in its loop.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SLACK = 1e-6
"""Fraction of a period by which the last row may lie beyond the last sample: rounding must not cost a row."""


def interpolate(times: Floats, values: Floats, at: Floats) -> Floats:
    """Linear interpolation, held at both ends.

    Args:
        times: [N] rising strictly, N >= 1.
        values: [N, D].
        at: [M] in any order.

    Returns:
        [M, D].
    """
    if len(times) == 1:
        return np.repeat(values, len(at), axis=0)
    at = np.clip(at, times[0], times[-1])
    left = np.clip(np.searchsorted(times, at, side="right") - 1, 0, len(times) - 2)
    weight = (at - times[left]) / (times[left + 1] - times[left])
    low = values[left]
    return np.asarray(low + weight[:, None] * (values[left + 1] - low))


def mean_held(times: Floats, values: Floats, begin: Floats, end: Floats) -> Floats:
    """Means of a zero-order-held signal over ``[begin, end)``.

    The value given at ``times[j]`` holds until ``times[j + 1]``, the last one for ever; before ``times[0]`` the first one counts.

    Args:
        times: [N] rising strictly, N >= 1.
        values: [N, D].
        begin: [M].
        end: [M], each above its ``begin``.

    Returns:
        [M, D].
    """
    integral = np.zeros_like(values)
    np.cumsum(values[:-1] * np.diff(times)[:, None], axis=0, out=integral[1:])
    first = np.maximum(np.searchsorted(times, begin, side="right") - 1, 0)
    last = np.maximum(np.searchsorted(times, end, side="left") - 1, 0)
    until_begin = integral[first] + values[first] * (begin - times[first])[:, None]
    until_end = integral[last] + values[last] * (end - times[last])[:, None]
    mean = (until_end - until_begin) / (end - begin)[:, None]
    # Where the command does not change within the interval its mean is the command itself, to the last bit.
    return np.where((first == last)[:, None], values[first], mean)


def grid_times(begin: float, end: float, period: float) -> Floats:
    """Row times [T] from ``begin`` on, the last one not after ``end`` (T >= 1)."""
    rows = math.floor((end - begin) / period + _SLACK) + 1
    return np.asarray(begin + period * np.arange(max(rows, 1)))


def resample(
    state_times: Floats, states: Floats, command_times: Floats, commands: Floats, period: float
) -> tuple[Floats, Floats, Floats]:
    """One uninterrupted recording on the control grid.

    The grid starts at the first complete row: the first state at which a command is known.

    Args:
        state_times: [N] s, rising strictly.
        states: [N, S] positions (unwrapped), then velocities.
        command_times: [M] s, rising strictly, on the same clock.
        commands: [M, A].
        period: of the grid [s].

    Returns:
        Times [T], states [T, S], actions [T, A]; T = 0 where no row is complete.
    """
    if not len(state_times) or not len(command_times) or state_times[-1] < command_times[0]:
        return np.empty(0), np.empty((0, states.shape[1])), np.empty((0, commands.shape[1]))
    begin = first_complete(state_times, float(command_times[0]))
    rows = grid_times(begin, float(state_times[-1]), period)
    return rows, interpolate(state_times, states, rows), mean_held(command_times, commands, rows, rows + period)


def first_complete(state_times: Floats, first_command: float) -> float:
    """Time of the first state at which a command is known; NaN if there is none yet."""
    index = int(np.searchsorted(state_times, first_command, side="left"))
    return float(state_times[index]) if index < len(state_times) else math.nan


def turns(before: Floats, after: Floats) -> Floats:
    """Whole turns to add to ``after`` so that it is within half a turn of ``before``, both in rad as measured (any shape)."""
    return np.asarray(-np.round((after - before) / (2 * np.pi)))


def unwrap(positions: Floats, continuous: NDArray[np.bool_]) -> Floats:
    """Positions [N, J] with the jumps of wrapped joints removed, where ``continuous`` [J] says so."""
    unwrapped = positions.copy()
    measured = positions[:, continuous]
    unwrapped[1:, continuous] += 2 * np.pi * np.cumsum(turns(measured[:-1], measured[1:]), axis=0)
    return unwrapped


class LiveGrid:
    """The last ``history`` rows of the grid that ends now, from samples as they arrive. Memory and time per call are bounded.

    Row i < K - 1 is the state at ``t_i = now - (K - 1 - i) * period`` and the mean command over ``[t_i, t_i + period)``, the
    numbers that the bag reader finds once the samples are in a bag. The last row is the newest state, held, and the command
    under way (the last one sent). Rows before the first complete row repeat it, as models were trained to expect.
    """

    def __init__(
        self,
        period: float,
        history: int,
        joints: int,
        actions: int,
        *,
        continuous: ArrayLike | None = None,
        idle_command: ArrayLike | None = None,
        max_rate: float = 2000.0,
    ) -> None:
        """
        Args:
            period: control period [s].
            history: K, rows that a model reads.
            joints: J.
            actions: A.
            continuous: [J] bool, joints whose measured position may jump by whole turns; none if absent.
            idle_command: [A] what the robot does before its first command, zeros if absent.
            max_rate: samples per second up to which the whole history is kept; faster streams lose its oldest part.
        """
        self.period, self.rows, self.joints = period, history, joints
        self._continuous = np.zeros(joints, bool) if continuous is None else np.asarray(continuous, bool)
        self._idle = np.zeros(actions) if idle_command is None else np.asarray(idle_command, float)
        capacity = max(16, math.ceil((history + 2) * period * max_rate))
        self._states = _Ring(capacity, 2 * joints)
        self._commands = _Ring(capacity, actions)
        self._back = period * np.arange(history - 1, -1, -1)
        self.clear()

    def clear(self) -> None:
        """Forget everything, as at the start of a trial."""
        self._states.clear()
        self._commands.clear()
        self._origin: float | None = None
        self._start = math.nan
        self._measured: Floats | None = None
        self._turns = np.zeros(self.joints)

    @property
    def ready(self) -> bool:
        """True once a state is known."""
        return len(self._states) > 0

    @property
    def newest(self) -> float:
        """Time of the newest state [s]; minus infinity if there is none."""
        return float(self._states.times[-1]) + (self._origin or 0.0) if self.ready else -math.inf

    @property
    def first(self) -> float:
        """Time of the first complete row [s]; nan while there is none."""
        return self._start + (self._origin or 0.0)

    def add_state(self, time: float, position: ArrayLike, velocity: ArrayLike) -> bool:
        """Take a measured state: ``time`` [s], ``position`` and ``velocity`` [J] as measured.

        Returns:
            False where it is older than the newest one and was not taken. One with the same time replaces it.
        """
        time = self._relative(time)
        if self.ready and time < self._states.times[-1]:
            return False
        measured = np.asarray(position, float)
        if self._measured is not None:
            self._turns += np.where(self._continuous, turns(self._measured, measured), 0.0)
        self._measured = measured
        self._states.put(time, np.concatenate([measured + 2 * np.pi * self._turns, np.asarray(velocity, float)]))
        if math.isnan(self._start) and len(self._commands) and time >= self._commands.times[0]:
            self._start = time
        return True

    def add_command(self, time: float, command: ArrayLike) -> bool:
        """Take a command [A] in physical units that was sent at ``time`` [s]; False where it is older than the newest one."""
        time = self._relative(time)
        if len(self._commands) and time < self._commands.times[-1]:
            return False
        self._commands.put(time, np.asarray(command, float))
        if math.isnan(self._start) and self.ready:
            self._start = first_complete(self._states.times, float(self._commands.times[0]))
        return True

    def history(self, now: float) -> NDArray[np.float32]:
        """History [K, S + A] that ends at ``now`` [s]: positions (unwrapped), velocities, command.

        Raises:
            ValueError: no state is known yet.
        """
        if not self.ready:
            raise ValueError("no state has been added yet")
        return self._ending(self._relative(now))

    def _ending(self, now: float) -> NDArray[np.float32]:
        state_times, states = self._states.times, self._states.values
        commands = self._commands.values if len(self._commands) else self._idle[None]
        command_times = self._commands.times if len(self._commands) else state_times[:1]
        start = state_times[-1] if math.isnan(self._start) else self._start
        begin = np.maximum(now - self._back, start)
        out = np.empty((self.rows, states.shape[1] + commands.shape[1]), np.float32)
        out[:, : states.shape[1]] = interpolate(state_times, states, begin)
        out[:, states.shape[1] :] = mean_held(command_times, commands, begin, begin + self.period)
        out[-1, : states.shape[1]] = states[-1]
        out[-1, states.shape[1] :] = commands[-1]
        return out

    def outlook(self, until: float) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
        """The newest measured state with its past, and what acts from then until ``until`` [s].

        Commands count from the time with which they were added, which may lie ahead; the last one holds for ever.

        Returns:
            History [K, S + A] that ends at the newest state's time; commands [n + 1, A], the means over the n whole periods up
            to ``until`` and, last, over the rest (the command at ``until`` where there is none); length of the rest [s]. An
            ``until`` before the newest state counts as that state's time.

        Raises:
            ValueError: no state is known yet.
        """
        if not self.ready:
            raise ValueError("no state has been added yet")
        newest = float(self._states.times[-1])
        lead = max(self._relative(until) - newest, 0.0)
        whole = math.floor(lead / self.period + _SLACK)
        rest = max(lead - whole * self.period, 0.0)
        begin: Floats = newest + self.period * np.arange(whole + 1, dtype=np.float64)
        end = begin + self.period
        # Where nothing is left of a period, the instant before its end says which command is under way.
        end[-1] = begin[-1] + rest
        if rest <= _SLACK * self.period:
            begin[-1], end[-1], rest = begin[-1] - _SLACK * self.period, begin[-1], 0.0
        times, values = self._commands.times, self._commands.values
        if not len(times):
            times, values = np.zeros(1), self._idle[None]
        commands = mean_held(times, values, begin, end).astype(np.float32)
        return self._ending(newest), commands, rest

    def _relative(self, time: float) -> float:
        # Seconds since 1970 leave 0.2 us of a float; differences to a near origin are exact.
        if self._origin is None:
            self._origin = time
        return time - self._origin


class _Ring:
    """The newest ``capacity`` rows, contiguous: written along an array of twice that size, moved to its front at the end."""

    def __init__(self, capacity: int, width: int) -> None:
        self._capacity = capacity
        self._times = np.empty(2 * capacity)
        self._values = np.empty((2 * capacity, width))
        self.clear()

    def clear(self) -> None:
        self._begin = self._end = 0

    def __len__(self) -> int:
        return self._end - self._begin

    @property
    def times(self) -> Floats:
        return self._times[self._begin : self._end]

    @property
    def values(self) -> Floats:
        return self._values[self._begin : self._end]

    def put(self, time: float, row: Floats) -> None:
        """Append a row; one with the time of the newest replaces it."""
        if len(self) and time == self._times[self._end - 1]:
            self._values[self._end - 1] = row
            return
        if self._end == len(self._times):
            keep = self._capacity - 1
            self._times[:keep] = self._times[self._end - keep :]
            self._values[:keep] = self._values[self._end - keep :]
            self._begin, self._end = 0, keep
        self._times[self._end] = time
        self._values[self._end] = row
        self._end += 1
        self._begin = max(self._begin, self._end - self._capacity)
