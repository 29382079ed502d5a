"""Processes of this machine. One that dies loses nothing: another takes over what it had not handed in.

Each worker has a pipe of its own. So a worker that is killed while it writes a result can neither block the others, which share
no lock with it, nor leave half a result for a whole one: its pipe ends, and with it what was in it unfinished.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import signal
import traceback
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic

from forerun_sim.errors import ForerunError
from forerun_sim.executors.base import TRIES, Begin, Item, Result

_AHEAD = 2
"""Items that a worker has at a time: one to work on, and the next one at hand. They wait in its pipe, so they are to be small."""
_ROOM = 4
"""Items under way per worker, done but not handed out ones included, where the caller does not say."""


class Processes:
    """Runs work in ``workers`` processes; see ``Executor``."""

    shares_files = True

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def run(
        self, begin: Begin[Item, Result], items: Iterable[Item], *, window: int | None = None
    ) -> Generator[Result, None, None]:
        window = window or _ROOM * self._workers
        crew: _Crew[Item, Result] = _Crew(begin, min(self._workers, window))
        source, drawn, handed = iter(items), 0, 0
        try:
            while True:
                while drawn < handed + window:
                    try:
                        crew.add(drawn, next(source))
                    except StopIteration:
                        break
                    drawn += 1
                if handed == drawn:
                    return
                yield crew.result(handed)
                handed += 1
        finally:
            crew.close()


@dataclass
class _Task(Generic[Item]):
    item: Item
    tries: int = 0


@dataclass
class _Worker:
    """``todo``: the numbers of the items that it was given and has not handed in, in the order in which it works on them."""

    process: SpawnProcess
    pipe: Connection[Any, Any]
    todo: deque[int] = field(default_factory=deque)


class _Crew(Generic[Item, Result]):
    """The workers, and who has which item. Items are numbered from 0."""

    def __init__(self, begin: Begin[Item, Result], size: int) -> None:
        self._begin = begin
        self._size = size
        self._tasks: dict[int, _Task[Item]] = {}
        self._unassigned: deque[int] = deque()
        self._results: dict[int, Result] = {}
        self._workers: list[_Worker] = []

    def add(self, number: int, item: Item) -> None:
        self._tasks[number] = _Task(item)
        self._unassigned.append(number)
        self._assign()

    def result(self, number: int) -> Result:
        """Waits for the result of item ``number``; to be asked for once."""
        while number not in self._results:
            self._assign()
            for ready in wait([worker.pipe for worker in self._workers]):
                self._listen(next(worker for worker in self._workers if worker.pipe is ready))
        self._assign()
        return self._results.pop(number)

    def close(self) -> None:
        """Ends the workers, whatever they are at."""
        for worker in self._workers:
            worker.process.kill()
        for worker in self._workers:
            worker.process.join()
            worker.pipe.close()
        self._workers = []

    def _assign(self) -> None:
        """Gives every worker what it has room for; hires up to the crew's size."""
        for room in range(_AHEAD):
            for place in range(self._size):
                if not self._unassigned:
                    return
                if place == len(self._workers):
                    self._workers.append(_hire(self._begin))
                worker = self._workers[place]
                if len(worker.todo) == room:
                    number = self._unassigned.popleft()
                    worker.todo.append(number)
                    # A worker that has just died is found out by the end of its pipe.
                    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                        worker.pipe.send(self._tasks[number].item)

    def _listen(self, worker: _Worker) -> None:
        """Takes one result, or notices that the worker is dead."""
        try:
            kind, value = worker.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._replace(worker)
            return
        if kind == "failed":
            error, told = value
            raise error from ForerunError(f"in a worker process:\n{told}")
        number = worker.todo.popleft()
        del self._tasks[number]
        self._results[number] = value

    def _replace(self, worker: _Worker) -> None:
        """What the dead ``worker`` had comes first again. Only what it was working on may be what killed it."""
        worker.process.join()
        worker.pipe.close()
        self._workers.remove(worker)
        self._unassigned.extendleft(reversed(worker.todo))
        if worker.todo:
            task = self._tasks[worker.todo[0]]
            task.tries += 1
            if task.tries >= TRIES:
                raise ForerunError(
                    f"a worker process died {TRIES} times over the same piece of work ({task.item}), the last one {_end(worker)};"
                    f" take fewer workers if memory ran out, or one to see what happens. A script that starts workers needs"
                    f" 'if __name__ == \"__main__\":' around what it runs"
                )


def _end(worker: _Worker) -> str:
    code = worker.process.exitcode or 0
    return f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"


def _hire(begin: Begin[Any, Any]) -> _Worker:
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, begin), name="forerun worker", daemon=True)
    with _deaf_to_interrupts():
        process.start()
    theirs.close()
    return _Worker(process, ours)


@contextmanager
def _deaf_to_interrupts() -> Iterator[None]:
    """Ctrl-C reaches every process of a terminal; workers started here never hear it, and end when their parent ends them."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _serve(pipe: Connection[Any, Any], begin: Begin[Any, Any]) -> None:
    """A worker's life: items in, results out, until the other end of its pipe is gone, however that came about."""
    try:
        with begin() as work:
            while True:
                pipe.send(("done", work(pipe.recv())))
    except (EOFError, BrokenPipeError, ConnectionResetError):
        return
    except Exception as error:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            pipe.send(("failed", (_portable(error), traceback.format_exc())))


def _portable(error: Exception) -> Exception:
    """``error`` where it can travel there and be made again, else its text."""
    try:
        ForkingPickler.loads(ForkingPickler.dumps(error))
    except Exception:
        return ForerunError(f"{type(error).__name__}: {error}")
    return error
