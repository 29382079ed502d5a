"""A Ray cluster. Ray begins a chunk of work anew, on another node if need be, where its worker or its node dies."""

from __future__ import annotations

import importlib.util
import math
import socket
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence, Sized
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any

from forerun_sim.errors import ForerunError, InputError
from forerun_sim.executors.base import TRIES, Begin, Item, Result

_LONGEST = 16
"""Items of a chunk at most: each of Ray's tasks begins with a plant of its own, which costs some 30 ms."""
_PER_CPU = 2
"""Chunks under way per processor of the cluster: one that runs, one at hand."""


class RayCluster:
    """Runs work on the Ray cluster at ``address`` ("auto", "host:port", "ray://host:port"); see ``Executor``.

    Every node needs this package.

    Raises:
        InputError: no cluster can be reached there.
        ForerunError: ray is not installed.
    """

    shares_files = False

    def __init__(self, address: str) -> None:
        if importlib.util.find_spec("ray") is None:
            raise ForerunError("a Ray cluster needs the package 'ray', which is not installed: pip install 'forerun[scale]'")
        self._address = address

    def run(
        self, begin: Begin[Item, Result], items: Iterable[Item], *, window: int | None = None
    ) -> Generator[Result, None, None]:
        from ray.exceptions import RayError

        with _connected(self._address) as ray:
            cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
            length = 1 if window is not None else _length(items, cpus)
            chunks = _chunks(items, length)
            task = ray.remote(num_cpus=1, max_retries=TRIES - 1, scheduling_strategy="SPREAD")(_chunk)
            submit = partial(task.remote, ray.put(begin))
            under_way: deque[Any] = deque(map(submit, islice(chunks, window or _PER_CPU * cpus)))
            try:
                while under_way:
                    yield from self._results(ray, under_way.popleft())
                    under_way.extend(map(submit, islice(chunks, 1)))
            except RayError as error:
                what = str(error).partition("\n")[0]
                needed = "every node needs this package (forerun[sim,scale]) and what the commands' policy imports"
                raise ForerunError(f"{self._address}: the cluster failed: {what}; {needed}") from error
            finally:
                for reference in under_way:
                    ray.cancel(reference, force=True)

    def _results(self, ray: Any, reference: Any) -> list[Any]:
        from ray.exceptions import NodeDiedError, RayTaskError, WorkerCrashedError

        try:
            results: list[Any] = ray.get(reference)
        except RayTaskError as error:
            raise error.cause from error
        except (WorkerCrashedError, NodeDiedError) as error:
            raise ForerunError(f"{self._address}: a worker died {TRIES} times over the same piece of work: {error}") from error
        return results


def _length(items: Iterable[Any], cpus: int) -> int:
    """Of chunks: long ones cost less, but every processor should get its share of a few."""
    return max(1, min(_LONGEST, math.ceil(len(items) / (4 * cpus)))) if isinstance(items, Sized) else _LONGEST


def _chunks(items: Iterable[Item], length: int) -> Iterator[list[Item]]:
    source = iter(items)
    while chunk := list(islice(source, length)):
        yield chunk


def _chunk(begin: Begin[Item, Result], items: Sequence[Item]) -> list[Result]:
    with begin() as work:
        return [work(item) for item in items]


@contextmanager
def _connected(address: str) -> Iterator[Any]:
    """The module ray, connected to the cluster; a connection that the caller has already is used and left alone."""
    import ray

    if ray.is_initialized():
        yield ray
        return
    try:
        _knock(address)
        ray.init(address=address, log_to_driver=False, logging_level="error")
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(f"{address}: no Ray cluster can be reached there: {error}; 'ray start --head' begins one") from error
    try:
        yield ray
    finally:
        ray.shutdown()


def _knock(address: str) -> None:
    """Raises OSError where nobody listens; Ray itself would go on trying for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if colon:
        socket.create_connection((host, int(port)), timeout=10.0).close()
