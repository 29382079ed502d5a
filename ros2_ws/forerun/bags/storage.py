"""A bag's messages as they lie in its files, whatever the storage: folder with metadata.yaml, lone ``.mcap`` or ``.db3`` file.

Messages keep the order in which they were recorded. Sorting them by time, as ``rosbags`` and ``ros2 bag play`` do, would hide a
clock that jumped back and mix the trials before and after it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from forerun.bags import compressed, mcap_file, sqlite_file
from forerun.bags.content import KEPT, Content
from forerun_sim.errors import InputError

SUFFIXES = (".mcap", ".db3")
MOST = 400_000
"""Messages that wait before they are taken: some 130 MB."""


@dataclass(frozen=True)
class Topic:
    """A topic of a bag, its type (``pkg/msg/Name``) and number of messages."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class Stream:
    """The messages of one topic, in the order of recording.

    Attributes:
        topic: where they were published.
        order: [N] position among all messages of the bag.
        received: [N] receive time [ns].
        payloads: N serialized messages (CDR).
    """

    topic: Topic
    order: NDArray[np.int64]
    received: NDArray[np.int64]
    payloads: list[bytes]

    def until(self, order: int) -> Stream:
        """The messages before that position of the bag."""
        count = int(np.searchsorted(self.order, order))
        return Stream(self.topic, self.order[:count], self.received[:count], self.payloads[:count])


@dataclass(frozen=True)
class RawBag:
    """A bag's topics and the messages of the kept types.

    Attributes:
        path: as the user named it.
        storage: ``mcap`` or ``sqlite3``.
        files: the storage files.
        topics: all of them, by name.
        streams: topic name -> messages, for kept types.
        custom: what our writers stored about the bag, without the prefix.
        notes: what the reader should know, e.g. that the end is missing.
    """

    path: Path
    storage: str
    files: tuple[Path, ...]
    topics: tuple[Topic, ...]
    streams: dict[str, Stream]
    custom: dict[str, str]
    notes: tuple[str, ...]

    @property
    def listing(self) -> str:
        """The topics in words, for messages."""
        return ", ".join(f"{topic.name} ({topic.type}, {topic.count})" for topic in self.topics) or "no topics"

    def until(self, order: int) -> RawBag:
        """The messages before that position of the bag."""
        return replace(self, streams={name: stream.until(order) for name, stream in self.streams.items()})


Take = Callable[[RawBag], tuple[int, str]]
"""Says which messages of a bag it has taken: those before a position of the bag (``Stream.order``), but for the newest one of a
topic."""


def is_bag(path: Path) -> bool:
    """True for a folder that holds a rosbag2 and for a storage file."""
    if path.is_dir():
        return (path / "metadata.yaml").is_file() or any(child.suffix in SUFFIXES for child in path.iterdir())
    return path.suffix in SUFFIXES


def read_raw(path: str | Path, *, take: Take | None = None, most: int = MOST) -> RawBag:
    """The bag at ``path``, a folder or a ``.mcap`` or ``.db3`` file.

    A truncated MCAP file is read up to its last whole chunk, which ``notes`` say.

    Args:
        take: gets what has been read whenever more than ``most`` messages wait, so that a bag may be larger than the memory. What
            it takes is missing in the bag that is returned, but not in its topics' counts.

    Raises:
        InputError: no bag there, or it is damaged or of a kind that cannot be read.
    """
    path = Path(path)
    if not path.exists():
        raise InputError(f"{path}: no such bag")
    metadata = _metadata(path)
    files = _files(path, metadata)
    content = Content()
    content.add_custom(metadata.get("custom_data"))
    compression = str(metadata.get("compression_mode") or "none").lower()
    if compression not in ("none", "message", "file", "storage"):
        raise InputError(f"{path}: compression mode '{compression}' cannot be read")
    if compression in ("file", "message") and metadata.get("compression_format") != "zstd":
        raise InputError(f"{path}: compression format '{metadata.get('compression_format')}' cannot be read, only zstd")
    if take is not None:
        content.most, content.full = most, lambda: content.forget(*take(_collect(path, files, content)))
    for file in files:
        _read_file(file, content, compression)
    expected = metadata.get("message_count")
    found = content.messages
    if isinstance(expected, int) and expected > found and not any("truncated" in note for note in content.notes):
        content.notes.append(f"{path}: metadata.yaml announces {expected} messages, the files hold {found}")
    return _collect(path, files, content)


def _read_file(file: Path, content: Content, compression: str) -> None:
    if compression == "message":
        content.unpack = compressed.decompress_message
    with compressed.plain(file, compression == "file") as plain:
        suffix = plain.suffix
        if suffix == ".mcap":
            mcap_file.read(plain, content, name=file)
        elif suffix == ".db3":
            sqlite_file.read(plain, content, name=file)
        else:
            raise InputError(f"{file}: unknown kind of bag file; rosbag2 writes {' and '.join(SUFFIXES)} files")


def _collect(path: Path, files: tuple[Path, ...], content: Content) -> RawBag:
    topics = tuple(Topic(name, kind, content.counts[name]) for name, kind in sorted(content.topics.items()))
    streams = {}
    for topic in topics:
        if topic.type in KEPT:
            rows = content.rows[topic.name]
            order, received = (np.array(numbers, np.int64) for numbers in (rows.order, rows.received))
            streams[topic.name] = Stream(topic, order, received, rows.payloads)
    storage = "mcap" if ".mcap" in files[0].suffixes else "sqlite3"
    return RawBag(path, storage, files, topics, streams, dict(content.custom), tuple(content.notes))


def _metadata(path: Path) -> dict[str, Any]:
    file = path / "metadata.yaml"
    if not file.is_file():
        return {}
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
        info = data["rosbag2_bagfile_information"]
        if not isinstance(info, dict):
            raise TypeError("rosbag2_bagfile_information is no mapping")
    except OSError as error:
        raise InputError(f"{file}: cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise InputError(f"{file}: is no rosbag2 metadata ({error}); 'ros2 bag reindex' writes a new one") from error
    return info


def _files(path: Path, metadata: dict[str, Any]) -> tuple[Path, ...]:
    if path.is_file():
        return (path,)
    names = metadata.get("relative_file_paths")
    if names is None:
        found = [child for child in path.iterdir() if child.suffix in SUFFIXES]
        if not found:
            raise InputError(f"{path}: is no bag: no metadata.yaml and no {' or '.join(SUFFIXES)} file in it")
        if len({child.suffix for child in found}) > 1:
            raise InputError(f"{path}: has no metadata.yaml and files of two kinds; name one of them")
        return tuple(sorted(found, key=_natural))
    if not isinstance(names, list) or not names:
        raise InputError(f"{path / 'metadata.yaml'}: names no bag files; 'ros2 bag reindex' writes a new one")
    # Only the last part counts: a bag's files lie in its folder, and a path must not lead out of it.
    files = tuple(path / PurePath(str(name)).name for name in names)
    missing = [file.name for file in files if not file.is_file()]
    if missing:
        raise InputError(f"{path}: files named by metadata.yaml are missing: {', '.join(missing)}")
    return files


def _natural(path: Path) -> list[tuple[int, str]]:
    """Sorting key under which ``bag_10`` follows ``bag_9``."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name)]
