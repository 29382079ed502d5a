"""A long experiment in small pieces, each of which leaves its result: a killed one goes on with the piece that it was at."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from forerun_sim.files import write_file

Work = Callable[[Path], Mapping[str, Any]]
"""Does a piece in an empty folder of its own, which stays, and returns its result, as plain data."""


class Pieces:
    """The pieces of an experiment in ``folder``.

    Args:
        folder: holds for each piece NAME its result NAME.json and its folder NAME.
        note: told before a piece is done.
        total: how many there are, for ``note``.
    """

    def __init__(self, folder: Path, note: Callable[[str], None] = lambda text: None, total: int = 0) -> None:
        self._folder, self._note, self._total = folder, note, total
        self._seen: set[str] = set()

    def folder(self, name: str) -> Path:
        """Where the piece ``name`` keeps its files."""
        return self._folder / name

    def done(self, name: str, work: Work) -> dict[str, Any]:
        """The result of the piece ``name``: ``work`` is called where it is not there yet."""
        self._seen.add(name)
        result, folder = self._folder / f"{name}.json", self._folder / name
        if not result.exists():
            self._note(f"{name}, piece {len(self._seen)} of {self._total or '?'}")
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            write_file(result, json.dumps(dict(work(folder)), indent=1))  # last: it says that the piece is whole
        found: dict[str, Any] = json.loads(result.read_text())
        return found
