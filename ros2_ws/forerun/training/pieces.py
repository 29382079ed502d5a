"""A piece: some seconds of a trial on the control grid, in a file that grows row by row and is readable at any moment.

The file begins with eight fixed bytes; then come frames of length, CRC-32 and content: first a JSON header, then rows [n, S + A]
of float32, as they came. What was handed to the operating system survives the end of the process, whatever its reason; what
breaks off in the middle of a frame costs that frame, and nothing else.
"""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import ForerunError
from forerun_sim.files import write_error
from forerun_sim.trial import Trial

MAGIC = b"FRPIECE1"
_FRAME = struct.Struct("<II")
_LARGEST = 1 << 26
"""Bytes of a frame: more is no length but damage."""


class Damaged(ForerunError):
    """A file is no piece, or its beginning is damaged; the message says what is wrong."""


@dataclass(frozen=True)
class Header:
    """What is known of a piece from its beginning on.

    Attributes:
        robot: name.
        period: of the grid [s].
        start: time of the first row [s], on the store's clock.
        states, actions: S and A.
        role: what it is for (``store.ROLES``).
        follows: whether it goes on where the piece with the number before ends.
        data: what the ``trial`` message said.
    """

    robot: str
    period: float
    start: float
    states: int
    actions: int
    role: str
    follows: bool
    data: Mapping[str, Any]

    def as_json(self) -> bytes:
        """The first frame."""
        return json.dumps({**vars(self), "data": dict(self.data)}).encode()


@dataclass(frozen=True)
class Piece:
    """A piece that was read: its rows [n, S + A], and how many bytes at the end of the file were no whole frame."""

    header: Header
    rows: NDArray[np.float32]
    sound: int
    left_over: int

    def trial(self, source: str) -> Trial:
        """As a trial."""
        header = self.header
        states, actions = self.rows[:, : header.states], self.rows[:, header.states :]
        return Trial(states, actions, header.period, header.robot, header.start, source, dict(header.data))


class PieceWriter:
    """A piece under way.

    Args:
        path: a file that does not exist yet.
        header: its beginning.

    Raises:
        InputError: the folder may not be written to.
        ForerunError: the disk is full or failed; so does ``add``, after which the file is as it was before.
    """

    def __init__(self, path: Path, header: Header) -> None:
        self.path, self.header, self.rows = path, header, 0
        self._file = -1
        try:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644)
            self.bytes = 0
            self._write(MAGIC + _frame(header.as_json()))
        except OSError as error:
            self._abandon()
            raise write_error(path, error) from error

    def add(self, rows: NDArray[np.float32]) -> None:
        """Appends rows [n, S + A]."""
        try:
            self._write(_frame(np.ascontiguousarray(rows, "<f4").tobytes()))
        except OSError as error:
            raise write_error(self.path, error) from error
        self.rows += len(rows)

    def close(self) -> None:
        """Brings it to the disk; one without rows goes. Raises ForerunError where the disk fails."""
        if self._file < 0:
            return
        try:
            if self.rows:
                os.fsync(self._file)
            else:
                self.path.unlink(missing_ok=True)
        except OSError as error:
            raise write_error(self.path, error) from error
        finally:
            os.close(self._file)
            self._file = -1

    def _write(self, data: bytes) -> None:
        try:
            if os.write(self._file, data) != len(data):
                raise OSError(28, os.strerror(28))
        except OSError:
            os.ftruncate(self._file, self.bytes)
            os.lseek(self._file, self.bytes, os.SEEK_SET)
            raise
        self.bytes += len(data)

    def _abandon(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self.path.unlink(missing_ok=True)
            self._file = -1


def read(path: Path) -> Piece:
    """The piece at ``path``, up to its last whole frame.

    Raises:
        Damaged: the file is no piece, or its header is not whole.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path}: cannot be read: {error.strerror}") from error
    if content[: len(MAGIC)] != MAGIC:
        raise Damaged(f"{path}: is no piece of a trial (it does not begin with {MAGIC.decode()})")
    frames, position = [], len(MAGIC)
    while (frame := _next(content, position)) is not None:
        frames.append(frame)
        position += _FRAME.size + len(frame)
    if not frames:
        raise Damaged(f"{path}: its header is not whole")
    try:
        header = Header(**json.loads(frames[0]))
        rows = np.frombuffer(b"".join(frames[1:]), "<f4").reshape(-1, header.states + header.actions)
    except (ValueError, TypeError) as error:
        raise Damaged(f"{path}: {error}") from error
    return Piece(header, rows.astype(np.float32), position, len(content) - position)


def _frame(content: bytes) -> bytes:
    return _FRAME.pack(len(content), zlib.crc32(content)) + content


def _next(content: bytes, position: int) -> bytes | None:
    """The frame at ``position``; None where there is no whole one."""
    head = content[position : position + _FRAME.size]
    if len(head) < _FRAME.size:
        return None
    length, digest = _FRAME.unpack(head)
    body = content[position + _FRAME.size : position + _FRAME.size + length]
    return body if length <= _LARGEST and len(body) == length and zlib.crc32(body) == digest else None
