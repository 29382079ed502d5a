"""The training's process, as seen from the trainer's: started, looked at, killed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from forerun.training.job import Request


class Child:
    """One training at a time. Its files ``training.json``, ``training.log`` and ``progress.json`` lie in ``folder``."""

    def __init__(self, folder: Path) -> None:
        self._file, self._log = folder / "training.json", folder / "training.log"
        self.progress_file = folder / "progress.json"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        """Whether a training has begun whose end was not taken yet."""
        return self._process is not None

    def start(self, request: Request) -> None:
        """Starts a training.

        Raises:
            OSError: no process can be started.
            ForerunError: the disk is full or failed.
        """
        self.progress_file.unlink(missing_ok=True)
        request.write(self._file)
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "forerun.training.job", str(self._file)]
        with self._log.open("wb") as log:
            # A session of its own: Ctrl-C in the terminal reaches the trainer alone, and the whole session steps back.
            self._process = subprocess.Popen(
                command, stdout=log, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True, env=environment
            )

    def ended(self) -> str | None:
        """How it ended, in words; None while it goes on. Told once."""
        if self._process is None or (code := self._process.poll()) is None:
            return None
        self._process = None
        how = f"by signal {-code}" if code < 0 else f"with exit code {code}"
        return f"the training ended {how}: {self._tail()}"

    def kill(self) -> None:
        """Ends it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def progress(self) -> dict[str, Any]:
        """What it last said: ``phase``, ``epoch`` and ``of``."""
        try:
            found = json.loads(self.progress_file.read_text()) if self.running else {}
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _tail(self) -> str:
        try:
            return " ".join(self._log.read_text(errors="replace").split())[-500:] or "it said nothing"
        except OSError:
            return "it left no log"
