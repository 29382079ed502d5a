"""Records a live stream into an MCAP bag that stays readable whatever happens to the recorder.

``BagWriter`` makes whole bags; a recorder must leave what it has so far when it is killed. So messages go to their final file in
chunks that are handed to the operating system about once a second, and metadata.yaml follows at the end.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO

import yaml
from mcap.writer import CompressionType, Writer
from rosbags.interfaces import Qos
from rosbags.rosbag2.metadata import dump_qos_v9

from forerun.bags.content import STRING, custom_data
from forerun.bags.encode import typestore
from forerun.bags.qos import LATCHED, RELIABLE
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.files import refuse_existing, sync_folder, write_error, write_file

VERSION = 9
CHUNK = 256 * 1024
"""Bytes: a killed recorder loses at most this much, or what came within ``flush_every``."""


class StreamWriter:
    """A recording under way, in the folder ``path``; a context manager. Not thread-safe.

    A message that is not ours (other types, camera images) is recorded as it is.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        robot: str | None = None,
        simulated: bool | None = None,
        flush_every: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """
        Args:
            path: folder of the bag; it must not exist yet.
            robot: name of the robot, kept in the bag.
            simulated: whether the robot is simulated, kept in the bag.
            flush_every: seconds after which messages are handed to the operating system.
            clock: seconds, for that; steady.

        Raises:
            InputError: ``path`` exists or cannot be created.
        """
        self.path = Path(path)
        refuse_existing(self.path, overwrite=False)
        self._custom = custom_data(robot, simulated)
        self._flush_every, self._clock, self._flushed = flush_every, clock, clock()
        self._channels: dict[str, int] = {}
        self._schemas: dict[str, int] = {}
        self._topics: dict[str, dict[str, Any]] = {}
        self._counts: dict[str, int] = {}
        self._first, self._last = 2**63 - 1, 0
        self._file = self.path / f"{self.path.name}_0.mcap"
        try:
            self.path.mkdir(parents=True)
            self._stream: BinaryIO = self._file.open("xb")
            self._writer = Writer(self._stream, chunk_size=CHUNK, compression=CompressionType.NONE)
            self._writer.start(profile="ros2", library="forerun")
            self._writer.add_metadata("forerun", self._custom)
            self._stream.flush()
        except OSError as error:
            raise write_error(self.path, error) from error

    @property
    def count(self) -> int:
        """Messages written so far."""
        return sum(self._counts.values())

    def add_topic(self, topic: str, msgtype: str, *, qos: Qos | None = None, definition: str | None = None) -> None:
        """Announce a topic; ``write_raw`` does it for standard types by itself.

        Args:
            topic: absolute name.
            msgtype: ``pkg/msg/Name``.
            qos: what its publisher offers; reliable if absent, latched for std_msgs/String.
            definition: text of the message definition (ros2msg) for types that are not part of ROS 2.

        Raises:
            InputError: the type is unknown and no definition was given.
        """
        name = "/" + topic.lstrip("/")
        if name in self._channels:
            return
        text, digest = self._definition(msgtype, definition)
        if msgtype not in self._schemas:
            self._schemas[msgtype] = self._writer.register_schema(msgtype, "ros2msg", text.encode())
        offered = dump_qos_v9([qos or (LATCHED if msgtype == STRING else RELIABLE)])
        metadata = {"offered_qos_profiles": yaml.safe_dump(offered).strip(), "topic_type_hash": digest}
        self._channels[name] = self._writer.register_channel(name, "cdr", self._schemas[msgtype], metadata)
        self._counts[name] = 0
        self._topics[name] = {
            "name": name,
            "type": msgtype,
            "serialization_format": "cdr",
            "offered_qos_profiles": offered,
            "type_description_hash": digest,
        }

    def write_raw(self, topic: str, msgtype: str, stamp: int, data: bytes) -> None:
        """Record one serialized message (CDR) that was received at ``stamp`` [ns].

        Raises:
            InputError: the type is unknown.
            ForerunError: the disk is full or failed; what was recorded before stays.
        """
        name = "/" + topic.lstrip("/")
        self.add_topic(name, msgtype)
        try:
            self._writer.add_message(self._channels[name], stamp, data, stamp, self._counts[name])
        except OSError as error:
            raise self._failed(error) from error
        self._counts[name] += 1
        self._first, self._last = min(self._first, stamp), max(self._last, stamp)
        self.flush_if_due()

    def flush_if_due(self) -> None:
        """Hand over what is older than ``flush_every``; to be called by a timer too, for streams that fall silent."""
        if self._clock() - self._flushed >= self._flush_every:
            self.flush()

    def flush(self) -> None:
        """Hand everything to the operating system: a killed recorder loses nothing of it.

        Raises:
            ForerunError: the disk is full or failed; what was recorded before stays.
        """
        self._flushed = self._clock()
        try:
            self._writer.flush()
        except OSError as error:
            raise self._failed(error) from error

    def close(self) -> None:
        """Finish the file, write metadata.yaml, bring both to the disk.

        Raises:
            ForerunError: the disk is full or failed; what was recorded before stays.
        """
        if self._stream.closed:
            return
        try:
            self._writer.add_metadata("rosbag2", {"serialized_metadata": yaml.safe_dump(self._metadata(), sort_keys=False)})
            self._writer.finish()
            self._stream.close()
            text = yaml.safe_dump({"rosbag2_bagfile_information": self._metadata()}, sort_keys=False)
            write_file(self.path / "metadata.yaml", text)
            sync_folder(self.path)
        except OSError as error:
            # Closing flushes again, and fails again for the reason that is reported here.
            with suppress(OSError):
                self._stream.close()
            raise self._failed(error) from error

    def __enter__(self) -> StreamWriter:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _failed(self, error: OSError) -> ForerunError:
        return ForerunError(f"{self.path}: recording failed: {error.strerror or error}; what was recorded before is kept")

    def _definition(self, msgtype: str, definition: str | None) -> tuple[str, str]:
        if definition is not None:
            return definition, ""
        if msgtype not in typestore().types:
            raise InputError(f"{self.path}: message type {msgtype} is unknown here; leave its topic out of the recording")
        return str(typestore().generate_msgdef(msgtype, ros_version=2)[0]), str(typestore().hash_rihs01(msgtype))

    def _metadata(self) -> dict[str, Any]:
        first = self._first if self.count else 0
        duration, start = {"nanoseconds": max(0, self._last - first)}, {"nanoseconds_since_epoch": first}
        return {
            "version": VERSION,
            "storage_identifier": "mcap",
            "duration": dict(duration),
            "starting_time": dict(start),
            "message_count": self.count,
            "topics_with_message_count": [
                {"topic_metadata": data, "message_count": self._counts[name]} for name, data in self._topics.items()
            ],
            "compression_format": "",
            "compression_mode": "",
            "relative_file_paths": [self._file.name],
            "files": [
                {"path": self._file.name, "starting_time": dict(start), "duration": dict(duration), "message_count": self.count}
            ],
            "custom_data": self._custom,
            "ros_distro": "jazzy",
        }
