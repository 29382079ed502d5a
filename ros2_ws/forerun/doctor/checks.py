"""What a check says, and where checks look."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from pathlib import Path


class Level(str, Enum):
    """How bad it is."""

    OK = "OK"
    WARN = "WARN"
    FAIL = "FAIL"


@dataclass(frozen=True)
class Check:
    """One finding.

    Attributes:
        family: which part of the machine was looked at.
        name: what was looked at.
        level: OK, WARN (will hurt) or FAIL (a controller cannot work here).
        found: what was found.
        hurts: what it will hurt; empty where nothing.
        todo: what to do, a command where there is one.
    """

    family: str
    name: str
    level: Level
    found: str
    hurts: str = ""
    todo: str = ""


class Family:
    """Makes checks of one family."""

    def __init__(self, name: str) -> None:
        self._name = name

    def ok(self, name: str, found: str) -> Check:
        """Nothing to do."""
        return Check(self._name, name, Level.OK, found)

    def warn(self, name: str, found: str, hurts: str, todo: str) -> Check:
        """It will hurt."""
        return Check(self._name, name, Level.WARN, found, hurts, todo)

    def fail(self, name: str, found: str, hurts: str, todo: str) -> Check:
        """A controller cannot work so."""
        return Check(self._name, name, Level.FAIL, found, hurts, todo)


@dataclass(frozen=True)
class Machine:
    """The files by which Linux describes itself; in containers and on other kernels some are missing.

    Args:
        root: where /proc, /sys and /dev are.
    """

    root: Path = Path("/")

    def path(self, name: str) -> Path:
        """The file ``name``, as ``/proc/stat``."""
        return self.root / name.lstrip("/")

    def text(self, name: str) -> str | None:
        """What a file says, without surrounding blanks; None where it is missing or must not be read."""
        try:
            return self.path(name).read_text(errors="replace").strip()
        except OSError:
            return None

    def number(self, name: str) -> int | None:
        """The number in a file; None where there is none."""
        text = self.text(name)
        try:
            return None if text is None else int(text)
        except ValueError:
            return None

    def table(self, name: str) -> dict[str, int]:
        """``key: number`` lines of a file such as /proc/meminfo; empty where it is missing."""
        entries: dict[str, int] = {}
        for line in (self.text(name) or "").splitlines():
            key, _, value = line.partition(":")
            first = value.split()[:1]
            if first and first[0].isdigit():
                entries[key.strip()] = int(first[0])
        return entries


def quantiles(values: list[float]) -> tuple[float, float, float]:
    """p50, p99 and the largest of ``values``, which must not be empty."""
    ordered = sorted(values)
    return ordered[len(ordered) // 2], ordered[min(int(0.99 * len(ordered)), len(ordered) - 1)], ordered[-1]
