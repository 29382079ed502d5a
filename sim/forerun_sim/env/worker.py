"""A process that runs a block of environments. It is told what to do on its standard input, one byte a step, and ends with it.

The job, one message of JSON, comes first. Then ``STEP``, and ``RESET`` with a message, as often as it takes; each is answered by
``DONE``, or by ``FAILED`` with a message. Observations and actions are in shared memory. Where the other side has gone, reading
ends, and so does this process: nothing has to look for it.
"""

from __future__ import annotations

import json
import os
import signal
import struct
import traceback
from typing import Any

from forerun_sim.env.block import Block
from forerun_sim.env.board import Board, Sizes
from forerun_sim.env.settings import EnvSettings
from forerun_sim.errors import ForerunError

STEP, RESET, DONE, FAILED = b"s", b"r", b"d", b"f"
_LENGTH = struct.Struct("<q")


class Gone(Exception):
    """The other process has closed its end, or has died."""


def send(file: int, kind: bytes, message: Any = None) -> None:
    """Writes a byte, and a message of JSON values where there is one.

    Raises:
        Gone: nobody reads.
    """
    data = b"" if message is None else json.dumps(message).encode()
    data = kind + (_LENGTH.pack(len(data)) + data if message is not None else b"")
    try:
        while data:
            data = data[os.write(file, data) :]
    except BrokenPipeError as error:
        raise Gone from error


def receive(file: int, count: int = 1) -> bytes:
    """Reads ``count`` bytes.

    Raises:
        Gone: nobody writes any more.
    """
    data = os.read(file, count)
    while len(data) < count:
        more = os.read(file, count - len(data))
        if not more:
            raise Gone
        data += more
    return data


def message(file: int) -> Any:
    """Reads the JSON values that ``send`` wrote behind its byte."""
    return json.loads(receive(file, _LENGTH.unpack(receive(file, _LENGTH.size))[0]))


def main() -> None:
    """Runs the job that comes on standard input. Ctrl-C is the other process' matter."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        receive(0)
        job = message(0)
        answer: int = job["answer"]
        try:
            _serve(job, answer)
        except Gone:
            raise
        except ForerunError as error:
            send(answer, FAILED, {"kind": type(error).__name__, "text": str(error)})
        except Exception:  # whatever it is, the other process must hear of it
            send(answer, FAILED, {"kind": "", "text": traceback.format_exc()})
    except Gone:
        return


def _serve(job: dict[str, Any], answer: int) -> None:
    board = Board(Sizes(**job["sizes"]), job["memory"])
    os.close(job["memory"])
    block = Block(EnvSettings.from_json(job["settings"]), board, job["first"], job["last"], job["same_step"])
    send(answer, DONE)
    while True:
        if receive(0) == STEP:
            block.step()
        else:
            block.reset(**message(0))
        send(answer, DONE)
