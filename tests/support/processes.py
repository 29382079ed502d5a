"""Nodes as processes of their own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

_SHARED = Path("/dev/shm")


class Process:
    """A node under way; what it prints is in a file."""

    def __init__(self, command: list[str], log: Path) -> None:
        self._log = log
        with log.open("wb") as output:
            self._popen = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, start_new_session=True
            )

    @property
    def output(self) -> str:
        """All that it printed so far."""
        return self._log.read_text(errors="replace")

    def send(self, number: signal.Signals) -> None:
        """Sends a signal."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """Ends it without a chance to say anything."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(10)

    def wait(self, timeout: float = 30.0) -> int:
        """The exit code, waited for."""
        return self._popen.wait(timeout)

    def wait_for(self, text: str, timeout: float = 30.0) -> None:
        """Returns once it has printed ``text``."""
        deadline = time.monotonic() + timeout
        while text not in self.output:
            assert self._popen.poll() is None, f"ended before it said '{text}':\n{self.output}"
            assert time.monotonic() < deadline, f"did not say '{text}':\n{self.output}"
            time.sleep(0.02)

    @property
    def running(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None


class Processes:
    """Starts nodes of forerun.

    Args:
        folder: for parameter files and logs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[Process] = []

    def node(self, name: str, *arguments: str, **parameters: Any) -> Process:
        """``python -m forerun.nodes.<name>`` with ``parameters`` in a file; ``__`` in their names stands for a dot."""
        return self.start([sys.executable, "-m", f"forerun.nodes.{name}"], name, *arguments, **parameters)

    def start(self, command: list[str], name: str, *arguments: str, **parameters: Any) -> Process:
        """``command`` with ROS arguments and ``parameters``, its log called ``name``."""
        number = len(self._started)
        file = self._folder / f"{number}-{name}.yaml"
        values = {key.replace("__", "."): value for key, value in parameters.items()}
        file.write_text(yaml.safe_dump({"/**": {"ros__parameters": values}}))
        command = [*command, "--ros-args", *(["--params-file", str(file)] if values else []), *arguments]
        process = Process(command, self._folder / f"{number}-{name}.log")
        self._started.append(process)
        return process

    def end(self) -> None:
        """Kills what still runs."""
        for process in self._started:
            process.kill()


def shared_memory() -> set[Path]:
    """Files of DDS in shared memory."""
    return {path for path in _SHARED.iterdir() if "fastrtps" in path.name}


def clean_shared_memory(before: set[Path]) -> None:
    """Removes what came since ``before`` and no living process uses: what killed processes left."""
    left = shared_memory() - before
    used: set[str] = set()
    for maps in Path("/proc").glob("[0-9]*/maps"):
        with contextlib.suppress(OSError):
            text = maps.read_text()
            used |= {path.name for path in left if path.name in text}
    for path in left:
        if path.name not in used:
            path.unlink(missing_ok=True)
