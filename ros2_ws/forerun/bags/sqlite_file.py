"""Reads rosbag2's SQLite storage, all versions of its schema."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import zstandard

from forerun.bags.content import KEPT, Content
from forerun_sim.errors import InputError

_BATCH = 1024
"""Messages that are taken at once."""


def read(file: Path, content: Content, *, name: Path) -> None:
    """Add the messages of ``file`` to ``content``, in the order of recording; ``name`` stands in messages.

    Raises:
        InputError: the file is damaged, truncated or no bag.
    """
    try:
        with closing(sqlite3.connect(_uri(file), uri=True)) as connection:
            _read(connection, content, name)
    except (sqlite3.Error, zstandard.ZstdError, ValueError) as error:
        raise InputError(f"{name}: is truncated, damaged or no rosbag2 SQLite file: {error}") from error


def _uri(file: Path) -> str:
    # Immutable: nothing is written beside the bag and a read-only disk will do. A write-ahead log that a killed recorder left
    # behind holds messages, which only the ordinary mode reads.
    log = file.with_name(f"{file.name}-wal")
    mode = "mode=ro" if log.exists() and log.stat().st_size else "immutable=1"
    return f"{file.resolve().as_uri()}?{mode}"


def _read(connection: sqlite3.Connection, content: Content, name: Path) -> None:
    tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    if not {"topics", "messages"} <= tables:
        raise InputError(f"{name}: is no rosbag2 file: its tables are {', '.join(sorted(tables)) or 'none'}")
    topics: dict[int, str] = {}
    for number, topic, kind, encoding in connection.execute("SELECT id, name, type, serialization_format FROM topics"):
        if encoding != "cdr":
            content.notes.append(f"{name}: topic {topic} left out: its messages are {encoding}, not cdr")
            continue
        topics[number] = topic
        content.declare(topic, kind)
    if "metadata" in tables:
        for (text,) in connection.execute("SELECT metadata FROM metadata"):
            content.add_metadata(text)
    # Pictures and the like are counted, not read.
    kept = [number for number, topic in topics.items() if content.topics[topic] in KEPT]
    wanted = f"CASE WHEN topic_id IN ({', '.join('?' * len(kept))}) THEN data END"
    rows = connection.execute(f"SELECT topic_id, timestamp, {wanted} FROM messages ORDER BY id", kept)
    while batch := rows.fetchmany(_BATCH):
        ids, received, payloads = zip(*batch, strict=True)
        numbers, which = np.unique(ids, return_inverse=True)
        content.add_batch([topics.get(number) for number in numbers.tolist()], which, received, payloads)
