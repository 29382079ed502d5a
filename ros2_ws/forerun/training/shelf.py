"""The bundles that the trainer made, and what it knows of them from one start to the next.

A training writes its bundle, then its verdict; a bundle without a verdict is one that was killed in between, and goes. What is
known stands in ``records.json``, which is replaced as a whole.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from forerun_models.bundle import load
from forerun_sim.errors import InputError
from forerun_sim.files import write_file

_REMEMBERED = 50
"""Bundles that were sent back, and why, are kept in mind up to this number."""
_VERDICTS = 200
_SUFFIX = ".verdict.json"

Known = tuple[str, str]
"""Folder and digest of a bundle."""


@dataclass
class Records:
    """
    Attributes:
        current: the newest promoted bundle that nobody sent back; None before the first.
        before: the one that it took the place of.
        rejected: digest -> why the controller sent it back.
        generation: number of the newest training.
        seen: number of the piece from which on nothing was trained on yet.
        training: why a training is under way; empty where none is.
        promoted: trainings that led to a bundle.
    """

    current: Known | None = None
    before: Known | None = None
    rejected: dict[str, str] = field(default_factory=dict)
    generation: int = 0
    seen: int = 0
    training: str = ""
    promoted: int = 0


class Shelf:
    """In a folder, of which a trainer owns ``bundles`` and ``records.json``.

    Args:
        folder: the trainer's.
        keep: bundles that are kept, beside those in use.
        note: told what was removed.

    Raises:
        InputError: the records are damaged, or the folder may not be written to.
    """

    def __init__(self, folder: Path, keep: int, note: Callable[[str], None]) -> None:
        self.folder, self._keep = folder / "bundles", keep
        self._file = folder / "records.json"
        self.records = self._read()
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._clean(note)
        except OSError as error:
            raise InputError(f"{self.folder}: cannot be used: {error.strerror}; choose a folder that you may write to") from error
        numbers = [int(path.name[:6]) for path in self.folder.iterdir() if path.name[:6].isdigit()]
        self.records.generation = max([self.records.generation, *numbers])

    def begin(self, reason: str) -> Path:
        """Where the bundle of a training that begins goes.

        Raises:
            ForerunError: the disk is full or failed.
        """
        self.records.generation += 1
        self.records.training = reason
        self.write()
        return self.newest

    @property
    def newest(self) -> Path:
        """Where the bundle of the newest training is, or would be."""
        return self.folder / f"{self.records.generation:06d}"

    def verdict(self) -> dict[str, Any] | None:
        """Of the newest training; None where it did not come so far.

        Where it was promoted, its bundle is the current one from now on.

        Raises:
            ForerunError: the bundle cannot be used.
        """
        try:
            found: dict[str, Any] = json.loads(verdict_of(self.newest).read_text())
            promoted, parent = bool(found["promoted"]), (str(found["started_from"]), str(found["parent"]))
        except (OSError, ValueError, LookupError, TypeError):
            return None
        records = self.records
        records.training = ""
        if promoted:
            records.current, records.before = (str(self.newest), load(self.newest).digest), parent
            records.promoted += 1
        return found

    def send_back(self, digest: str, reason: str, running: Known) -> None:
        """The controller does not run a bundle, but ``running``."""
        self.records.rejected[digest] = reason
        self.records.current, self.records.before = running, None
        self.write()

    def write(self) -> None:
        """Keeps the records.

        Raises:
            ForerunError: the disk is full or failed; the file is as it was.
        """
        for digest in list(self.records.rejected)[:-_REMEMBERED]:
            del self.records.rejected[digest]
        write_file(self._file, json.dumps(asdict(self.records), indent=1))

    def prune(self, used: Path) -> None:
        """Removes old bundles but for ``used`` and those in the records, and old verdicts."""
        known = {Path(one[0]) for one in (self.records.current, self.records.before) if one} | {used.resolve()}
        for path in sorted(path for path in self.folder.iterdir() if path.is_dir())[: -self._keep]:
            if path not in known:
                shutil.rmtree(path, ignore_errors=True)
        for path in sorted(self.folder.glob(f"*{_SUFFIX}"))[:-_VERDICTS]:
            path.unlink(missing_ok=True)

    def _clean(self, note: Callable[[str], None]) -> None:
        for path in list(self.folder.iterdir()):
            if path.name.startswith(".") or (path.is_dir() and not verdict_of(path).exists()):
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
                note(f"{path}: removed, a training that was killed had left it half done")

    def _read(self) -> Records:
        if not self._file.exists():
            return Records()
        try:
            found = Records(**json.loads(self._file.read_text()))
            found.current, found.before = (
                None if known is None else (str(known[0]), str(known[1])) for known in (found.current, found.before)
            )
        except (OSError, ValueError, TypeError, LookupError) as error:
            raise InputError(f"{self._file}: is damaged ({error}); remove it, the trials beside it are gone on with") from error
        return found


def verdict_of(bundle: Path) -> Path:
    """The verdict of the training that wrote ``bundle``."""
    return bundle.with_name(bundle.name + _SUFFIX)
