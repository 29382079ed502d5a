"""Cuts a recording into trials: uninterrupted runs on one clock.

A trial begins with a ``trial`` message, after a gap or after a jump that no joint makes, and ends at a reset. A clock that jumps
back is accepted where a ``trial`` message announces the reset, and refused elsewhere: what happened there is not known.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun.bags.signals import SAME_CLOCK, Commands, Marker, States
from forerun.reach import JITTER, Reach, jump
from forerun_sim.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SETTLE = 0.3
"""Seconds that rows wait for what is still under way where a stream is cut while it runs; between two jumps less is no run."""
IN_FLIGHT = 20
"""Messages of different topics may be recorded in another order than they were sent; around a reset by at most so many."""
BEHIND = 1000
"""With so many messages of a topic a recorder on a busy machine may be behind, while it is up to date with the others."""


@dataclass(frozen=True)
class Segment:
    """One run: which states and commands belong to it, on what times.

    Attributes:
        states: [n] rows of States, times rising strictly.
        time: [n] their times [ns].
        commands: [m] rows of Commands.
        command_time: [m] their times on the clock of the states [ns], rising strictly.
        data: what the ``trial`` message said, with ``part`` where gaps or jumps split the trial.
        jump: what no joint does and yet was measured between the segment before and this one; empty where nothing was.
        torn: whether the next segment begins with such a jump.
    """

    states: Ints
    time: Ints
    commands: Ints
    command_time: Ints
    data: dict[str, Any]
    jump: str = ""
    torn: bool = False

    @property
    def fragment(self) -> bool:
        """Too short a run beside a jump: what of several publishers or of a broken sensor it is, nobody knows."""
        beside = bool(self.jump) or self.torn
        return beside and int(self.time[-1] - self.time[0]) < SETTLE * 1e9


@dataclass(frozen=True)
class _Bound:
    """A segment begins at state ``row``; commands from bag position ``order`` on belong to it."""

    row: int
    order: int
    data: dict[str, Any]


def cut(
    path: Path,
    states: States,
    commands: Commands,
    markers: list[Marker],
    period: float,
    notes: list[str],
    longest: float | None = None,
    reach: Reach | None = None,
) -> list[Segment]:
    """The segments of a bag, in the order of recording; segments without states are left out.

    Args:
        path: of the bag, for messages.
        period: control period [s].
        notes: gets what was dropped or split.
        longest: time between two states [ns] up to which they belong together; that of these states if absent.
        reach: of the joints; states further apart than that belong to different runs. Everything is believed if absent.

    Raises:
        InputError: a clock goes back by more than a control period and no ``trial`` message says why.
    """
    tolerance = round(period * 1e9)
    if longest is None:
        longest = longest_step(np.diff(states.time), period)
    bounds = _settle(path, states, _announced(states, commands, markers, longest), tolerance)
    begins = {bound.row for bound in bounds}
    gaps = _gaps(states, begins, longest, notes)
    jumps = {} if reach is None else _jumps(states, begins.union(gaps), reach, period, notes)
    bounds = _split(states, bounds, sorted([*gaps, *jumps]))
    if _other_clock(states, commands):
        notes.append(f"{commands.topic} was received on another clock than {states.topic} is stamped with; it was carried over")
    segments, late, twice = [], 0, 0
    for number, bound in enumerate(bounds):
        end = bounds[number + 1] if number + 1 < len(bounds) else _Bound(len(states), np.iinfo(np.int64).max, {})
        rows = np.arange(bound.row, end.row)
        keep, dropped = _rising(states.time[rows])
        late, twice = late + dropped[0], twice + dropped[1]
        told = np.flatnonzero((commands.order >= bound.order) & (commands.order < end.order))
        times = _on_states_clock(states, commands, rows, told)
        kept = _settled_commands(path, commands.topic, times, tolerance)
        segments.append(
            Segment(
                rows[keep],
                states.time[rows][keep],
                told[kept],
                times[kept],
                bound.data,
                jumps.get(bound.row, ""),
                end.row in jumps,
            )
        )
    if twice:
        notes.append(f"{twice} messages on {states.topic} with the time of the next one were dropped")
    if late:
        notes.append(f"{late} messages on {states.topic} that came late (by up to a control period) were dropped")
    return segments


def longest_step(steps: Ints, period: float) -> float:
    """Time between two states [ns] up to which they belong together, where usual ones are ``steps`` [ns] apart."""
    rising = steps[steps > 0]
    return max(5 * float(np.median(rising)) if len(rising) else 0.0, 3e9 * period)


def _announced(states: States, commands: Commands, markers: list[Marker], longest: float) -> list[_Bound]:
    """Where ``trial`` messages say that a segment begins, and the beginning of the bag."""
    gaps = np.flatnonzero(np.diff(states.time) > longest) + 1
    bounds = [_Bound(0, np.iinfo(np.int64).min, {})]
    for marker in markers:
        row = said = int(np.searchsorted(states.order, marker.order))
        stamp = marker.data.get("stamp_ns")
        if isinstance(stamp, int):
            row = _first_from(states.time, said, stamp)
        elif len(gaps):
            # A robot that was reset pauses: a gap nearby is where the trial began.
            nearest = int(gaps[np.abs(gaps - row).argmin()])
            row = nearest if abs(nearest - row) <= IN_FLIGHT else row
        before = int(states.order[row]) if row < len(states) else marker.order
        order = min(marker.order, before)
        if isinstance(stamp, int) and abs(row - said) > IN_FLIGHT:
            order = _first_command(commands, before, stamp)
        bounds.append(_Bound(row, order, marker.data))
    return _nonempty(bounds, len(states))


def _first_from(time: Ints, row: int, stamp: int) -> int:
    """The row near ``row`` at which the states reach ``stamp`` [ns], or jump back to it; ``row`` if there is none."""
    for candidate in range(max(row - IN_FLIGHT, 0), min(row + IN_FLIGHT, len(time))):
        before = time[candidate - 1] if candidate else np.iinfo(np.int64).min
        if time[candidate] >= stamp and (before < stamp or before > time[candidate]):
            return candidate
    reached = np.flatnonzero((time[1:] >= stamp) & (time[:-1] < stamp)) + 1
    distance = np.abs(reached - row)
    return int(reached[distance.argmin()]) if len(reached) and distance.min() <= BEHIND else row


def _first_command(commands: Commands, order: int, stamp: int) -> int:
    """Bag position of the first command from ``stamp`` [ns] on, near position ``order``, which counts where they have none."""
    if not commands.stamped:
        return order
    row = _first_from(commands.time, int(np.searchsorted(commands.order, order)), stamp)
    return int(commands.order[row]) if row < len(commands) else order


def _nonempty(bounds: list[_Bound], rows: int) -> list[_Bound]:
    """``bounds`` in order, the later one where two begin at the same row, none at the end."""
    by_row = {bound.row: bound for bound in bounds if bound.row < rows}
    return [by_row[row] for row in sorted(by_row)]


def _settle(path: Path, states: States, bounds: list[_Bound], tolerance: int) -> list[_Bound]:
    """``bounds`` moved by a few messages to where the clock jumps back, if it does."""
    time = states.time
    settled: list[_Bound] = []
    waiting = list(bounds)
    while waiting:
        bound = waiting.pop(0)
        end = waiting[0].row if waiting else len(time)
        part = time[bound.row : end]
        back = np.flatnonzero(part < np.maximum.accumulate(part) - tolerance)
        if not len(back):
            settled.append(bound)
            continue
        jump = bound.row + int(back[0])
        if len(settled) and jump - bound.row <= IN_FLIGHT:
            waiting.insert(0, _Bound(jump, bound.order, bound.data))
        elif waiting and end - jump <= IN_FLIGHT:
            waiting[0] = _Bound(jump, min(waiting[0].order, int(states.order[jump])), waiting[0].data)
            waiting.insert(0, bound)
        else:
            raise InputError(_goes_back(path, states.topic, part, int(back[0]), jump))
    return settled


def _goes_back(path: Path, topic: str, time: Ints, at: int, message: int) -> str:
    before = int(time[:at].max())
    return (
        f"{path}: topic {topic}: time goes backwards by {(before - int(time[at])) / 1e9:.3f} s, from {before / 1e9:.6f} s to "
        f"{int(time[at]) / 1e9:.6f} s at message {message + 1}, and no 'trial' message says that the robot was reset there. "
        "Cut the recording at that place, or record 'trial'"
    )


def _gaps(states: States, begins: set[int], longest: float, notes: list[str]) -> list[int]:
    """Rows that begin after a gap, where no segment ``begins`` anyway."""
    steps = np.diff(states.time)
    gaps = [int(row) + 1 for row in np.flatnonzero(steps > longest) if row + 1 not in begins]
    if gaps:
        notes.append(
            f"{len(gaps)} gaps in {states.topic} longer than {longest / 1e9:.3f} s split trials "
            f"(longest {int(steps[np.array(gaps) - 1].max()) / 1e9:.3f} s)"
        )
    return gaps


def _jumps(states: States, begins: set[int], reach: Reach, period: float, notes: list[str]) -> dict[int, str]:
    """Rows that no joint gets to from the row before, where no segment ``begins`` anyway, and what happened there."""
    # Messages without stamps are known by their arrival alone, and those may come all at once.
    jitter = max(period, JITTER) if states.stamped else max(5 * period, 5 * JITTER)
    far = reach.beyond(np.diff(states.position, axis=0), np.abs(np.diff(states.time)) * 1e-9 + jitter)
    jumps = {}
    for row in (np.flatnonzero(far.any(axis=1)) + 1).tolist():
        if row not in begins:
            joint = int(far[row - 1].argmax())
            jumps[row] = jump(states.topic, reach.joints[joint], *states.position[row - 1 : row + 1, joint])
    if jumps:
        notes.append(f"{len(jumps)} jumps split trials; the first: {next(iter(jumps.values()))}")
    return jumps


def _split(states: States, bounds: list[_Bound], rows: list[int]) -> list[_Bound]:
    """``bounds`` and those that begin at ``rows``, in parts numbered from 0 where there are several."""
    if not rows:
        return bounds
    split: list[_Bound] = []
    for bound, end in zip(bounds, [*(bound.row for bound in bounds[1:]), len(states)], strict=True):
        inside = [row for row in rows if bound.row < row < end]
        data = {**bound.data, "part": 0} if inside else bound.data
        split.append(_Bound(bound.row, bound.order, data))
        for part, row in enumerate(inside, start=1):
            split.append(_Bound(row, int(states.order[row - 1]), {**data, "part": part}))
    return split


def _rising(time: Ints) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Which rows to keep so that times rise strictly: late ones go, of equal ones the last stays; and how many of each went."""
    in_order = time >= np.maximum.accumulate(time) if len(time) else np.zeros(0, bool)
    rows = np.flatnonzero(in_order)
    unique = np.append(np.diff(time[rows]) > 0, [True])[: len(rows)]
    keep = np.zeros(len(time), bool)
    keep[rows[unique]] = True
    return keep, (int((~in_order).sum()), int((~unique).sum()))


def _settled_commands(path: Path, topic: str, time: Ints, tolerance: int) -> Ints:
    """Which of a segment's commands to keep; the first and last few may be from the other side of a reset."""
    begin, end = 0, len(time)
    while True:
        part = time[begin:end]
        back = np.flatnonzero(part < np.maximum.accumulate(part) - tolerance) if len(part) else part
        if not len(back):
            return begin + np.flatnonzero(_rising(part)[0])
        jump = begin + int(back[0])
        if jump <= IN_FLIGHT:
            begin = jump
        elif len(time) - jump <= IN_FLIGHT:
            end = jump
        else:
            raise InputError(_goes_back(path, topic, part, int(back[0]), jump))


def _other_clock(states: States, commands: Commands) -> bool:
    if commands.stamped or not states.stamped:
        return False
    return abs(float(np.median(states.received - states.time))) > SAME_CLOCK


def _on_states_clock(states: States, commands: Commands, rows: Ints, told: Ints) -> Ints:
    """Times [ns] of the commands ``told``; receive times are carried over along the states' own (received, stamp) pairs."""
    if not _other_clock(states, commands):
        return commands.time[told]
    origin = states.received[rows[0]]
    received = np.maximum.accumulate(states.received[rows]) - origin
    ahead = (states.received[rows] - states.time[rows]).astype(np.float64)
    given = commands.received[told] - origin
    return np.asarray(commands.received[told] - np.round(np.interp(given, received, ahead)).astype(np.int64))
