"""Files and folders that appear whole or not at all.

Everything is written beside its target under a hidden temporary name, brought to the disk, and renamed. Whatever goes wrong on
the way (full disk, Ctrl-C, a bug) leaves the target as it was and removes the temporary.
"""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from forerun_sim.errors import ForerunError, InputError

_REFUSED = {errno.EACCES, errno.EEXIST, errno.EPERM, errno.EROFS, errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR}


def write_error(target: Path, error: OSError) -> ForerunError:
    """What to tell the user when ``target`` could not be written: InputError where another target would do."""
    reason = error.strerror or str(error)
    if error.errno in _REFUSED:
        return InputError(f"{target}: cannot be written: {reason}; choose a folder that you may write to")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return ForerunError(f"{target}: the disk is full ({reason}); nothing was written there, free some space and try again")
    return ForerunError(f"{target}: could not be written: {reason}; nothing was written there")


def refuse_existing(target: Path, overwrite: bool) -> None:
    """Raises InputError where ``target`` exists and may not be replaced."""
    if not overwrite and (target.exists() or target.is_symlink()):
        raise InputError(f"{target}: exists already; choose another name or allow to overwrite it")


def write_file(target: str | Path, content: bytes | str, *, overwrite: bool = True) -> None:
    """Write a whole file atomically.

    Raises:
        InputError: ``target`` exists and may not be replaced, or its folder may not be written to.
        ForerunError: the disk is full or failed. The target is as it was.
    """
    with atomic_file(target, overwrite=overwrite) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


@contextmanager
def atomic_file(target: str | Path, *, overwrite: bool = True) -> Iterator[Path]:
    """A path to write to; it becomes ``target`` when the block ends without an exception. Errors as in ``write_file``."""
    target = Path(target)
    refuse_existing(target, overwrite)
    with _beside(target) as container:
        temporary = container / target.name
        yield temporary
        _sync(temporary)
        temporary.replace(target)
        _sync(target.parent)


@contextmanager
def atomic_folder(target: str | Path, *, overwrite: bool = False) -> Iterator[Path]:
    """A path, not yet there, for a folder that becomes ``target`` when the block ends without an exception.

    Errors as in ``write_file``. With ``overwrite`` an existing target is replaced as a whole.
    """
    target = Path(target)
    refuse_existing(target, overwrite)
    with _beside(target) as container:
        temporary = container / target.name
        yield temporary
        sync_folder(temporary)
        if target.exists():
            _exchange(temporary, target, container / "replaced")
        else:
            temporary.rename(target)
        _sync(target.parent)


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


def sync_folder(folder: Path) -> None:
    """Bring every file and folder below ``folder`` to the disk."""
    for path in sorted(folder.rglob("*")):
        _sync(path)
    _sync(folder)


@contextmanager
def _beside(target: Path) -> Iterator[Path]:
    """A temporary folder on the target's file system, gone afterwards; OSErrors become errors for the user."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        container = Path(tempfile.mkdtemp(prefix=f".{target.name[:40]}.", suffix=".tmp", dir=target.parent))
    except OSError as error:
        raise write_error(target, error) from error
    try:
        yield container
    except OSError as error:
        raise write_error(target, error) from error
    finally:
        shutil.rmtree(container, ignore_errors=True)


def _exchange(fresh: Path, target: Path, aside: Path) -> None:
    target.rename(aside)
    try:
        fresh.rename(target)
    except BaseException:
        aside.rename(target)
        raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


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
