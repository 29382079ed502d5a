"""Serialized ROS 2 messages (CDR) become arrays, all messages of one layout at once.

The messages of a topic nearly always have the same names and lengths. The layout of the first one is worked out byte by byte;
every other message whose lengths and strings are the same bytes has it too and is read as a row of one matrix, ten times faster
than one by one. Bytes between the fields are ignored, as CDR leaves them undefined.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MANY_LAYOUTS = 32
"""With more than these the rest is decoded one by one: comparing each with all would cost more."""


class DecodeError(ValueError):
    """A message is no valid serialization of its type."""


@dataclass(frozen=True)
class JointStates:
    """JointState messages with the same joints.

    Attributes:
        index: [n] which messages of the stream.
        names: joints, in the order of the columns.
        stamp: [n] header.stamp [ns].
        position, velocity, effort: [n, len] each; len is 0 where the field is empty.
    """

    index: NDArray[np.int64]
    names: tuple[str, ...]
    stamp: NDArray[np.int64]
    position: Floats
    velocity: Floats
    effort: Floats


@dataclass(frozen=True)
class MultiArrays:
    """Float64MultiArray messages of one size: ``index`` [n] in the stream, ``data`` [n, size]."""

    index: NDArray[np.int64]
    data: Floats


@dataclass
class Layout:
    """Where the fields of a message lie. ``fixed`` are the bytes that messages of this layout share, as slices."""

    order: str
    size: int
    fixed: list[slice] = field(default_factory=list)
    names: tuple[str, ...] = ()
    stamp: int = 0
    arrays: list[tuple[int, int]] = field(default_factory=list)


class _Cursor:
    """Walks along a message; alignment counts from behind the four bytes of the encapsulation header."""

    def __init__(self, data: bytes) -> None:
        if len(data) < 4 or data[0] != 0 or data[1] not in (0, 1):
            raise DecodeError(f"not plain CDR (it begins with the bytes {data[:4].hex(' ') or 'none'})")
        self.data, self.position = data, 4
        self.layout = Layout("<" if data[1] else ">", len(data), [slice(0, 2)])

    def _align(self, size: int) -> None:
        self.position += -(self.position - 4) % size

    def skip(self, size: int, alignment: int) -> int:
        """Step over ``size`` bytes of payload; returns where they begin."""
        self._align(alignment)
        begin = self.position
        self.position += size
        if self.position > len(self.data):
            raise DecodeError(f"{len(self.data)} bytes are too few for its type")
        return begin

    def length(self) -> int:
        """An element count; part of the layout."""
        begin = self.skip(4, 4)
        self.layout.fixed.append(slice(begin, begin + 4))
        return int(struct.unpack_from(f"{self.layout.order}I", self.data, begin)[0])

    def string(self) -> str:
        """A string; part of the layout."""
        size = self.length()
        begin = self.skip(size, 1)
        self.layout.fixed.append(slice(begin, begin + size))
        return self.data[begin : begin + size].rstrip(b"\0").decode("utf-8", "replace")

    def strings(self) -> tuple[str, ...]:
        count = self.length()
        if count > len(self.data):
            raise DecodeError(f"announces {count} strings in {len(self.data)} bytes")
        return tuple(self.string() for _ in range(count))

    def doubles(self) -> None:
        """A sequence of float64; its place goes to the layout."""
        count = self.length()
        begin = self.skip(8 * count, 8) if count else self.position
        self.layout.arrays.append((begin, count))


def joint_states(payloads: Sequence[bytes]) -> Iterator[JointStates]:
    """Decode sensor_msgs/JointState messages, grouped by layout.

    Raises:
        DecodeError: a message is no JointState.
    """
    for layout, index, rows in _groups(payloads, joint_state_layout):
        seconds = _column(rows, layout, layout.stamp, 1, "i4")[:, 0].astype(np.int64)
        nanoseconds = _column(rows, layout, layout.stamp + 4, 1, "u4")[:, 0].astype(np.int64)
        position, velocity, effort = (_column(rows, layout, begin, count, "f8") for begin, count in layout.arrays)
        yield JointStates(index, layout.names, seconds * 10**9 + nanoseconds, position, velocity, effort)


def multi_arrays(payloads: Sequence[bytes]) -> Iterator[MultiArrays]:
    """Decode std_msgs/Float64MultiArray messages, grouped by layout; their dimensions' labels are ignored.

    Raises:
        DecodeError: a message is no Float64MultiArray.
    """
    for layout, index, rows in _groups(payloads, multi_array_layout):
        begin, count = layout.arrays[0]
        yield MultiArrays(index, _column(rows, layout, begin, count, "f8"))


def string(payload: bytes) -> str:
    """Decode a std_msgs/String.

    Raises:
        DecodeError: it is none.
    """
    return _Cursor(payload).string()


def joint_state_layout(payload: bytes) -> Layout:
    """Where stamp, position, velocity and effort of a JointState lie."""
    cursor = _Cursor(payload)
    cursor.layout.stamp = cursor.skip(8, 4)
    cursor.string()
    cursor.layout.names = cursor.strings()
    for _ in ("position", "velocity", "effort"):
        cursor.doubles()
    return cursor.layout


def multi_array_layout(payload: bytes) -> Layout:
    """Where the data of a Float64MultiArray lie."""
    cursor = _Cursor(payload)
    for _ in range(cursor.length()):
        cursor.string()
        cursor.skip(8, 4)
    cursor.skip(4, 4)
    cursor.doubles()
    return cursor.layout


def _groups(
    payloads: Sequence[bytes], parse: Callable[[bytes], Layout]
) -> Iterator[tuple[Layout, NDArray[np.int64], NDArray[np.uint8]]]:
    """Layout, message numbers and bytes [n, size] of the messages that share a layout."""
    sizes = np.array(list(map(len, payloads)), np.int64)
    for size in np.unique(sizes):
        index = np.flatnonzero(sizes == size)
        alike = payloads if len(index) == len(payloads) else [payloads[i] for i in index.tolist()]
        rows = np.frombuffer(b"".join(alike), np.uint8).reshape(len(index), int(size))
        for _ in range(_MANY_LAYOUTS):
            if not len(index):
                break
            layout = parse(rows[0].tobytes())
            same = np.ones(len(index), bool)
            for part in layout.fixed:
                same &= (rows[:, part] == rows[0, part]).all(axis=1)
            yield layout, index[same], rows[same]
            index, rows = index[~same], rows[~same]
        for i in range(len(index)):
            yield parse(rows[i].tobytes()), index[i : i + 1], rows[i : i + 1]


def _column(rows: NDArray[np.uint8], layout: Layout, begin: int, count: int, kind: str) -> NDArray[np.float64]:
    """``count`` numbers from byte ``begin`` of every message: [n, count]."""
    width = count * int(kind[1])
    part = np.ascontiguousarray(rows[:, begin : begin + width])
    return part.view(np.dtype(layout.order + kind)).reshape(len(rows), count).astype(np.dtype(kind), copy=False)
