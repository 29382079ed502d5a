"""Many logs become a folder of bags, or one bag: all of them or none."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from forerun.bags.npz import Columns, Log, read_npz, write_logged
from forerun.bags.write import Storage
from forerun_sim.errors import InputError
from forerun_sim.files import atomic_children, refuse_existing
from forerun_sim.spec import RobotSpec

Progress = Callable[[Path], None]


def convert_npz(
    files: Sequence[Path],
    out: Path,
    spec: RobotSpec,
    columns: Columns,
    *,
    one_bag: bool = False,
    simulated: bool = False,
    storage: Storage = "mcap",
    overwrite: bool = False,
    progress: Progress = lambda path: None,
) -> list[tuple[Path, Log]]:
    """``convert_logs`` of NumPy's .npz files."""
    return convert_logs(
        files,
        out,
        spec,
        lambda path: read_npz(path, spec, columns),
        one_bag=one_bag,
        simulated=simulated,
        storage=storage,
        overwrite=overwrite,
        progress=progress,
    )


def convert_logs(
    files: Sequence[Path],
    out: Path,
    spec: RobotSpec,
    read: Callable[[Path], Log],
    *,
    one_bag: bool = False,
    simulated: bool = False,
    storage: Storage = "mcap",
    overwrite: bool = False,
    progress: Progress = lambda path: None,
) -> list[tuple[Path, Log]]:
    """Write each file of ``files`` as the bag ``out/<name>``, or all of them as the one bag ``out``.

    All files are read before anything is written, and bags appear under ``out`` only once all of them are complete.

    Args:
        read: a file's log.
        progress: called after each file that was read and after each that was written.

    Returns:
        Bag and log of each file.

    Raises:
        InputError: a file is wrong, two files have the same name, or a bag exists already.
        ForerunError: the disk is full or failed.
    """
    if not files:
        raise InputError("no file was named")
    names = [path.stem for path in files]
    twice = sorted({path.name for path in files if names.count(path.stem) > 1})
    if twice and not one_bag:
        raise InputError(f"several files are called {twice[0]}: their bags would be one; convert them into different folders")
    targets = [out if one_bag else out / name for name in names]
    for target in dict.fromkeys(targets):
        refuse_existing(target, overwrite)
    logs = []
    for path in files:
        logs.append(read(path))
        progress(path)
    if one_bag:
        write_logged(out, logs, spec, simulated=simulated, storage=storage, overwrite=overwrite)
        for path in files:
            progress(path)
        return list(zip(targets, logs, strict=True))
    with atomic_children(out, overwrite=overwrite) as folder:
        for log in logs:
            write_logged(folder / log.path.stem, [log], spec, simulated=simulated, storage=storage)
            progress(log.path)
    return list(zip(targets, logs, strict=True))
