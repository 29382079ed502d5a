"""Runs the parts of a row as processes that are stopped when they take too long."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any


class Failed(Exception):
    """A part gave no figures; the message says why, in one line."""


def run_part(job: Mapping[str, Any], folder: Path, limit: float) -> list[dict[str, Any]]:
    """The figures of ``job``'s part, by number of threads.

    Args:
        job: what ``planner_row`` is told; JSON values.
        folder: of the row.
        limit: seconds after which the process and all that it started are ended.

    Raises:
        Failed: it took longer, or ended with an error.
    """
    folder.mkdir(parents=True, exist_ok=True)
    job_file, result = folder / f"{job['part']}.json", folder / f"{job['part']}-figures.json"
    result.unlink(missing_ok=True)
    job_file.write_text(json.dumps({**job, "folder": str(folder)}))
    # The compiler's cache is the row's own, so that the time that compiling takes is told honestly.
    environment = {**os.environ, "TORCHINDUCTOR_CACHE_DIR": str(folder / "compiled"), "TORCHINDUCTOR_COMPILE_THREADS": "1"}
    command = [sys.executable, "-m", "forerun.bench.planner_row", str(job_file), str(result)]
    log = folder / f"{job['part']}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment, start_new_session=True)
        try:
            code = process.wait(limit)
        except subprocess.TimeoutExpired:
            raise Failed(f"timeout after {limit:g} s") from None
        finally:
            # Compilers that it started are of its group.
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code != 0 or not result.exists():
        lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
        raise Failed(f"exit code {code}: {lines[-1] if lines else 'no message'}")
    figures: list[dict[str, Any]] = json.loads(result.read_text())
    return figures
