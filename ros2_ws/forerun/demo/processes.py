"""Nodes as processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from forerun_sim.errors import ForerunError

_PATIENCE = 15.0
"""Seconds that a node may take to end before it is killed."""


class NodeProcess:
    """``python -m forerun.nodes.<name>`` with parameters; what it prints goes to ``folder``/<label>.log. Ends with the block."""

    def __init__(self, name: str, folder: Path, parameters: Mapping[str, Any], label: str | None = None) -> None:
        self.name = name
        folder.mkdir(parents=True, exist_ok=True)
        self._log = folder / f"{label or name}.log"
        file = folder / f"{label or name}.yaml"
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": dict(parameters)}}))
        command = [sys.executable, "-m", f"forerun.nodes.{name}", "--ros-args", "--params-file", str(file)]
        with self._log.open("wb") as output:
            # In a session of its own: Ctrl-C in the terminal reaches the demo alone, which ends its nodes in order.
            self._process = subprocess.Popen(
                command,
                stdout=output,
                stderr=subprocess.STDOUT,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
                env={**os.environ, "FORERUN_STARTER": str(os.getpid())},  # whoever kills us leaves no robot moving
            )

    def __enter__(self) -> NodeProcess:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def check(self) -> None:
        """Raises ForerunError with the end of its log where the node has died."""
        code = self._process.poll()
        if code is not None:
            raise ForerunError(f"the {self.name} ended with exit code {code}:\n{self.tail()}")

    def tail(self, lines: int = 15) -> str:
        """The end of what it printed."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-lines:])

    def stop(self) -> int:
        """Asks it to end, as Ctrl-C would, and waits; the exit code."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()
