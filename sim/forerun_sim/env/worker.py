"""A process that runs a block of environments. It is told what to do on its standard input, one byte a step, and ends with it.

The job, one message of JSON, comes first. Then ``STEP``, and ``RESET`` with a message, as often as it takes, and at last
``QUIT``; each but that is answered by ``DONE``, or by ``FAILED`` with a message of ``kind`` (input, other, or fatal: this process
then ends) and ``text``. Observations and actions are in shared memory. Where the other side has gone, this process ends too.
"""

from __future__ import annotations

import json
import os
import select
import signal
import struct
import time
import traceback
from typing import Any

from forerun_sim.env.block import Block
from forerun_sim.env.board import Board, Sizes
from forerun_sim.env.settings import EnvSettings
from forerun_sim.errors import ForerunError, InputError

STEP, RESET, QUIT, DONE, FAILED = b"s", b"r", b"q", b"d", b"f"
_LENGTH = struct.Struct("<q")
_AWAKE = 5e-5
"""Seconds of waiting before sleep: what most loops need from one step to the next, and too little to be in anybody's way."""
_LOOK = 1000
"""Milliseconds of sleep after which a worker looks whether the other process still lives."""


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
            send(answer, FAILED, _failure(error))
        except Exception:  # whatever it is, the other process must hear of it
            send(answer, FAILED, {"kind": "fatal", "text": traceback.format_exc()})
    except Gone:
        return


def _await(orders: select.poll, parent: int) -> None:
    """Waits until there is something to read, awake for a moment, because a core that has gone to sleep needs 50 us to wake.

    Raises:
        Gone: the process ``parent`` has died. A child that it forked may hold its end of the pipe open.
    """
    end = time.perf_counter() + _AWAKE
    while not orders.poll(0):
        if time.perf_counter() > end:
            break
        os.sched_yield()  # where cores are few, the process that gives the next order needs this one
    while not orders.poll(_LOOK):
        if os.getppid() != parent:
            raise Gone


def _serve(job: dict[str, Any], answer: int) -> None:
    board = Board(Sizes(**job["sizes"]), job["memory"])
    os.close(job["memory"])
    block = Block(EnvSettings.from_json(job["settings"]), board, job["first"], job["last"], job["same_step"])
    orders = select.poll()
    orders.register(0, select.POLLIN)
    send(answer, DONE)
    while True:
        _await(orders, job["parent"])
        kind = receive(0)
        if kind == QUIT:
            return
        reset = message(0) if kind == RESET else None
        try:
            if reset is None:
                block.step()
            else:
                block.reset(**reset)
        except ForerunError as error:  # the user's mistake, after which all goes on
            send(answer, FAILED, _failure(error))
        else:
            send(answer, DONE)


def _failure(error: ForerunError) -> dict[str, str]:
    return {"kind": "input" if isinstance(error, InputError) else "other", "text": str(error)}
