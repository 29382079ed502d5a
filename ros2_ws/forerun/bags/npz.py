"""Logs in NumPy's .npz files become bags, one trial a file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forerun.bags.write import BETWEEN_TRIALS, BagWriter, Storage, nanoseconds
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

USUAL_COMMAND = {"effort": "tau_cmd", "position": "q_cmd", "velocity": "dq_cmd"}
"""Name of the command's array where the user gives none, by interface."""


@dataclass(frozen=True)
class Columns:
    """Names of the arrays in a file. ``command`` None: by the robot's interface (``tau_cmd``, ``q_cmd``, ``dq_cmd``);
    ``velocity``, ``effort`` None: ``dq``, ``tau_meas`` where the file has them."""

    time: str = "t"
    position: str = "q"
    velocity: str | None = None
    effort: str | None = None
    command: str | None = None


@dataclass(frozen=True)
class Log:
    """A log, checked: ``stamps`` [T] ns rising (equal ones allowed); the rest [T, J] and [T, A], finite; SI.

    ``lacking`` names what the file does not hold.
    """

    path: Path
    stamps: Ints
    position: Floats
    velocity: Floats | None
    effort: Floats | None
    command: Floats
    lacking: tuple[str, ...]


def read_npz(path: str | Path, spec: RobotSpec, columns: Columns = Columns()) -> Log:
    """A log from ``path``; row j holds a state and the command given just after it.

    Raises:
        InputError: the file, an array or a value in it is missing or wrong; the message names it.
    """
    path = Path(path)
    arrays = _Arrays(path)
    stamps = _stamps(path, columns.time, arrays.take(columns.time))
    shape = (len(stamps), len(spec.joints))
    joints = f"robot '{spec.name}' has {len(spec.joints)} joints: {', '.join(spec.joint_names)}"
    position = arrays.matrix(columns.position, shape, joints)
    velocity = _optional(arrays, columns.velocity, "dq", shape, joints)
    effort = _optional(arrays, columns.effort, "tau_meas", shape, joints)
    takes = f"robot '{spec.name}' takes {spec.action_size} commands: {', '.join(spec.action_names)}"
    command = arrays.matrix(_command_name(path, columns, spec), (len(stamps), spec.action_size), takes)
    lacking = tuple(name for name, values in (("velocity", velocity), ("effort", effort)) if values is None)
    return Log(path, stamps, position, velocity, effort, command, lacking)


def write_logged(
    path: str | Path,
    logs: Sequence[Log],
    spec: RobotSpec,
    *,
    simulated: bool = False,
    storage: Storage = "mcap",
    overwrite: bool = False,
) -> None:
    """Write logs into a bag, each behind a ``trial`` message that names its file.

    A single log keeps its times exactly; of several every one after the first is shifted to begin a second after the one before.

    Raises:
        InputError: ``path`` exists already or cannot be written to.
        ForerunError: the disk is full or failed; what was at ``path`` is as it was.
    """
    end: int | None = None
    with BagWriter(path, storage=storage, robot=spec.name, simulated=simulated, overwrite=overwrite) as bag:
        for log in logs:
            stamps = log.stamps if end is None else log.stamps - log.stamps[0] + end + BETWEEN_TRIALS
            data = {"id": log.path.stem, "source": log.path.name, "robot": spec.name, "simulated": simulated}
            bag.trial(int(stamps[0]), {**data, "stamp_ns": int(stamps[0])})
            bag.run(stamps, spec, log.position, log.velocity, log.effort, log.command)
            end = int(stamps[-1])


class _Arrays:
    """The arrays of an npz file, by name."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._arrays = dict(_load(path))

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    def take(self, name: str) -> Floats:
        if name not in self._arrays:
            raise InputError(f"{self._path}: has no array '{name}'; it has: {', '.join(self._arrays) or 'none'}")
        array = self._arrays[name]
        if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
            raise InputError(f"{self._path}: array '{name}' holds {array.dtype}, not numbers")
        return np.asarray(array, np.float64)

    def matrix(self, name: str, shape: tuple[int, int], expected: str) -> Floats:
        array = self.take(name)
        if array.ndim == 1 and shape[1] == 1:
            array = array[:, None]
        if array.ndim != 2 or array.shape[1] != shape[1]:
            raise InputError(f"{self._path}: array '{name}' has the shape {array.shape}; {expected}")
        if len(array) != shape[0]:
            raise InputError(f"{self._path}: array '{name}' has {len(array)} rows, the time has {shape[0]}")
        bad = ~np.isfinite(array)
        if bad.any():
            row, column = (int(i) for i in np.argwhere(bad)[0])
            where = f"column {column} of row {row}"
            raise InputError(
                f"{self._path}: array '{name}' has {int(bad.sum())} values that are not finite, the first in {where}"
            )
        return array


def _load(path: Path) -> Iterator[tuple[str, NDArray[np.generic]]]:
    try:
        file = np.load(path, allow_pickle=False)
        if not isinstance(file, np.lib.npyio.NpzFile):
            raise InputError(f"{path}: is a single array; expected an .npz file with named arrays")
        with file:
            for name in file.files:
                yield name, file[name]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, NotImplementedError) as error:
        raise InputError(f"{path}: is damaged or no .npz file of plain arrays: {error}") from error


def _stamps(path: Path, name: str, times: Floats) -> Ints:
    if times.ndim != 1 or not len(times):
        raise InputError(f"{path}: array '{name}' has the shape {times.shape}; expected the time of each row [s]")
    if not np.isfinite(times).all():
        raise InputError(f"{path}: array '{name}' is not finite in row {int(np.flatnonzero(~np.isfinite(times))[0])}")
    if times.min() < 0 or times.max() >= 2**31:
        raise InputError(f"{path}: array '{name}' must lie between 0 and 2^31 s; it reaches from {times.min()} to {times.max()}")
    back = np.flatnonzero(np.diff(times) < 0)
    if len(back):
        row = int(back[0]) + 1
        raise InputError(
            f"{path}: time goes backwards in row {row}: from {times[row - 1]} to {times[row]} s; split the log there"
        )
    return nanoseconds(times)


def _optional(arrays: _Arrays, name: str | None, usual: str, shape: tuple[int, int], expected: str) -> Floats | None:
    if name is None and usual not in arrays:
        return None
    return arrays.matrix(name or usual, shape, expected)


def _command_name(path: Path, columns: Columns, spec: RobotSpec) -> str:
    if columns.command is not None:
        return columns.command
    interfaces = {joint.interface for joint in spec.actuated}
    if len(interfaces) != 1:
        found = ", ".join(sorted(interfaces)) or "none"
        raise InputError(f"{path}: name the array of commands (--command): the interfaces of robot '{spec.name}' are {found}")
    return USUAL_COMMAND[interfaces.pop()]
