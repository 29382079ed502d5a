"""Robots and bags of every kind for the tests of bags."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

from forerun_sim.spec import RobotSpec, validate

Floats = NDArray[np.float64]
STORE: Any = get_typestore(Stores.ROS2_JAZZY)
JOINT_STATE, MULTI_ARRAY, STRING = "sensor_msgs/msg/JointState", "std_msgs/msg/Float64MultiArray", "std_msgs/msg/String"
NAMES = ("shoulder", "elbow")


def robot(
    names: Sequence[str] = NAMES,
    *,
    rate: float = 100.0,
    kind: str = "revolute",
    interface: str = "effort",
    actuated: Sequence[str] | None = None,
    topics: dict[str, str] | None = None,
) -> RobotSpec:
    """A robot that exists only as logs."""
    limits: dict[str, Any] = {"effort": 10.0, "velocity": 20.0}
    if kind != "continuous":
        limits["position"] = [-3.0, 3.0]
    joints = [
        {"name": name, "type": kind, "interface": interface if actuated is None or name in actuated else "none", **limits}
        for name in names
    ]
    data = {"format": 1, "name": "arm", "joints": joints, "control": {"rate": rate, "physics_rate": 10 * rate}}
    return validate(RobotSpec, {**data, "topics": topics or {}}, "robot.yaml")


def joint_state(stamp: int, names: Sequence[str], position: Any, velocity: Any = (), effort: Any = ()) -> bytes:
    """A serialized JointState, by rosbags."""
    make = STORE.types
    time = make["builtin_interfaces/msg/Time"](sec=stamp // 10**9, nanosec=stamp % 10**9)
    header = make["std_msgs/msg/Header"](stamp=time, frame_id="base")
    fields = [np.asarray(field, np.float64) for field in (position, velocity, effort)]
    message = make[JOINT_STATE](header=header, name=list(names), position=fields[0], velocity=fields[1], effort=fields[2])
    return bytes(STORE.serialize_cdr(message, JOINT_STATE))


def multi_array(values: Any) -> bytes:
    """A serialized Float64MultiArray, by rosbags."""
    make = STORE.types
    dimension = make["std_msgs/msg/MultiArrayDimension"](label="joints", size=len(values), stride=1)
    layout = make["std_msgs/msg/MultiArrayLayout"](dim=[dimension], data_offset=0)
    return bytes(STORE.serialize_cdr(make[MULTI_ARRAY](layout=layout, data=np.asarray(values, np.float64)), MULTI_ARRAY))


def text(content: str) -> bytes:
    """A serialized String, by rosbags."""
    return bytes(STORE.serialize_cdr(STORE.types[STRING](data=content), STRING))


Message = tuple[str, str, int, bytes]
"""Topic, type, receive time [ns], serialized message."""


def foreign_bag(
    path: Path, messages: Sequence[Message], *, storage: str = "mcap", topics: Sequence[tuple[str, str]] = ()
) -> Path:
    """A bag that another program wrote, in the order of ``messages``; ``topics`` are announced even if nothing is on them."""
    with Writer(path, version=9, storage_plugin=StoragePlugin[storage.upper()]) as writer:
        connections = {}
        for topic, kind in [*topics, *((message[0], message[1]) for message in messages)]:
            if topic not in connections:
                connections[topic] = writer.add_connection(topic, kind, typestore=STORE)
        for topic, _, received, data in messages:
            writer.write(connections[topic], received, data)
    return path


def swing(
    times: Sequence[int],
    *,
    names: Sequence[str] = NAMES,
    spoil: Callable[[int, Floats, Floats, Floats], None] = lambda i, q, dq, u: None,
    velocity: bool = True,
    command: bool = True,
) -> list[Message]:
    """States and commands at ``times`` [ns], received as stamped: q = sin(t + joint), u = cos(3 t + joint)."""
    messages: list[Message] = []
    phase = np.arange(len(names))
    for i, stamp in enumerate(times):
        seconds = stamp * 1e-9
        q, dq, u = np.sin(seconds + phase), np.cos(seconds + phase), np.cos(3 * seconds + phase)
        spoil(i, q, dq, u)
        messages.append(("/joint_states", JOINT_STATE, stamp, joint_state(stamp, names, q, dq if velocity else ())))
        if command:
            messages.append(("/commands", MULTI_ARRAY, stamp, multi_array(u)))
    return messages


def every(period: float, count: int, start: float = 0.0) -> list[int]:
    """``count`` times [ns] every ``period`` [s] from ``start`` [s] on."""
    return [round((start + i * period) * 1e9) for i in range(count)]
