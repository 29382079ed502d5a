"""Reading a bundle's folder without trusting it: sizes bounded, paths kept inside, digests checked, nothing executed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from forerun_models.bundle.errors import BundleError

MAX_BYTES = 256 * 1024 * 1024
"""No file of a bundle may be larger."""


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def read(folder: Path, name: str, expected: str | None = None) -> bytes:
    """Content of the file ``name`` in the bundle, checked against its sha256 where ``expected`` is given.

    Raises:
        BundleError: the file is missing, lies outside the folder, is too large, or was changed.
    """
    path = folder / name
    if Path(name).is_absolute() or ".." in Path(name).parts or not path.resolve().is_relative_to(folder.resolve()):
        raise BundleError(f"{folder}: lists '{name}', which lies outside the bundle")
    try:
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise BundleError(f"{path}: {size} bytes are more than the {MAX_BYTES} that a bundle's file may have")
        content = path.read_bytes()
    except OSError as error:
        raise BundleError(f"{path}: cannot be read: {error.strerror}") from error
    if expected is not None and sha256(content) != expected:
        raise BundleError(f"{path}: was changed or damaged after the bundle was written (sha256 differs); export it again")
    return content


def refuse_external_data(content: bytes, source: str) -> None:
    """ONNX may point to further files for its weights. A bundle never does.

    Raises:
        BundleError: the graph names external data.
    """
    # In protobuf's wire format an entry of TensorProto.external_data with the key "location" begins with these bytes.
    if b"\x0a\x08location" in content:
        raise BundleError(f"{source}: keeps its weights in another file, which a bundle must not do")
