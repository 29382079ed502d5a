"""The trials of a robot on disk: nothing that was written is lost when a process dies, and no more is kept than a quota of bytes.

Each trial lies in pieces of some seconds (``pieces``), numbered in the order of recording. A piece has a role from its beginning
on: of every five, in shuffled order, three are trained on, one says when to stop and one judges. So no candidate is ever judged
by what an ancestor of it was trained on, and a robot that is never reset has judges all the same. Successive pieces of one trial
and role are put together again when they are read. Their times are on one clock, which never goes back: where that of the robot
begins anew, as a simulated one does, it is gone on with.

Where the quota is exceeded, the role that is furthest above its share (three, one and one fifths) gives a piece up: the oldest
of the kind that it has most of. Pieces are of one kind where the same powers of two hold the speed of the motion and the size
of the commands; so hours at rest go before the one swing. Judges are given up by judges alone.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun.training.collect import Rows
from forerun.training.pieces import Damaged, Header, Piece, PieceWriter, read
from forerun_models.training.clocks import GAP
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.files import write_error
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial

ROLES = ("train", "judge", "train", "stop", "train")
"""Of five successive pieces; later fives are shuffled."""
SHARES = {role: ROLES.count(role) / len(ROLES) for role in ROLES}
_ASIDE = 20
"""Damaged files that are kept at most."""
_REST = -12
"""Power of two below which speed and commands are all the same."""

Kind = tuple[int, int]


@dataclass(frozen=True)
class Entry:
    """What is remembered of a piece that is whole."""

    number: int
    role: str
    rows: int
    bytes: int
    kind: Kind


def role_of(number: int) -> str:
    """The role of a piece."""
    five, at = divmod(number, len(ROLES))
    return ROLES[at if five == 0 else int(np.random.default_rng(five).permutation(len(ROLES))[at])]


class Store:
    """The pieces in a folder. Not thread-safe; one process writes, others may read.

    Args:
        folder: is made where it does not exist; what is there already is gone on with.
        spec: the robot.
        seconds: of a piece.
        quota: bytes that all pieces may take together.
        note: told what the user should know.

    Raises:
        InputError: the folder holds the trials of another robot, or may not be written to.
    """

    def __init__(
        self, folder: Path, spec: RobotSpec, *, seconds: float, quota: int, note: Callable[[str], None] = lambda text: None
    ) -> None:
        self.folder = folder
        self._spec, self._quota, self._note = spec, quota, note
        self._longest = max(2, round(seconds * spec.control.rate))
        self._open: PieceWriter | None = None
        self._squares: NDArray[np.float64] = np.zeros(2)
        self._data: Mapping[str, Any] = {}
        self.entries: dict[int, Entry] = {}
        self.total_rows = 0
        self._end, self._shift = -math.inf, 0.0
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise write_error(folder, error) from error
        for path in sorted(folder.glob("*.piece")):
            self._find(path)
        self._next = max(self.entries, default=-1) + 1
        self.total_rows = sum(entry.rows for entry in self.entries.values())

    # Writing -----------------------------------------------------------------------------------------------------------

    def add(self, part: Rows) -> None:
        """Appends rows of the trial under way, or of one that begins.

        Raises:
            ForerunError: the disk is full or failed. What was written before stays.
        """
        if part.begins:
            self._finish()
            self._data = part.data
            self._go_on(part.start)
        rows, start = np.concatenate([part.states, part.actions], axis=1), part.start + self._shift
        follows = not part.begins
        while len(rows):
            if self._open is None:
                self._open = self._begin(start, follows)
            take = min(len(rows), self._longest - self._open.rows)
            self._append(rows[:take])
            rows, start, follows = rows[take:], start + take * self._spec.control.period, True
            self._end = start
            if self._open is not None and self._open.rows >= self._longest:
                self._finish()
        if part.ends:
            self._finish()

    def close(self) -> None:
        """Ends the piece under way."""
        self._finish()

    @property
    def unfinished(self) -> int:
        """Rows of the piece under way."""
        return self._open.rows if self._open is not None else 0

    @property
    def bytes(self) -> int:
        """Of all pieces."""
        return sum(entry.bytes for entry in self.entries.values()) + (self._open.bytes if self._open is not None else 0)

    def rows(self, *roles: str) -> int:
        """Of the whole pieces of these roles; of all where none is named."""
        return sum(entry.rows for entry in self.entries.values() if not roles or entry.role in roles)

    def _go_on(self, start: float) -> None:
        """Of a trial that begins at ``start``: a clock that began anew, as a simulated one does, goes on where it was."""
        if start >= self._end:
            self._shift = 0.0
        elif start + self._shift < self._end:
            self._shift = self._end + GAP - start

    def _begin(self, start: float, follows: bool) -> PieceWriter:
        spec, number = self._spec, self._next
        self._next += 1
        self._squares = np.zeros(2)
        header = Header(
            robot=spec.name,
            period=spec.control.period,
            start=start,
            states=2 * len(spec.joints),
            actions=spec.action_size,
            role=role_of(number),
            follows=follows and number - 1 in self.entries,
            data=dict(self._data),
        )
        return PieceWriter(self._path(number), header)

    def _append(self, rows: NDArray[np.float32]) -> None:
        assert self._open is not None
        self._open.add(rows)
        self._squares += self._measure(rows)
        self.total_rows += len(rows)

    def _finish(self) -> None:
        writer, self._open = self._open, None
        if writer is None:
            return
        writer.close()
        if writer.rows:
            number = int(writer.path.stem)
            self.entries[number] = Entry(
                number, writer.header.role, writer.rows, writer.bytes, _kind(self._squares / writer.rows)
            )
        self._keep_quota()

    def _measure(self, rows: NDArray[np.float32]) -> NDArray[np.float64]:
        """Sums of squares [2] of velocities and commands, each a mean over joints."""
        joints = len(self._spec.joints)
        parts = rows[:, joints : 2 * joints], rows[:, 2 * joints :]
        return np.array([(part.astype(np.float64) ** 2).mean(axis=1).sum() for part in parts])

    def _keep_quota(self) -> None:
        while self.entries and self.bytes > self._quota:
            sizes = dict.fromkeys(SHARES, 0)
            for entry in self.entries.values():
                sizes[entry.role] += entry.bytes
            role = max(sizes, key=lambda name: sizes[name] / SHARES[name])
            kinds: dict[Kind, int] = {}
            for entry in self.entries.values():
                if entry.role == role:
                    kinds[entry.kind] = kinds.get(entry.kind, 0) + entry.bytes
            most = max(kinds, key=lambda kind: kinds[kind])
            oldest = min(entry.number for entry in self.entries.values() if (entry.role, entry.kind) == (role, most))
            del self.entries[oldest]
            self._path(oldest).unlink(missing_ok=True)

    # Reading -----------------------------------------------------------------------------------------------------------

    def trials(self, numbers: Iterable[int] | None = None) -> list[Trial]:
        """The trials of the pieces ``numbers`` (all that are whole, if absent)."""
        return trials_of(self.folder, sorted(self.entries if numbers is None else numbers))

    def _find(self, path: Path) -> None:
        """Makes a piece of before known, cut to what is whole of it; one that is none is set aside."""
        try:
            piece = read(path)
            number = int(path.stem)
            self._refuse_other_robot(path, piece.header)
        except (Damaged, ValueError) as error:
            self._set_aside(path)
            self._note(f"{error}; set aside in {self.folder / 'aside'}")
            return
        if piece.left_over:
            self._mend(path, piece)
        if not len(piece.rows):
            path.unlink(missing_ok=True)
            return
        self._end = max(self._end, piece.header.start + len(piece.rows) * piece.header.period)
        kind = _kind(self._measure(piece.rows) / len(piece.rows))
        self.entries[number] = Entry(number, piece.header.role, len(piece.rows), piece.sound, kind)

    def _refuse_other_robot(self, path: Path, header: Header) -> None:
        spec = self._spec
        if (header.robot, header.states, header.actions) != (spec.name, 2 * len(spec.joints), spec.action_size):
            raise InputError(
                f"{path}: is of robot '{header.robot}' with {header.states} states and {header.actions} actions, not of "
                f"'{spec.name}'; give the trainer a folder of its own for each robot"
            )
        if not math.isclose(header.period, spec.control.period, rel_tol=1e-6) or header.role not in SHARES:
            raise Damaged(f"{path}: is on a grid of {header.period:g} s for '{header.role}', not of {spec.control.period:g} s")

    def _mend(self, path: Path, piece: Piece) -> None:
        self._note(f"{path}: its last {piece.left_over} bytes are not whole and are left out; {len(piece.rows)} rows are kept")
        try:
            with path.open("r+b") as file:
                file.truncate(piece.sound)
        except OSError as error:
            raise write_error(path, error) from error

    def _set_aside(self, path: Path) -> None:
        aside = self.folder / "aside"
        try:
            aside.mkdir(exist_ok=True)
            shutil.move(path, aside / path.name)
            for old in sorted(aside.iterdir(), key=lambda file: file.stat().st_mtime)[:-_ASIDE]:
                old.unlink()
        except OSError as error:
            raise write_error(aside, error) from error

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:08d}.piece"


def trials_of(folder: Path, numbers: Iterable[int]) -> list[Trial]:
    """The trials of the pieces ``numbers`` in ``folder``, where successive pieces of one trial are put together.

    Pieces that were given up or damaged meanwhile are left out.
    """
    trials: list[Trial] = []
    last = -2
    for number in sorted(numbers):
        try:
            piece = read(folder / f"{number:08d}.piece")
        except ForerunError:
            continue
        trial = piece.trial(f"{folder}#{number}")
        if piece.header.follows and number == last + 1 and _joins(trials[-1], trial):
            trials[-1] = _joined(trials[-1], trial)
        elif len(trial):
            trials.append(trial)
        last = number
    return trials


def _joins(before: Trial, trial: Trial) -> bool:
    return abs(before.start + len(before) * before.period - trial.start) < 0.01 * trial.period


def _joined(before: Trial, trial: Trial) -> Trial:
    states, actions = (np.concatenate([getattr(one, name) for one in (before, trial)]) for name in ("states", "actions"))
    return Trial(states, actions, before.period, before.robot, before.start, before.source, before.meta)


def _kind(squares: NDArray[np.float64]) -> Kind:
    speed, command = (max(_REST, round(math.log2(math.sqrt(value)))) if value > 0 else _REST for value in squares)
    return speed, command
