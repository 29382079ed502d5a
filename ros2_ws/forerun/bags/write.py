"""Writes bags that ``ros2 bag`` opens: MCAP or SQLite, whole or not at all."""

from __future__ import annotations

import errno
import json
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from rosbags.interfaces import Connection
from rosbags.rosbag2 import StoragePlugin, Writer
from rosbags.rosbag2.errors import WriterError

from forerun.bags import encode
from forerun.bags.content import JOINT_STATE, MULTI_ARRAY, STRING, custom_data
from forerun.bags.qos import LATCHED, RELIABLE
from forerun.bags.signals import TRIAL_TOPIC
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.files import atomic_folder
from forerun_sim.spec import RobotSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Storage = Literal["mcap", "sqlite3"]

VERSION: Literal[9] = 9
"""Of metadata.yaml, as ROS 2 Jazzy writes it."""

BETWEEN_TRIALS = 10**9
"""Pause between trials that are laid one after another in a bag [ns]."""


class Record(Protocol):
    """One run as a plant gives it. ``command[i]`` is given at ``time[i]`` and held until ``time[i + 1]``.

    A run in which readings were lost has fewer states than commands, and says in ``command_time`` [T] when it gave each command.

    Attributes:
        time: [N] s, rising.
        position, velocity, effort: [N, J], joint order of robot.yaml.
        command: [T, A] in command units; T = N without ``command_time``.
        meta: what is to be known about the run; JSON values.
    """

    @property
    def time(self) -> Floats: ...
    @property
    def position(self) -> Floats: ...
    @property
    def velocity(self) -> Floats: ...
    @property
    def effort(self) -> Floats: ...
    @property
    def command(self) -> Floats: ...
    @property
    def meta(self) -> dict[str, Any]: ...


class BagWriter:
    """A bag under construction; a context manager. Nothing is at ``path`` until the block ends without an exception.

    Messages are to be written in the order of time. Topics become absolute: ``joint_states`` is ``/joint_states`` in the bag.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        storage: Storage = "mcap",
        robot: str | None = None,
        simulated: bool | None = None,
        overwrite: bool = False,
    ) -> None:
        """
        Args:
            path: the bag's folder.
            storage: file format.
            robot: name of the robot, kept in the bag.
            simulated: whether the robot is simulated, kept in the bag.
            overwrite: replace what is at ``path``.
        """
        self.path = Path(path)
        self._plugin = StoragePlugin[storage.upper()]
        self._overwrite = overwrite
        self._custom = custom_data(robot, simulated)
        self._connections: dict[str, Connection] = {}
        self._writer: Writer | None = None
        self._stack = ExitStack()

    def __enter__(self) -> BagWriter:
        """Raises InputError where the target exists already or its folder may not be written to."""
        with ExitStack() as stack:
            folder = stack.enter_context(atomic_folder(self.path, overwrite=self._overwrite))
            stack.enter_context(_storage_errors(self.path))
            writer = Writer(folder, version=VERSION, storage_plugin=self._plugin)
            for key, value in self._custom.items():
                writer.set_custom_data(key, value)
            self._writer = stack.enter_context(writer)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> bool | None:
        """Completes the bag, or removes it where the block failed.

        Raises:
            ForerunError: the disk is full or failed.
        """
        self._writer = None
        return self._stack.__exit__(kind, error, trace)

    def joint_states(
        self,
        stamps: ArrayLike,
        names: Sequence[str],
        position: ArrayLike,
        velocity: ArrayLike | None = None,
        effort: ArrayLike | None = None,
        *,
        topic: str = "joint_states",
    ) -> None:
        """Write sensor_msgs/JointState: ``stamps`` [N] ns, names of J joints, values [N, J]; an absent field stays empty."""
        stamps = np.asarray(stamps, np.int64)
        self._write(topic, JOINT_STATE, stamps, encode.joint_states(stamps, names, position, velocity, effort))

    def commands(self, stamps: ArrayLike, values: ArrayLike, *, topic: str = "commands") -> None:
        """Write std_msgs/Float64MultiArray: ``stamps`` [N] ns, ``values`` [N, A] in the order of the actuated joints."""
        self._write(topic, MULTI_ARRAY, np.asarray(stamps, np.int64), encode.multi_arrays(values))

    def trial(self, stamp: int, data: Mapping[str, Any], *, topic: str = TRIAL_TOPIC) -> None:
        """Write the message that starts a trial at ``stamp`` [ns]: a JSON object in a std_msgs/String."""
        self._write(topic, STRING, np.array([stamp], np.int64), [encode.string(json.dumps(dict(data)))])

    def run(
        self,
        stamps: ArrayLike,
        spec: RobotSpec,
        position: Floats,
        velocity: Floats | None,
        effort: Floats | None,
        command: Floats,
        command_stamps: ArrayLike | None = None,
    ) -> None:
        """Write states and commands in turns: a command with the time of a state is sent just after it.

        Args:
            stamps: [N] ns.
            spec: the robot; gives topics and names.
            position, velocity, effort: [N, J].
            command: [T, A].
            command_stamps: [T] ns; those of the states if absent, and then T = N.
        """
        stamps = np.asarray(stamps, np.int64)
        states = encode.joint_states(stamps, spec.joint_names, position, velocity, effort)
        commands = encode.multi_arrays(command)
        measured = self._connect(spec.topics.joint_states, JOINT_STATE)
        given = self._connect(spec.topics.commands, MULTI_ARRAY)
        writer = self._open()
        given_at = stamps if command_stamps is None else np.asarray(command_stamps, np.int64)
        messages = [(stamp, measured, state) for stamp, state in zip(stamps.tolist(), states, strict=True)]
        messages += [(stamp, given, values) for stamp, values in zip(given_at.tolist(), commands, strict=True)]
        for stamp, connection, data in sorted(messages, key=lambda message: message[0]):
            writer.write(connection, stamp, data)

    def write_raw(self, topic: str, msgtype: str, stamp: int, data: bytes) -> None:
        """Write one serialized message (CDR) that was received at ``stamp`` [ns]."""
        self._open().write(self._connect(topic, msgtype), stamp, data)

    def _write(self, topic: str, msgtype: str, stamps: Ints, messages: Sequence[bytes]) -> None:
        connection, writer = self._connect(topic, msgtype), self._open()
        for stamp, data in zip(stamps.tolist(), messages, strict=True):
            writer.write(connection, stamp, data)

    def _open(self) -> Writer:
        if self._writer is None:
            raise RuntimeError("a BagWriter writes within its with block only")
        return self._writer

    def _connect(self, topic: str, msgtype: str) -> Connection:
        name = "/" + topic.lstrip("/")
        if name not in self._connections:
            qos = LATCHED if msgtype == STRING else RELIABLE
            self._connections[name] = self._open().add_connection(
                name, msgtype, typestore=encode.typestore(), offered_qos_profiles=[qos]
            )
        return self._connections[name]


def write_trials(
    path: str | Path,
    records: Iterable[Record],
    spec: RobotSpec,
    *,
    simulated: bool = True,
    storage: Storage = "mcap",
    overwrite: bool = False,
) -> int:
    """Write runs one after another into a bag, each behind a ``trial`` message with its ``meta``.

    Their clocks are shifted so that a second lies between the end of one and the beginning of the next.

    Returns:
        The number of runs.

    Raises:
        InputError: ``path`` exists already or cannot be written to, or there is no run.
        ForerunError: the disk is full or failed; what was at ``path`` is as it was.
    """
    count, clock = 0, 0
    with BagWriter(path, storage=storage, robot=spec.name, simulated=simulated, overwrite=overwrite) as bag:
        for record in records:
            stamps, given = nanoseconds(record.time), nanoseconds(getattr(record, "command_time", record.time))
            begin = min(int(stamps[0]), int(given[0]))
            stamps, given = stamps - begin + clock, given - begin + clock
            meta = {"id": count, **record.meta, "robot": spec.name, "simulated": simulated, "stamp_ns": int(stamps[0])}
            bag.trial(clock, meta)
            bag.run(stamps, spec, record.position, record.velocity, record.effort, record.command, given)
            clock = max(int(stamps[-1]), int(given[-1])) + BETWEEN_TRIALS
            count += 1
        if not count:
            raise InputError(f"{path}: there is no run to write")
    return count


def nanoseconds(times: ArrayLike) -> Ints:
    """Times [s] as whole nanoseconds, each the nearest to its float."""
    seconds = np.floor(np.asarray(times, np.float64))
    # The fraction is exact in floating point; times * 1e9 would lose up to 128 ns of a time since 1970.
    fraction = np.asarray(times, np.float64) - seconds
    return np.asarray(seconds.astype(np.int64) * 10**9 + np.round(fraction * 1e9).astype(np.int64))


@contextmanager
def _storage_errors(path: Path) -> Iterator[None]:
    """Turns what the storage libraries raise into errors for the user."""
    try:
        yield
    except sqlite3.Error as error:
        if "full" in str(error):
            raise OSError(errno.ENOSPC, str(error)) from error
        raise ForerunError(f"{path}: could not be written: {error}") from error
    except WriterError as error:
        raise ForerunError(f"{path}: could not be written: {error}") from error
