"""Other processes that want the machine: as many as it has cores, one of them moves memory and writes files."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager

from forerun.control.rights import set_priority

_BLOCK = 32 << 20


@contextmanager
def busy(processes: int) -> Iterator[None]:
    """Keeps ``processes`` processes busy within the block: all compute, but the last one copies memory and writes to disk."""
    kinds = ["compute"] * (processes - 1) + ["move"] if processes else []
    command = [sys.executable, "-m", "forerun.bench.load"]
    started = [subprocess.Popen([*command, kind], stdin=subprocess.DEVNULL) for kind in kinds]
    try:
        yield
    finally:
        for process in started:
            process.kill()
        for process in started:
            process.wait()


def _compute(parent: int) -> None:
    value = 0
    while os.getppid() == parent:
        for number in range(1_000_000):
            value = (value * 31 + number) & 0xFFFF_FFFF


def _move(parent: int) -> None:
    block = bytearray(os.urandom(1 << 20)) * (_BLOCK >> 20)
    with tempfile.TemporaryFile() as file:
        while os.getppid() == parent:
            for _ in range(8):
                block = bytearray(block)
            file.seek(0)
            file.write(block)
            file.flush()
            os.fsync(file.fileno())


if __name__ == "__main__":
    {"compute": _compute, "move": _move}[sys.argv[1]](os.getppid())


def may_have(priority: int) -> bool:
    """Whether this machine lets a process have a real-time ``priority``. Asked in a process of its own: this one keeps its
    scheduling."""
    child = os.fork()
    if not child:
        os._exit(bool(set_priority(0, priority)))
    return os.waitpid(child, 0)[1] == 0
