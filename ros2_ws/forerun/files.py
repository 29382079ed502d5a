"""Files and folders that appear whole or not at all: ``forerun_sim.files``, and many folders at once."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forerun_sim.errors import InputError
from forerun_sim.files import atomic_file, atomic_folder, refuse_existing, sync_folder, write_error, write_file

__all__ = ["atomic_children", "atomic_file", "atomic_folder", "refuse_existing", "sync_folder", "write_error", "write_file"]


@contextmanager
def atomic_children(folder: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A folder to fill; what is in it moves into ``folder`` when the block ends without an exception: all of it or nothing.

    With ``overwrite`` files and folders of the same names are replaced.

    Raises:
        InputError: ``folder`` is a file, may not be written to, or has something of the same name that may not be replaced.
        ForerunError: the disk is full or failed. ``folder`` is as it was.
    """
    folder = Path(folder)
    if not folder.exists():
        with atomic_folder(folder) as fresh:
            fresh.mkdir()
            yield fresh
        return
    if not folder.is_dir():
        raise InputError(f"{folder}: is a file; choose a folder")
    try:
        with tempfile.TemporaryDirectory(prefix=".forerun.", suffix=".tmp", dir=folder) as container:
            fresh, aside = Path(container, "fresh"), Path(container, "replaced")
            fresh.mkdir()
            aside.mkdir()
            yield fresh
            sync_folder(fresh)
            _move(fresh, folder, aside, overwrite)
    except OSError as error:
        raise write_error(folder, error) from error


def _move(fresh: Path, folder: Path, aside: Path, overwrite: bool) -> None:
    children = sorted(fresh.iterdir())
    for child in children:
        refuse_existing(folder / child.name, overwrite)
    moved: list[Path] = []
    try:
        for child in children:
            target = folder / child.name
            moved.append(target)
            if target.exists():
                target.rename(aside / child.name)
            child.rename(target)
    except BaseException:
        for target in moved:
            if not (fresh / target.name).exists():
                target.rename(fresh / target.name)
            if (aside / target.name).exists():
                (aside / target.name).rename(target)
        raise
