"""Logs in CSV files become bags: columns mapped by name, their units stated."""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forerun.bags.npz import Log
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec

Floats = NDArray[np.float64]

TIMES = {"s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
"""Unit of time -> nanoseconds."""
_CURRENT = {"A": 1.0, "mA": 1e-3}
UNITS: Mapping[str, Mapping[str, float]] = {
    "position": {"rad": 1.0, "deg": math.pi / 180, "rev": 2 * math.pi, "m": 1.0, "cm": 1e-2, "mm": 1e-3},
    "velocity": {
        "rad/s": 1.0, "deg/s": math.pi / 180, "rpm": 2 * math.pi / 60, "rev/s": 2 * math.pi, "m/s": 1.0, "mm/s": 1e-3,
    },
    "effort": {"Nm": 1.0, "mNm": 1e-3, "N": 1.0, **_CURRENT},
}  # fmt: skip
"""Quantity -> unit -> SI. A current becomes an effort by the constant behind it: ``mA*0.05`` is a torque of 0.05 Nm per A."""
_COLUMN = re.compile(r"(?:(?P<joint>[^=]+)=)?(?P<column>.+?)(?::(?P<unit>[A-Za-z/]+)(?:\*(?P<factor>[^:]+))?)?")


@dataclass(frozen=True)
class Column:
    """A column of the file and what to multiply its numbers by."""

    name: str
    factor: float


@dataclass(frozen=True)
class Mapped:
    """Which columns hold what: ``unit`` of the time as in ``TIMES``; quantities in the order of robot.yaml, None where absent."""

    time: str
    unit: str
    position: tuple[Column, ...]
    velocity: tuple[Column, ...] | None
    effort: tuple[Column, ...] | None
    command: tuple[Column, ...]


def mapped(
    spec: RobotSpec,
    time: str,
    position: Sequence[str],
    velocity: Sequence[str],
    effort: Sequence[str],
    command: Sequence[str],
) -> Mapped:
    """The mapping that a user wrote: ``COLUMN:UNIT`` for the time, ``JOINT=COLUMN:UNIT`` for all else; units are SI if absent.

    Raises:
        InputError: a joint is missing, unknown or named twice, or a unit is none of its quantity.
    """
    name, _, unit = time.partition(":")
    unit = unit or "s"
    if unit not in TIMES:
        raise InputError(f"--time {time}: unit '{unit}' is unknown; there are: {', '.join(TIMES)}")
    joints, actuated = dict.fromkeys(spec.joint_names), {joint.name: joint.interface for joint in spec.actuated}
    quantities = {
        "position": _columns("position", position, dict.fromkeys(joints, "position")),
        "velocity": _columns("velocity", velocity, dict.fromkeys(joints, "velocity")) if velocity else None,
        "effort": _columns("effort", effort, dict.fromkeys(joints, "effort")) if effort else None,
        "command": _columns("command", command, actuated),
    }
    return Mapped(name, unit, **quantities)  # type: ignore[arg-type]


def _columns(option: str, texts: Sequence[str], wanted: Mapping[str, str]) -> tuple[Column, ...]:
    """A column for each joint of ``wanted`` (joint -> quantity)."""
    found: dict[str, Column] = {}
    for text in texts:
        match = _COLUMN.fullmatch(text)
        joint = (match["joint"] or "").strip() if match else ""
        if match is None or joint not in wanted:
            raise InputError(f"--{option} {text}: write JOINT=COLUMN:UNIT; joints: {', '.join(wanted)}")
        if joint in found:
            raise InputError(f"--{option} {text}: joint '{joint}' is named twice")
        found[joint] = Column(match["column"].strip(), _factor(option, text, wanted[joint], match["unit"], match["factor"]))
    missing = [joint for joint in wanted if joint not in found]
    if missing:
        raise InputError(f"--{option}: no column for joint '{missing[0]}'; write --{option} {missing[0]}=COLUMN:UNIT")
    return tuple(found[joint] for joint in wanted)


def _factor(option: str, text: str, quantity: str, unit: str | None, factor: str | None) -> float:
    units = UNITS[quantity]
    if unit is not None and unit not in units:
        raise InputError(f"--{option} {text}: '{unit}' is no unit of {quantity}; there are: {', '.join(units)}")
    if unit in _CURRENT and factor is None:
        raise InputError(f"--{option} {text}: a current needs its constant in Nm per A, as in {unit}*0.05")
    try:
        times = 1.0 if factor is None else float(factor)
    except ValueError as error:
        raise InputError(f"--{option} {text}: '{factor}' is no number") from error
    if not math.isfinite(times) or times == 0:
        raise InputError(f"--{option} {text}: the factor must be finite and not 0")
    return times * (units[unit] if unit is not None else 1.0)


def read_csv(path: str | Path, columns: Mapped) -> Log:
    """A log from ``path``: a line of names, then a row j with a state and the command given just after it.

    Commas, semicolons or tabs stand between the values; with semicolons a comma may be the decimal point.

    Raises:
        InputError: the file, a column or a value in it is missing or wrong; the message names the line.
    """
    path = Path(path)
    names, lines, comma = _lines(path)
    stamps = np.array([_stamp(path, number, row, names, columns, comma) for number, row in lines], np.int64)
    back = np.flatnonzero(np.diff(stamps) < 0)
    if len(back):
        line = lines[int(back[0]) + 1][0]
        raise InputError(f"{path}: line {line}: time goes backwards; split the log there")

    def matrix(wanted: tuple[Column, ...]) -> Floats:
        return np.stack([_values(path, lines, names, column, comma) for column in wanted], axis=1)

    velocity = None if columns.velocity is None else matrix(columns.velocity)
    effort = None if columns.effort is None else matrix(columns.effort)
    lacking = tuple(name for name, values in (("velocity", velocity), ("effort", effort)) if values is None)
    return Log(path, stamps, matrix(columns.position), velocity, effort, matrix(columns.command), lacking)


def _lines(path: Path) -> tuple[list[str], list[tuple[int, list[str]]], bool]:
    """Names of the columns, (line number, values) of the rows, and whether a comma is the decimal point."""
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            head = file.readline()
            mark = max(";\t,", key=head.count)
            file.seek(0)
            rows = [(number, row) for number, row in enumerate(csv.reader(file, delimiter=mark), start=1) if any(row)]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is no CSV file: {error}") from error
    if len(rows) < 2:
        raise InputError(f"{path}: has no rows below a line of names")
    names = [name.strip() for name in rows[0][1]]
    for number, row in rows[1:]:
        if len(row) != len(names):
            raise InputError(f"{path}: line {number}: has {len(row)} values, the first line names {len(names)} columns")
    return names, rows[1:], mark == ";"


def _place(path: Path, names: list[str], name: str) -> int:
    if names.count(name) != 1:
        what = "several columns" if name in names else "no column"
        raise InputError(f"{path}: has {what} '{name}'; it has: {', '.join(names)}")
    return names.index(name)


def _stamp(path: Path, number: int, row: list[str], names: list[str], columns: Mapped, comma: bool) -> int:
    """Whole nanoseconds: a float would lose up to 128 ns of a time since 1970."""
    text = row[_place(path, names, columns.time)].strip()
    try:
        stamp = round(Decimal(text.replace(",", ".") if comma else text) * TIMES[columns.unit])
    except (InvalidOperation, ValueError, OverflowError) as error:
        raise InputError(f"{path}: line {number}: '{text}' in column '{columns.time}' is no time") from error
    if not 0 <= stamp < 2**31 * 10**9:
        raise InputError(
            f"{path}: line {number}: column '{columns.time}' must lie between 0 and 2^31 s; is '{columns.unit}' its unit?"
        )
    return stamp


def _values(path: Path, lines: list[tuple[int, list[str]]], names: list[str], column: Column, comma: bool) -> Floats:
    place, values = _place(path, names, column.name), np.empty(len(lines))
    for index, (number, row) in enumerate(lines):
        text = row[place].strip()
        try:
            values[index] = float(text.replace(",", ".") if comma else text)
        except ValueError as error:
            raise InputError(f"{path}: line {number}: '{text}' in column '{column.name}' is no number") from error
        if not math.isfinite(values[index]):
            raise InputError(f"{path}: line {number}: column '{column.name}' is not finite")
    return values * column.factor
