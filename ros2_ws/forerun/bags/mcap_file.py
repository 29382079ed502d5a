"""Reads MCAP files record by record, in the order of recording, and a truncated one up to its last whole chunk."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import lz4.frame  # type: ignore[import-untyped]
import numpy as np
import zstandard
from mcap.data_stream import ReadDataStream
from mcap.exceptions import McapError
from mcap.opcode import Opcode
from mcap.records import Channel, Chunk, Metadata, Schema

from forerun.bags.content import Content
from forerun_sim.errors import InputError

MAGIC = b"\x89MCAP0\r\n"
LARGEST_RECORD = 4 * 2**30
_HEADER = struct.Struct("<BQ")
_MESSAGE = struct.Struct("<HIQQ")
_RECORD = struct.Struct("<BQHIQQ")
"""Header and message together: opcode, length, channel, sequence, time of logging, time of publication."""


class _Truncated(Exception):
    """The file ends within a record."""


def read(file: Path, content: Content, *, name: Path) -> None:
    """Add the messages of ``file`` to ``content``; ``name`` stands in messages.

    Raises:
        InputError: no MCAP file, or a chunk in it is damaged. A missing end only adds a note.
    """
    records = _Records(content, name)
    whole = 0
    with file.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise InputError(f"{name}: is empty or no MCAP file")
        try:
            for position, opcode, data in _records(stream):
                try:
                    records.take(opcode, data)
                except (McapError, zstandard.ZstdError, struct.error, RuntimeError, ValueError, IndexError) as error:
                    raise InputError(f"{name}: is damaged at byte {position}: {error}") from error
                whole = position + _HEADER.size + len(data)
        except _Truncated:
            content.notes.append(
                f"{name}: is truncated, its end is missing; read up to byte {whole}: {content.messages} messages"
            )


def _records(stream: BinaryIO) -> Iterator[tuple[int, int, bytes]]:
    """Position, kind and bytes of the file's records up to its footer.

    Raises:
        _Truncated: the file ends before the footer.
    """
    wanted = {Opcode.SCHEMA, Opcode.CHANNEL, Opcode.MESSAGE, Opcode.CHUNK, Opcode.METADATA}
    while True:
        position = stream.tell()
        header = stream.read(_HEADER.size)
        if len(header) < _HEADER.size:
            raise _Truncated
        opcode, length = _HEADER.unpack(header)
        if opcode == Opcode.FOOTER:
            return
        if opcode not in wanted:
            stream.seek(length, 1)
            continue
        if length > LARGEST_RECORD:
            raise _Truncated
        data = stream.read(length)
        if len(data) < length:
            raise _Truncated
        yield position, opcode, data


class _Records:
    """Takes records and adds what they hold to ``content``."""

    def __init__(self, content: Content, name: Path) -> None:
        self._content, self._name = content, name
        self._schemas: dict[int, str] = {}
        self._channels: dict[int, str | None] = {}

    def take(self, opcode: int, data: bytes) -> None:
        if opcode == Opcode.MESSAGE:
            channel, _, received, _ = _MESSAGE.unpack_from(data)
            self._messages([channel], [received], [data[_MESSAGE.size :]])
        elif opcode == Opcode.CHUNK:
            self._chunk(data)
        elif opcode == Opcode.SCHEMA:
            schema = Schema.read(ReadDataStream(BytesIO(data)))
            self._schemas[schema.id] = schema.name
        elif opcode == Opcode.CHANNEL:
            self._channel(Channel.read(ReadDataStream(BytesIO(data))))
        elif opcode == Opcode.METADATA:
            self._metadata(Metadata.read(ReadDataStream(BytesIO(data))))

    def _chunk(self, data: bytes) -> None:
        """Messages one after another are gathered and handed on together: calls per message would cost most of the time."""
        chunk = Chunk.read(ReadDataStream(BytesIO(data)))
        body = _decompress(chunk)
        position, end = 0, len(body)
        channels: list[int] = []
        received: list[int] = []
        payloads: list[bytes] = []
        unpack, size = _RECORD.unpack_from, _RECORD.size
        while position < end:
            if end - position >= size:
                opcode, length, channel, _, logged, _ = unpack(body, position)
            else:
                opcode, length = _HEADER.unpack_from(body, position)
            following = position + _HEADER.size + length
            if following > end:
                raise ValueError("a record reaches beyond its chunk")
            if opcode == Opcode.MESSAGE and length >= _MESSAGE.size:
                channels.append(channel)
                received.append(logged)
                payloads.append(body[position + size : following])
            else:
                self._messages(channels, received, payloads)
                channels, received, payloads = [], [], []
                self.take(opcode, body[position + _HEADER.size : following])
            position = following
        self._messages(channels, received, payloads)

    def _messages(self, channels: list[int], received: list[int], payloads: list[bytes]) -> None:
        if not channels:
            return
        numbers, which = np.unique(channels, return_inverse=True)
        for channel in numbers.tolist():
            if channel not in self._channels:
                raise ValueError(f"a message of channel {channel}, which the file does not declare")
        self._content.add_batch([self._channels[number] for number in numbers.tolist()], which, received, payloads)

    def _channel(self, channel: Channel) -> None:
        if channel.id in self._channels:
            return
        if channel.message_encoding != "cdr":
            encoding = channel.message_encoding
            self._content.notes.append(f"{self._name}: topic {channel.topic} left out: its messages are {encoding}, not cdr")
            self._channels[channel.id] = None
            return
        self._channels[channel.id] = channel.topic
        self._content.declare(channel.topic, self._schemas.get(channel.schema_id, ""))

    def _metadata(self, record: Metadata) -> None:
        self._content.add_custom(record.metadata)
        if record.name == "rosbag2" and "serialized_metadata" in record.metadata:
            self._content.add_metadata(record.metadata["serialized_metadata"])


def _decompress(chunk: Chunk) -> bytes:
    if chunk.compression == "zstd":
        body: bytes = zstandard.ZstdDecompressor().decompress(chunk.data, max_output_size=chunk.uncompressed_size)
    elif chunk.compression == "lz4":
        body = lz4.frame.decompress(chunk.data)
    elif not chunk.compression:
        body = chunk.data
    else:
        raise ValueError(f"compression '{chunk.compression}' is unknown")
    if len(body) != chunk.uncompressed_size:
        raise ValueError(f"a chunk of {len(body)} bytes instead of {chunk.uncompressed_size}")
    if chunk.uncompressed_crc and zlib.crc32(body) != chunk.uncompressed_crc:
        raise ValueError("the checksum of a chunk is wrong")
    return body
