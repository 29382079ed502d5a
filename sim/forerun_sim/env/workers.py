"""Worker processes of a vector environment: started, stepped, watched, and never left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import weakref
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from forerun_sim.env import worker
from forerun_sim.env.board import Board, Sizes, shared_memory
from forerun_sim.env.settings import EnvSettings
from forerun_sim.errors import ForerunError, InputError

_START = "import json, sys; sys.path[:] = json.loads(sys.argv[1]); from forerun_sim.env.worker import main; main()"
"""What a worker's Python is told. No main module is imported anew, so that a user's script needs no guard."""
_PATIENCE = 5.0
"""Seconds that a worker gets to end by itself."""


@dataclass(frozen=True)
class _Worker:
    """A process, the files by which it is told and heard, and its environments."""

    process: subprocess.Popen[bytes]
    tell: int
    hear: int
    first: int
    last: int


class Workers:
    """``count`` processes that share the environments evenly; what they see and do is on ``board``.

    They end when this object is closed or forgotten, and when this process ends in whatever way: each of them reads from a pipe,
    which then closes. Ctrl-C in a terminal does not reach them.

    Raises:
        ForerunError: a worker could not build its environments, or has died; the message says which, and why.
    """

    def __init__(self, settings: EnvSettings, sizes: Sizes, count: int, same_step: bool) -> None:
        self._workers: list[_Worker] = []
        self._finalizer = weakref.finalize(self, _end, self._workers, os.getpid())
        job = {"settings": settings.to_json(), "sizes": asdict(sizes), "same_step": same_step}
        edges = [sizes.environments * number // count for number in range(count + 1)]
        memory = shared_memory()
        try:
            self.board = Board(sizes, memory)
            for first, last in pairwise(edges):
                self._workers.append(_start(memory, first, last, job))
        finally:
            os.close(memory)
        self._exchange(None)

    @property
    def processes(self) -> tuple[int, ...]:
        """Their ids."""
        return tuple(one.process.pid for one in self._workers)

    def step(self) -> None:
        """One control period of all environments."""
        self._exchange(worker.STEP)

    def reset(self, seeds: Sequence[int | None] | None, options: Mapping[str, Any], chosen: Sequence[bool] | None) -> None:
        """As ``Block.reset``."""
        self._exchange(worker.RESET, {"seeds": seeds, "options": dict(options), "chosen": chosen})

    def _exchange(self, kind: bytes | None, message: Any = None) -> None:
        """Tells all workers the same and waits until each has answered. Interrupted, nobody knows who has: then they end."""
        if not self._finalizer.alive:
            raise ForerunError("the worker processes have been ended: make the vector environment anew")
        try:
            if kind is not None:
                for one in self._workers:
                    self._tell(one, kind, message)
            failures = [failure for failure in map(self._answer, self._workers) if failure is not None]
        except BaseException:
            self.close()
            raise
        if failures:
            if kind is None or failures[0]["kind"] == "fatal":
                self.close()
            raise _failed(failures[0])

    def _tell(self, one: _Worker, kind: bytes, message: Any) -> None:
        try:
            worker.send(one.tell, kind, message)
        except worker.Gone:
            raise _died(one) from None

    def _answer(self, one: _Worker) -> Mapping[str, str] | None:
        """What the worker complains of, if anything."""
        try:
            if worker.receive(one.hear) == worker.DONE:
                return None
            failure: Mapping[str, str] = worker.message(one.hear)
        except worker.Gone:
            raise _died(one) from None
        return failure

    def close(self) -> None:
        """Ends the processes. May be called twice."""
        self._finalizer()


def _start(memory: int, first: int, last: int, job: Mapping[str, Any]) -> _Worker:
    """A worker process that has its job; it has not answered yet. What it prints goes where errors go."""
    hear, answer = os.pipe()
    try:
        process = subprocess.Popen(
            [sys.executable, "-c", _START, json.dumps(sys.path)],
            stdin=subprocess.PIPE,
            stdout=2,
            bufsize=0,
            pass_fds=(memory, answer),
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        )
    except OSError as error:
        os.close(hear)
        raise ForerunError(f"a worker process cannot be started with {sys.executable}: {error}") from error
    finally:
        os.close(answer)
    assert process.stdin is not None
    one = _Worker(process, process.stdin.fileno(), hear, first, last)
    with suppress(worker.Gone):  # the first answer, which will not come, tells why
        own = {"memory": memory, "answer": answer, "first": first, "last": last, "parent": os.getpid()}
        worker.send(one.tell, worker.STEP, {**job, **own})
    return one


def _failed(failure: Mapping[str, str]) -> ForerunError:
    """A worker's complaint as an error."""
    if failure["kind"] == "fatal":
        return ForerunError(f"a worker process failed, and all have been ended:\n{failure['text']}")
    return InputError(failure["text"]) if failure["kind"] == "input" else ForerunError(failure["text"])


def _died(one: _Worker) -> ForerunError:
    """The end of a worker that nobody asked to end."""
    try:
        code = one.process.wait(_PATIENCE)
    except subprocess.TimeoutExpired:
        code = None
    how = "closed its pipe" if code is None else f"ended with exit code {code}"
    if code is not None and code < 0:
        how = f"was killed by signal {-code} ({signal.Signals(-code).name})"
    hint = "; the system may have run out of memory" if code == -signal.SIGKILL else ""
    return ForerunError(
        f"worker process {one.process.pid}, which ran environments {one.first} to {one.last - 1}, {how}{hint}."
        " All workers have been ended: make the vector environment anew"
    )


def _end(workers: list[_Worker], owner: int) -> None:
    """Tells the processes to end; those that take too long are killed. Only in the process that made them."""
    if os.getpid() != owner:
        return
    for one in workers:
        assert one.process.stdin is not None
        with suppress(worker.Gone):
            worker.send(one.tell, worker.QUIT)
        one.process.stdin.close()
        os.close(one.hear)
    for one in workers:
        try:
            one.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            one.process.kill()
            one.process.wait()
    workers.clear()
