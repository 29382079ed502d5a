"""Bags that ``ros2 bag record --compression-mode`` wrote: whole files or single messages compressed with zstd."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import zstandard

from forerun_sim.errors import InputError

LARGEST_MESSAGE = 2**30


def decompress_message(data: bytes) -> bytes:
    """One message that was compressed by itself."""
    return zstandard.ZstdDecompressor().decompress(data, max_output_size=LARGEST_MESSAGE)


@contextmanager
def plain(file: Path, compressed: bool) -> Iterator[Path]:
    """``file`` itself, or a decompressed copy that lives as long as the block.

    Raises:
        InputError: the file is no zstd file or is damaged.
    """
    if not compressed:
        yield file
        return
    with tempfile.TemporaryDirectory(prefix="forerun-bag-") as folder:
        copy = Path(folder) / file.stem
        try:
            with file.open("rb") as source, copy.open("wb") as target:
                zstandard.ZstdDecompressor().copy_stream(source, target)
        except zstandard.ZstdError as error:
            raise InputError(f"{file}: is damaged or no zstd file: {error}") from error
        yield copy
