"""Arrays become serialized ROS 2 messages (CDR), all messages of a topic at once.

The first message is serialized by ``rosbags``; the others are copies of it with their own numbers put in.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rosbags.typesys import Stores, get_typestore

from forerun.bags import decode
from forerun.bags.content import JOINT_STATE, MULTI_ARRAY, STRING

Ints = NDArray[np.int64]


@cache
def typestore() -> Any:
    """The message types of ROS 2 Jazzy."""
    return get_typestore(Stores.ROS2_JAZZY)


def joint_states(
    stamps: Ints, names: Sequence[str], position: ArrayLike, velocity: ArrayLike | None = None, effort: ArrayLike | None = None
) -> list[bytes]:
    """Serialized sensor_msgs/JointState: ``stamps`` [N] ns, J names, values [N, J] or absent."""
    count = len(stamps)
    fields = [_matrix(values, count, len(names)) for values in (position, velocity, effort)]
    if not count:
        return []
    make = typestore().types
    header = make["std_msgs/msg/Header"](stamp=make["builtin_interfaces/msg/Time"](sec=0, nanosec=0), frame_id="")
    first = make[JOINT_STATE](header=header, name=list(names), position=fields[0][0], velocity=fields[1][0], effort=fields[2][0])
    template = bytes(typestore().serialize_cdr(first, JOINT_STATE))
    layout = decode.joint_state_layout(template)
    rows = np.tile(np.frombuffer(template, np.uint8), (count, 1))
    if (stamps < 0).any() or (stamps // 10**9 >= 2**31).any():
        raise ValueError("stamps must lie between 0 and 2^31 s")
    _put(rows, layout.stamp, (stamps // 10**9).astype("<i4")[:, None])
    _put(rows, layout.stamp + 4, (stamps % 10**9).astype("<u4")[:, None])
    for (begin, _), values in zip(layout.arrays, fields, strict=True):
        _put(rows, begin, values)
    return _split(rows)


def multi_arrays(values: ArrayLike) -> list[bytes]:
    """Serialized std_msgs/Float64MultiArray without dimensions: ``values`` [N, A]."""
    matrix = np.asarray(values, "<f8")
    if not len(matrix):
        return []
    make = typestore().types
    layout = make["std_msgs/msg/MultiArrayLayout"](dim=[], data_offset=0)
    template = bytes(typestore().serialize_cdr(make[MULTI_ARRAY](layout=layout, data=matrix[0]), MULTI_ARRAY))
    rows = np.tile(np.frombuffer(template, np.uint8), (len(matrix), 1))
    _put(rows, decode.multi_array_layout(template).arrays[0][0], matrix)
    return _split(rows)


def string(text: str) -> bytes:
    """A serialized std_msgs/String."""
    return bytes(typestore().serialize_cdr(typestore().types[STRING](data=text), STRING))


def _matrix(values: ArrayLike | None, count: int, width: int) -> NDArray[np.float64]:
    if values is None:
        return np.empty((count, 0), "<f8")
    matrix = np.asarray(values, "<f8")
    if matrix.shape != (count, width):
        raise ValueError(f"expected values of shape {(count, width)}, got {matrix.shape}")
    return matrix


def _put(rows: NDArray[np.uint8], begin: int, values: NDArray[Any]) -> None:
    raw = np.ascontiguousarray(values).view(np.uint8)
    rows[:, begin : begin + raw.shape[1]] = raw


def _split(rows: NDArray[np.uint8]) -> list[bytes]:
    size, data = rows.shape[1], rows.tobytes()
    return [data[i : i + size] for i in range(0, len(data), size)]
