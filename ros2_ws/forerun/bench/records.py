"""Measured figures and where they were measured, appended to one CSV file a subject."""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forerun_sim.errors import InputError
from forerun_sim.files import write_file

ORIGIN = frozenset({"time", "commit", "command", "cpu", "cores", "load", "python", "settings"})
"""Columns of every table: those of ``provenance``, and the settings."""
Row = Mapping[str, str | int | float]


@dataclass(frozen=True)
class Options:
    """What every measurement is told.

    Attributes:
        seeds: of trainings; measurements without randomness use the first.
        data: folder of the real-robot logs.
        work: an empty folder for bags, runs and bundles.
        note: told what is being done.
        seconds: length of each measurement that takes a set time.
        kept: where trainings and episodes stay for the next run, None for nowhere.
        steps: control steps of an episode, where episodes are compared.
        only: names of the rows to measure, where a subject has rows that can be chosen; all if empty.
        robots: which to measure, where a subject has several; its own if empty.
    """

    seeds: tuple[int, ...]
    data: Path
    work: Path
    note: Callable[[str], None] = lambda text: None
    seconds: float = 60.0
    kept: Path | None = None
    steps: int = 150
    only: tuple[str, ...] = ()
    robots: tuple[str, ...] = ()

    def chosen(self, names: Sequence[str]) -> list[str]:
        """Those of ``names`` that are to be measured.

        Raises:
            InputError: ``only`` has others.
        """
        unknown = [name for name in self.only if name not in names]
        if unknown:
            raise InputError(f"--only: no row named {', '.join(unknown)}; there are: {', '.join(names)}")
        return [name for name in names if not self.only or name in self.only]


@dataclass(frozen=True)
class Measurement:
    """The figures of one subject: rows of plain values, and the settings that led to them (JSON values).

    Raises:
        ValueError: a row has a column that every table has for where its figures come from; it would be lost there.
    """

    subject: str
    rows: Sequence[Row]
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        taken = sorted(ORIGIN & {name for row in self.rows for name in row})
        if taken:
            raise ValueError(f"{self.subject}: a row's column is called {', '.join(taken)}, as are columns of the rows' origin")


class Unavailable(InputError):
    """Something that a measurement needs is not on this machine; the message says what."""


def need_ros() -> None:
    """Raises Unavailable on a machine that has no ROS 2, neither sourced nor from PyPI."""
    if find_spec("rclpy") is None:
        raise Unavailable("no ROS 2 is here: source one, or pip install 'forerun[ros]'")


def machine() -> dict[str, str | int | float]:
    """Where a figure comes from: processor, cores, the load of the last minute, versions."""
    return {
        "cpu": _processor(),
        "cores": os.cpu_count() or 1,
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
    }


def _processor() -> str:
    told = Path("/proc/cpuinfo")
    for line in told.read_text().splitlines() if told.exists() else []:
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def commit() -> str:
    """The checkout's commit, with ``+`` where tracked files differ from it; empty outside a checkout."""
    here = Path(__file__).resolve().parent
    git = ["git", "-C", str(here)]
    try:
        head = subprocess.run([*git, "rev-parse", "--short=12", "HEAD"], capture_output=True, text=True, check=True)
        dirty = subprocess.run([*git, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return head.stdout.strip() + ("+" if dirty.stdout.strip() else "")


def provenance(command: str) -> dict[str, str | int | float]:
    """When, from what and where; taken before a measurement, so that the load is that of the others."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"time": now, "commit": commit(), "command": command, **machine()}


def append(folder: Path, measurement: Measurement, origin: Row) -> Path:
    """Adds the rows to ``folder``/<subject>.csv, which is replaced as a whole; older rows stay.

    Raises:
        InputError: the file there is no such table, or the folder may not be written to.
    """
    path = folder / f"{measurement.subject}.csv"
    older = _read(path)
    settings = json.dumps(dict(measurement.settings), sort_keys=True)
    rows = [*older, *({**row, **origin, "settings": settings} for row in measurement.rows)]
    columns = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_file(path, text.getvalue())
    return path


def _read(path: Path) -> list[dict[str, Any]]:
    if not path.exists():
        return []
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: is no table of measurements: {error}; move it away") from error
    if any(None in row or "settings" not in row for row in rows):
        raise InputError(f"{path}: is no table of measurements; move it away")
    return rows
