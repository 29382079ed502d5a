"""From a bag's messages to what was measured, commanded and announced.

Here is decided which topic is which, which joint is which column, and which time counts.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun.bags import decode
from forerun.bags.content import JOINT_STATE, MULTI_ARRAY, STRING
from forerun.bags.storage import RawBag, Stream
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

TRIAL_TOPIC = "trial"
SAME_CLOCK = 250_000_000
"""Receive times and header stamps that differ by more [ns], in the median, come from different clocks."""


@dataclass(frozen=True)
class States:
    """What the robot measured, in the order of recording.

    Attributes:
        topic: where it was published.
        order: [N] position in the bag.
        received: [N] receive time [ns].
        time: [N] header.stamp [ns], or the receive time where the stamps are not set.
        position: [N, J], joint order of robot.yaml.
        velocity: [N, J], NaN in the columns of ``derive``.
        effort: [N, J] as measured, NaN where it was not; None if it never was.
        derive: [J] True where no velocity was recorded.
        stamped: True if ``time`` comes from header.stamp.
    """

    topic: str
    order: Ints
    received: Ints
    time: Ints
    position: Floats
    velocity: Floats
    effort: Floats | None
    derive: NDArray[np.bool_]
    stamped: bool

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Commands:
    """What the robot was told: ``values`` [M, A] in command units, in the order of recording. ``stamped`` as in States."""

    topic: str
    order: Ints
    received: Ints
    time: Ints
    values: Floats
    stamped: bool

    def __len__(self) -> int:
        return len(self.time)


@dataclass(frozen=True)
class Marker:
    """A ``trial`` message: where in the bag a trial begins and what was said about it."""

    order: int
    received: int
    data: dict[str, Any]


def find(raw: RawBag, name: str, types: tuple[str, ...], taken: str | None = None) -> Stream | None:
    """The stream of topic ``name``, else of the only topic whose name ends with it; None if there is none.

    Raises:
        InputError: several topics end with the name.
    """
    wanted = "/" + name.strip("/")
    streams = [stream for stream in raw.streams.values() if stream.topic.type in types and stream.topic.name != taken]
    ending = [stream for stream in streams if ("/" + stream.topic.name.lstrip("/")).endswith(wanted)]
    exact = [stream for stream in ending if stream.topic.name.strip("/") == name.strip("/")]
    if not exact and len(ending) > 1:
        names = ", ".join(stream.topic.name for stream in ending)
        raise InputError(f"{raw.path}: several topics end with '{name}': {names}; write the full name into topics of robot.yaml")
    return exact[0] if exact else ending[0] if ending else None


def streams_of(raw: RawBag, spec: RobotSpec) -> tuple[Stream | None, Stream | None]:
    """States and commands of a part of a bag, None where it has no message of theirs.

    Raises:
        InputError: several topics end with the name of one.
    """
    states = _states(raw, spec.topics.joint_states)
    commands = _commands(raw, spec.topics.commands, None if states is None else states.topic.name)
    return _filled(states), _filled(commands)


def _filled(stream: Stream | None) -> Stream | None:
    return stream if stream is not None and len(stream.order) else None


def _states(raw: RawBag, name: str) -> Stream | None:
    return find(raw, name, (JOINT_STATE,)) or _only(raw, JOINT_STATE, None)


def _commands(raw: RawBag, name: str, states: str | None) -> Stream | None:
    return find(raw, name, (MULTI_ARRAY, JOINT_STATE), taken=states) or _only(raw, MULTI_ARRAY, "goal")


def states_stream(raw: RawBag, name: str, notes: list[str]) -> Stream:
    """The joint states: topic ``name``, else the only JointState topic.

    Raises:
        InputError: there is none or the choice is not clear.
    """
    found = _states(raw, name)
    if found is None:
        raise InputError(f"{raw.path}: no topic '{name}' of type {JOINT_STATE}; the bag has: {raw.listing}")
    if find(raw, name, (JOINT_STATE,)) is None:
        notes.append(f"no topic '{name}'; joint states are taken from {found.topic.name}, the only {JOINT_STATE}")
    if not len(found.order):
        raise InputError(f"{raw.path}: topic {found.topic.name} has no messages; the bag has: {raw.listing}")
    return found


def commands_stream(raw: RawBag, name: str, states: str, notes: list[str]) -> Stream:
    """The commands: topic ``name``, else the only Float64MultiArray topic.

    Raises:
        InputError: there is none or the choice is not clear.
    """
    found = _commands(raw, name, states)
    if found is None:
        raise InputError(
            f"{raw.path}: no commands: no topic '{name}' of type {MULTI_ARRAY} or {JOINT_STATE}, so what the robot was told "
            f"is not known and no model of it can be learned; record the commands too. The bag has: {raw.listing}"
        )
    if find(raw, name, (MULTI_ARRAY, JOINT_STATE), taken=states) is None:
        notes.append(f"no topic '{name}'; commands are taken from {found.topic.name}, the only {MULTI_ARRAY}")
    if not len(found.order):
        raise InputError(f"{raw.path}: no commands: topic {found.topic.name} has no messages; the bag has: {raw.listing}")
    return found


def _only(raw: RawBag, msgtype: str, but: str | None) -> Stream | None:
    streams = [stream for stream in raw.streams.values() if stream.topic.type == msgtype and len(stream.order)]
    streams = [stream for stream in streams if but is None or not stream.topic.name.endswith(but)]
    return streams[0] if len(streams) == 1 else None


def read_states(raw: RawBag, spec: RobotSpec, notes: list[str]) -> States:
    """The robot's joint states; joints are matched by name.

    Raises:
        InputError: no such topic, a joint is missing, or a value is not finite.
    """
    stream = states_stream(raw, spec.topics.joint_states, notes)
    blocks = _joint_blocks(raw, stream)
    complete = [block for block in blocks if set(spec.joint_names) <= set(block.names)]
    if not complete:
        _refuse_joints(raw, stream, blocks, spec)
    count, joints = len(stream.order), len(spec.joints)
    position, velocity, effort = (np.full((count, joints), np.nan) for _ in range(3))
    stamp, used = np.zeros(count, np.int64), np.zeros(count, bool)
    for block in complete:
        columns = [block.names.index(name) for name in spec.joint_names]
        if block.position.shape[1] != len(block.names):
            raise InputError(
                f"{raw.path}: topic {stream.topic.name} names {len(block.names)} joints with {block.position.shape[1]} positions"
            )
        used[block.index] = True
        stamp[block.index] = block.stamp
        position[block.index] = block.position[:, columns]
        if block.velocity.shape[1] == len(block.names):
            velocity[block.index] = block.velocity[:, columns]
        if block.effort.shape[1] == len(block.names):
            effort[block.index] = block.effort[:, columns]
    if any(block.velocity.shape[1] != len(block.names) for block in complete):
        velocity[:] = np.nan
    if not used.all():
        notes.append(f"{count - used.sum()} messages on {stream.topic.name} without all of the robot's joints were left out")
    time, stamped = stamp_or_receipt(stamp[used], stream.received[used], stream.topic.name, notes)
    states = States(
        stream.topic.name, stream.order[used], stream.received[used], time, position[used], velocity[used],
        effort[used] if np.isfinite(effort).any() else None, np.isnan(velocity[used]).all(axis=0), stamped,
    )  # fmt: skip
    _refuse_not_finite(raw, stream.topic.name, "position", states.position, time, spec.joint_names)
    measured = np.where(states.derive, 0.0, states.velocity)
    _refuse_not_finite(raw, stream.topic.name, "velocity", measured, time, spec.joint_names)
    return states


def read_commands(raw: RawBag, spec: RobotSpec, states: str, notes: list[str]) -> Commands:
    """The commands in the order of the actuated joints; ``states`` is the topic that the joint states came from.

    Raises:
        InputError: no such topic, a wrong number of values, a joint is missing, or a value is not finite.
    """
    if not spec.actuated:
        raise InputError(f"{raw.path}: robot '{spec.name}' has no actuated joints (interface: none), so nothing to learn")
    stream = commands_stream(raw, spec.topics.commands, states, notes)
    topic = stream.topic
    values = np.full((len(stream.order), spec.action_size), np.nan)
    stamp = np.zeros(len(stream.order), np.int64)
    if topic.type == MULTI_ARRAY:
        for array in _decoded(raw, stream, decode.multi_arrays):
            if array.data.shape[1] != spec.action_size:
                raise InputError(
                    f"{raw.path}: topic {topic.name} has messages with {array.data.shape[1]} values; robot '{spec.name}' takes "
                    f"{spec.action_size}: {', '.join(spec.action_names)}"
                )
            values[array.index] = array.data
    else:
        for block in _joint_blocks(raw, stream):
            stamp[block.index] = block.stamp
            values[block.index] = _commanded(raw, topic.name, block, spec)
    time, stamped = stamp_or_receipt(stamp, stream.received, topic.name, notes if topic.type == JOINT_STATE else [])
    _refuse_not_finite(raw, topic.name, "command", values, time, spec.action_names)
    return Commands(topic.name, stream.order, stream.received, time, values, stamped)


def read_markers(raw: RawBag, notes: list[str]) -> list[Marker]:
    """The ``trial`` messages, in the order of recording; text that is no JSON object is reported and its data left empty."""
    stream = find(raw, TRIAL_TOPIC, (STRING,))
    markers = []
    if stream is not None:
        for order, received, payload in zip(stream.order, stream.received, stream.payloads, strict=True):
            data: Any = None
            try:
                data = json.loads(decode.string(payload))
            except ValueError as error:
                notes.append(f"a message on {stream.topic.name} is no JSON ({error}); it starts a trial without a name")
            markers.append(Marker(int(order), int(received), data if isinstance(data, dict) else {}))
    return markers


def _commanded(raw: RawBag, topic: str, block: decode.JointStates, spec: RobotSpec) -> Floats:
    """Columns of the commanded quantity of each actuated joint."""
    out = np.empty((len(block.index), spec.action_size))
    for column, joint in enumerate(spec.actuated):
        values: Floats = getattr(block, joint.interface)
        if joint.name not in block.names:
            raise InputError(f"{raw.path}: topic {topic} lacks joint '{joint.name}'; it has: {', '.join(block.names)}")
        if values.shape[1] != len(block.names):
            raise InputError(f"{raw.path}: topic {topic} has no {joint.interface}, by which joint '{joint.name}' is commanded")
        out[:, column] = values[:, block.names.index(joint.name)]
    return out


def _decoded(raw: RawBag, stream: Stream, decoder: Any) -> list[Any]:
    try:
        return list(decoder(stream.payloads))
    except decode.DecodeError as error:
        raise InputError(f"{raw.path}: topic {stream.topic.name}: a message is {error}") from error


def _joint_blocks(raw: RawBag, stream: Stream) -> list[decode.JointStates]:
    blocks: list[decode.JointStates] = _decoded(raw, stream, decode.joint_states)
    return blocks


def _refuse_joints(raw: RawBag, stream: Stream, blocks: list[decode.JointStates], spec: RobotSpec) -> None:
    seen = list(dict.fromkeys(name for block in blocks for name in block.names))
    missing = [name for name in spec.joint_names if name not in seen]
    if missing:
        raise InputError(
            f"{raw.path}: robot '{spec.name}' has a joint '{missing[0]}' that topic {stream.topic.name} lacks"
            + (f" (also: {', '.join(missing[1:])})" if missing[1:] else "")
            + f"; joints in the bag: {', '.join(seen) or 'none'}"
        )
    names = ", ".join(spec.joint_names)
    raise InputError(f"{raw.path}: no message on {stream.topic.name} has all joints of robot '{spec.name}': {names}")


def stamp_or_receipt(stamp: Ints, received: Ints, topic: str, notes: list[str]) -> tuple[Ints, bool]:
    """header.stamp where it is set, else the receive time. A clock may start at 0, so some zeros are no reason to doubt."""
    if np.count_nonzero(stamp) * 2 > len(stamp):
        return stamp, True
    if (received == stamp).all():
        return stamp, True
    notes.append(f"the stamps on {topic} are not set; receive times are used")
    return received, False


def _refuse_not_finite(raw: RawBag, topic: str, what: str, values: Floats, time: Ints, names: tuple[str, ...]) -> None:
    bad = ~np.isfinite(values)
    if bad.any():
        row, column = (int(i) for i in np.argwhere(bad)[0])
        raise InputError(
            f"{raw.path}: topic {topic}: the {what} of joint '{names[column]}' is {values[row, column]} at "
            f"t = {time[row] / 1e9:.6f} s ({(time[row] - time[0]) / 1e9:.3f} s after the first message); "
            f"{int(bad.sum())} such values in all. Cut them out of the recording"
        )
