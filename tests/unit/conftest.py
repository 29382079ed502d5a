"""Disks that are full or read-only, for real: small mounts of their own."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def mounted(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a tmpfs: ``mounted(size="1m")`` gives its folder. Skips where mounting is not allowed."""
    folders: list[Path] = []

    def mount(size: str = "1m") -> Path:
        folder = tmp_path / f"disk{len(folders)}"
        folder.mkdir()
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, text=True
        )
        if done.returncode:
            pytest.skip(f"a disk of {size} cannot be mounted here (root is needed): {done.stderr.strip()}")
        folders.append(folder)
        return folder

    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    yield mount
    for folder in folders:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def read_only() -> Callable[[Path], None]:
    """Makes a mounted folder read-only; rights alone would not stop root."""

    def remount(folder: Path) -> None:
        subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=True)

    return remount
