"""Bundles are immutable and appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from forerun_models.bundle.errors import BundleError
from forerun_models.bundle.files import sha256
from forerun_models.bundle.manifest import Manifest
from forerun_models.bundle.parity import ParityCase, to_npz


def write(path: str | Path, manifest: Manifest, files: Mapping[str, bytes], parity: Sequence[ParityCase]) -> Path:
    """Writes the bundle folder ``path`` (temporary folder, fsync, rename) and returns it.

    ``files`` holds act.onnx, dynamics.onnx where there is a model, and whatever belongs in train/; parity.npz is made from
    ``parity`` and ``manifest.files`` is filled in.

    Raises:
        BundleError: something exists at ``path`` already; bundles are never changed.
        OSError: the disk is full or read-only; nothing is left behind.
    """
    target = Path(path)
    if target.exists():
        raise BundleError(f"{target}: exists already; bundles are never changed, choose another name")
    content = {**files, "parity.npz": to_npz(parity)}
    manifest = replace(manifest, files={name: sha256(data) for name, data in sorted(content.items())})
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
    try:
        for name, data in {**content, "bundle.json": manifest.to_json().encode()}.items():
            _write_file(temporary / name, data)
        for folder in {temporary, *((temporary / name).parent for name in content)}:
            _sync_folder(folder)
        temporary.chmod(0o755)
        temporary.rename(target)
        _sync_folder(target.parent)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return target


def _write_file(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
