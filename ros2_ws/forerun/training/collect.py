"""Cuts the live stream into trials on the control grid, by the rule and with the functions by which bags are cut.

Messages wait in memory for a moment, so that what overtook something else finds its place; then ``bags.cut`` says where trials
begin, and the rows that have become complete leave with ``take``. What they were made from is forgotten. The rows of a trial, put
together, are those that the same recording gives as a bag (a test holds them equal).
"""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun.bags.cut import IN_FLIGHT, SETTLE, Segment, cut, longest_step
from forerun.bags.signals import Commands, Marker, States, stamp_or_receipt
from forerun.control.states import StateReader
from forerun.grid import first_complete, grid_times, interpolate, mean_held, unwrap
from forerun.reach import Reach
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec

Floats = NDArray[np.float64]

SILENCE = 2.0
"""Seconds without a state after which a trial is over, whatever comes then."""
_IDLE = 3
"""Calls of ``take`` without a new state that make a silence: after a stall, what came meanwhile waits to be read."""
_MOST = 100_000
"""Messages of a kind that wait at most; of more the oldest go."""
_STEPS = 1000


@dataclass(frozen=True)
class Rows:
    """Successive rows of a trial that have become complete.

    Attributes:
        states, actions: [n, S], [n, A]; n may be 0 where a trial ends.
        start: time of the first of them [s].
        data: what the ``trial`` message said, with ``part`` where a gap came before.
        begins, ends: whether they are a trial's first and last ones.
    """

    states: NDArray[np.float32]
    actions: NDArray[np.float32]
    start: float
    data: dict[str, Any]
    begins: bool
    ends: bool


@dataclass
class _Trial:
    """The trial under way: ``begin`` [s] of its grid after ``origin`` [ns], the ``next`` row, whole turns [J] so far."""

    origin: int
    begin: float
    data: dict[str, Any]
    turns: Floats
    next: int = 0


@dataclass
class _Waiting:
    """Messages of one topic: receive time and stamp [ns], values."""

    received: deque[int] = field(default_factory=lambda: deque(maxlen=_MOST))
    stamp: deque[int] = field(default_factory=lambda: deque(maxlen=_MOST))
    values: deque[Floats] = field(default_factory=lambda: deque(maxlen=_MOST))

    def __len__(self) -> int:
        return len(self.received)

    def add(self, received: int, stamp: int, values: Floats) -> None:
        self.received.append(received)
        self.stamp.append(stamp)
        self.values.append(values)

    def drop(self, count: int) -> None:
        """Forgets the oldest ``count``."""
        for _ in range(min(count, len(self))):
            for column in (self.received, self.stamp, self.values):
                column.popleft()

    def arrays(self, width: int) -> tuple[NDArray[np.int64], NDArray[np.int64], Floats]:
        received, stamp = (np.array(column, np.int64) for column in (self.received, self.stamp))
        return received, stamp, np.array(self.values, np.float64).reshape(len(self), width)


class Collector:
    """Takes the messages of each topic in the order of their arrival; not thread-safe.

    Args:
        spec: the robot; gives joints, actuated joints and the control rate.

    Attributes:
        notes: the newest remarks about what was dropped, for whoever shows them.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self._spec = spec
        self._reader = StateReader(spec.joint_names)
        self._reach = Reach.of(spec)
        self._continuous = np.array([joint.type == "continuous" for joint in spec.joints])
        self._states, self._commands = _Waiting(), _Waiting()
        self._markers: list[Marker] = []
        self._steps: deque[int] = deque(maxlen=_STEPS)
        self._trial: _Trial | None = None
        self._said: dict[str, Any] = {}
        self._part = self._idle = 0
        self._jump = ""  # before what waits
        self.notes: deque[str] = deque(maxlen=20)

    # Messages ----------------------------------------------------------------------------------------------------------

    def add_state(
        self, received: int, stamp: int, names: Sequence[str], position: Sequence[float], velocity: Sequence[float]
    ) -> None:
        """A JointState that arrived at ``received`` and is stamped ``stamp`` [ns], 0 where it is not.

        Raises:
            StateRefused: a joint is missing, an array has the wrong length, or a value is not finite.
        """
        values = np.concatenate(self._reader.read(names, position, velocity))
        if len(self._states) and (step := (stamp or received) - (self._states.stamp[-1] or self._states.received[-1])) > 0:
            self._steps.append(step)
        self._states.add(received, stamp, values)
        self._idle = 0

    def add_command(self, received: int, values: Sequence[float], stamp: int = 0) -> None:
        """A command [A] in the order of the actuated joints.

        Raises:
            InputError: it has another size, or is not finite.
        """
        command = np.asarray(values, np.float64)
        if command.shape != (self._spec.action_size,) or not np.isfinite(command).all():
            names = ", ".join(self._spec.action_names)
            raise InputError(
                f"commands: {command.tolist()}; robot '{self._spec.name}' takes a finite number for each of: {names}"
            )
        self._commands.add(received, stamp, command)

    def add_trial(self, received: int, text: str) -> None:
        """A ``trial`` message: another trial begins."""
        data: Any = None
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            self.notes.append(f"a message on trial is no JSON ({error}); it starts a trial without a name")
        self._markers.append(Marker(received, received, data if isinstance(data, dict) and data else {"id": ""}))

    @property
    def waiting(self) -> int:
        """Messages in memory."""
        return len(self._states) + len(self._commands)

    # Rows --------------------------------------------------------------------------------------------------------------

    def take(self, now: int | None = None, *, all: bool = False) -> list[Rows]:
        """The rows that have become complete, in order; to be called a few times a second.

        Args:
            now: on the clock of the receive times [ns]; after ``SILENCE`` the trial is over.
            all: the stream ends here.
        """
        if not len(self._states):
            self._commands.drop(len(self._commands) - _STEPS)
            del self._markers[:-IN_FLIGHT]
            return []
        self._idle += 1
        silent = self._idle > _IDLE and now is not None and now - self._states.received[-1] > SILENCE * 1e9
        if not (all or silent) and any(self._young(marker) for marker in self._markers):
            return []
        states, commands = self._signals()
        longest = longest_step(np.array(self._steps, np.int64), self._spec.control.period)
        try:
            segments = cut(Path("live"), states, commands, self._markers, self._spec.control.period, [], longest, self._reach)
        except InputError as error:
            self.notes.append(f"{error}; the trial ends there, and another begins")
            self._forget()
            return self._end()
        out: list[Rows] = []
        for number, segment in enumerate(segments):
            said = {key: value for key, value in segment.data.items() if key != "part"}
            if number or said:
                out += self._end()
            if said:
                self._said, self._part = said, 0
            elif number:
                self._part += 1
            if segment.jump:
                self.notes.append(f"{segment.jump}; the trial ends there")
                self._jump = segment.jump
            elif number or said:
                self._jump = ""
            goes_on = number == len(segments) - 1 and not (all or silent)
            if self._trial is None and not goes_on and replace(segment, jump=self._jump).fragment:
                continue
            out += self._rows(states, commands, segment, goes_on)
        # After a silence, what was announced last begins with the next state.
        coming = [marker for marker in self._markers if silent and marker.received > self._states.received[-1]]
        if all or silent:
            out += self._end()
            self._forget()
        self._markers = coming
        return _merged(out)

    def _signals(self) -> tuple[States, Commands]:
        """What waits, as it would come out of a bag.

        When it arrived is its place among all: a node that had to wait takes what came meanwhile topic by topic.
        """
        size = len(self._spec.joints)
        received, stamps, values = self._states.arrays(2 * size)
        time, stamped = stamp_or_receipt(stamps, received, "joint_states", [])
        position, velocity, none = values[:, :size], values[:, size:], np.zeros(size, bool)
        states = States("joint_states", received, received, time, position, velocity, None, none, stamped)
        received, stamps, values = self._commands.arrays(self._spec.action_size)
        time, stamped = stamp_or_receipt(stamps, received, "commands", [])
        return states, Commands("commands", received, received, time, values, stamped)

    def _young(self, marker: Marker) -> bool:
        """Whether states of the trial before may still be on their way."""
        after = sum(received > marker.received for received in list(self._states.received)[-IN_FLIGHT:])
        return after < IN_FLIGHT and marker.received > self._states.received[-1] - SETTLE * 1e9

    def _rows(self, states: States, commands: Commands, segment: Segment, goes_on: bool) -> list[Rows]:
        """Rows of one segment; where it ``goes_on``, those that nothing on its way can change any more."""
        period = self._spec.control.period
        origin = self._trial.origin if self._trial is not None else int(segment.time[0])
        times, told = (np.asarray((ns - origin) * 1e-9, np.float64) for ns in (segment.time, segment.command_time))
        begins = self._trial is None
        if self._trial is None:
            begin = first_complete(times, float(told[0])) if len(told) else np.nan
            if np.isnan(begin):
                self._wait(segment, goes_on)
                return []
            data = {**self._said, "part": self._part} if self._part else self._said
            self._trial = _Trial(origin, begin, data, np.zeros(len(self._continuous)))
        trial = self._trial
        end = times[-1] - SETTLE - period if goes_on else times[-1]
        at = grid_times(trial.begin, float(end), period)[trial.next :] if end >= trial.begin else np.empty(0)
        measured = states.position[segment.states]
        position = unwrap(measured, self._continuous) + 2 * np.pi * trial.turns
        out = []
        if len(at):
            whole = np.concatenate([position, states.velocity[segment.states]], axis=1)
            rows = interpolate(times, whole, at).astype(np.float32)
            actions = mean_held(told, commands.values[segment.commands], at, at + period).astype(np.float32)
            out.append(Rows(rows, actions, origin * 1e-9 + float(at[0]), trial.data, begins, False))
            trial.next += len(at)
        elif begins:
            self._trial = None
            self._wait(segment, goes_on)
            return []
        if goes_on:
            following = trial.begin + trial.next * period
            first = max(int(np.searchsorted(times, following, side="right")) - 1, 0)
            trial.turns = np.round((position[first] - measured[first]) / (2 * np.pi))
            self._states.drop(int(segment.states[first]))
            self._commands.drop(int(segment.commands[max(int(np.searchsorted(told, following, side="right")) - 1, 0)]))
        return out

    def _wait(self, segment: Segment, goes_on: bool) -> None:
        """The segment has no row yet. States more than a second before its first command are of no use."""
        if goes_on:
            self._commands.drop(int(segment.commands[0]) if len(segment.commands) else len(self._commands))
            self._states.drop(int(segment.states[0]))
            if not len(self._commands):
                newest = self._states.received[-1]
                self._states.drop(sum(received < newest - 1e9 for received in self._states.received))

    def _end(self) -> list[Rows]:
        """The trial under way is over."""
        trial, self._trial = self._trial, None
        if trial is None:
            return []
        joints, actions = len(self._continuous), self._spec.action_size
        start = trial.origin * 1e-9 + trial.begin + trial.next * self._spec.control.period
        return [Rows(np.empty((0, 2 * joints), np.float32), np.empty((0, actions), np.float32), start, trial.data, False, True)]

    def _forget(self) -> None:
        self._states.drop(len(self._states))
        self._commands.drop(len(self._commands))
        self._markers.clear()
        self._jump = ""


def _merged(parts: list[Rows]) -> list[Rows]:
    """``parts``, where the empty end of a trial is put to the rows before it."""
    out: list[Rows] = []
    for part in parts:
        if part.ends and not len(part.states) and out and not out[-1].ends:
            last = out.pop()
            out.append(Rows(last.states, last.actions, last.start, last.data, last.begins, True))
        else:
            out.append(part)
    return out
