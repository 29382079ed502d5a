"""A robot's folder on its way to machines that do not have it."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec

_LARGEST = 64 * 2**20
"""Bytes of a robot's folder at most: a folder with bags in it is not to be sent around."""


@dataclass(frozen=True)
class Luggage:
    """The files of a robot's folder by their paths in it. Files that the robot has outside of it are not among them."""

    files: dict[str, bytes]

    @classmethod
    def of(cls, spec: RobotSpec) -> Luggage:
        """What is in the robot's folder.

        Raises:
            InputError: it is too large.
        """
        paths = _paths(spec.folder)
        size = sum(path.stat().st_size for path in paths)
        if size > _LARGEST:
            raise InputError(
                f"{spec.folder}: holds {size / 2**20:.0f} MB, and all of it would go to every node (at most"
                f" {_LARGEST / 2**20:.0f} MB); give the robot a folder with nothing but its own files"
            )
        return cls({str(path.relative_to(spec.folder)): path.read_bytes() for path in paths})

    @contextmanager
    def unpacked(self, spec: RobotSpec) -> Iterator[RobotSpec]:
        """``spec`` with these files: where they lie already if they are the same there, else in a folder of their own."""
        if spec.folder.is_dir() and self._lies_in(spec.folder):
            yield spec
            return
        with tempfile.TemporaryDirectory(prefix=f"forerun-{spec.name}-") as folder:
            for name, content in self.files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(content)
            yield spec.at(Path(folder))

    def _lies_in(self, folder: Path) -> bool:
        paths = [folder / name for name in self.files]
        return all(path.is_file() for path in paths) and all(
            path.read_bytes() == content for path, content in zip(paths, self.files.values(), strict=True)
        )


def _paths(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.rglob("*")) if path.is_file() and "__pycache__" not in path.parts]
