"""Bundles are immutable and appear whole or not at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from forerun_models.bundle.errors import BundleError
from forerun_models.bundle.files import sha256
from forerun_models.bundle.manifest import Manifest
from forerun_models.bundle.parity import ParityCase, to_npz
from forerun_sim.files import atomic_folder


def write(path: str | Path, manifest: Manifest, files: Mapping[str, bytes], parity: Sequence[ParityCase]) -> Path:
    """Writes the bundle folder ``path`` (temporary folder, fsync, rename) and returns it.

    ``files`` holds act.onnx, dynamics.onnx where there is a model, and whatever belongs in train/; parity.npz is made from
    ``parity`` and ``manifest.files`` is filled in.

    Raises:
        BundleError: something exists at ``path`` already; bundles are never changed.
        ForerunError: the disk is full or the folder cannot be written; nothing is left behind.
    """
    target = Path(path)
    if target.exists():
        raise BundleError(f"{target}: exists already; bundles are never changed, choose another name")
    content = {**files, "parity.npz": to_npz(parity)}
    manifest = replace(manifest, files={name: sha256(data) for name, data in sorted(content.items())})
    with atomic_folder(target) as folder:
        folder.mkdir()
        for name, data in {**content, "bundle.json": manifest.to_json().encode()}.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(data)
    return target
