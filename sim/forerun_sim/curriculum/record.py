"""A curriculum on the disk: its state, and a line for each episode. Killed at any moment it goes on exactly where it was."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forerun_sim.curriculum.adr import AutomaticRandomization, Ranges
from forerun_sim.errors import InputError
from forerun_sim.files import write_error, write_file
from forerun_sim.spec import Curriculum, validate

FORMAT = 1


@dataclass(frozen=True)
class Row:
    """What became of an episode, and the ranges and their entropy after it. ``quantity`` and ``side`` are empty where none was
    pinned, ``value`` is then None."""

    episode: int
    quantity: str
    side: str
    value: float | None
    success: bool
    exploded: bool
    entropy: float
    ranges: Ranges


class Record:
    """``state.json`` and ``history.jsonl`` in ``folder``.

    The line of an episode is on the disk before the state that counts it; a line that no state counts yet is dropped at the next
    start, so that none is missing and none is there twice.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._state = folder / "state.json"
        self._history = folder / "history.jsonl"

    @property
    def exists(self) -> bool:
        return self._state.exists()

    def create(self, settings: Curriculum, about: Mapping[str, Any], state: AutomaticRandomization) -> None:
        """Begins a record; ``about`` is what must not change when it goes on: JSON values."""
        if self.exists:
            raise InputError(f"{self.folder}: a curriculum is there already; go on with it (--resume) or choose another folder")
        self._about = dict(about)
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._history.write_bytes(b"")
        except OSError as error:
            raise write_error(self._history, error) from error
        self._settings = settings
        self._save(state)

    def resume(self, settings: Curriculum, about: Mapping[str, Any], seed: int) -> AutomaticRandomization:
        """The state as it was saved last.

        Raises:
            InputError: there is none, it is damaged, or ``settings`` or ``about`` differ from what it began with.
        """
        if not self.exists:
            raise InputError(f"{self.folder}: there is no curriculum to resume (no state.json)")
        try:
            data = json.loads(self._state.read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise ValueError(f"format {data['format']}, this version reads {FORMAT}")
            before = validate(Curriculum, data["settings"], self._state)
            state = AutomaticRandomization.restored(before, seed, data["state"])
            begun = dict(data["about"])
        except (OSError, KeyError, TypeError, ValueError) as error:
            raise InputError(f"{self._state}: is no state of a curriculum: {error}") from error
        for key, value in ({"settings": settings} | dict(about)).items():
            then = before if key == "settings" else begun.get(key)
            if then != value:
                raise InputError(f"{self.folder}: began with another {key} ({then}, now {value}); resume with the same")
        self._about, self._settings = begun, settings
        self._cut(state.learned)
        return state

    def add(self, row: Row, state: AutomaticRandomization) -> None:
        """One more episode, and the state after it."""
        try:
            with self._history.open("a", encoding="utf-8") as file:
                file.write(json.dumps(vars(row)) + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise write_error(self._history, error) from error
        self._save(state)

    def rows(self) -> list[Row]:
        """All episodes so far."""
        lines = self._history.read_text(encoding="utf-8").splitlines()
        return [Row(**json.loads(line)) for line in lines]

    def _save(self, state: AutomaticRandomization) -> None:
        settings = self._settings.model_dump(mode="json")
        data = {"format": FORMAT, "about": self._about, "settings": settings, "state": state.as_json()}
        write_file(self._state, json.dumps(data))

    def _cut(self, learned: int) -> None:
        """Keeps the lines of the first ``learned`` episodes."""
        try:
            lines = self._history.read_bytes().splitlines(keepends=True)
        except OSError as error:
            raise InputError(f"{self._history}: cannot be read: {error.strerror}") from error
        whole = [line for line in lines if line.endswith(b"\n")]
        if len(whole) < learned:
            raise InputError(f"{self._history}: has {len(whole)} of {learned} episodes; its end was lost")
        write_file(self._history, b"".join(whole[:learned]))
