"""Comparing the speed of two things in one run: in turns, so that both see the same machine, and by medians."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


def seconds(work: Callable[[], object]) -> float:
    """How long ``work`` takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def medians(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Median seconds of each of ``works``, called in turns after one call that does not count."""
    for work in works.values():
        work()
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            taken[name].append(seconds(work))
    return {name: statistics.median(values) for name, values in taken.items()}


@dataclass(frozen=True)
class Times:
    """Seconds of each call: by the clock on the wall, and of the processor, of all the process's threads together. Beside other
    programs the latter says more."""

    wall: NDArray[np.float64]
    cpu: NDArray[np.float64]


_SETTLED = 0.02
"""Seconds after which helper threads that a library leaves spinning sleep; until then they take a core from what comes next."""


def turns(works: Mapping[str, Callable[[], object]], repeats: int) -> dict[str, Times]:
    """What each of ``works`` took, called in turns. Each turn begins with a rest and a call that does not count."""
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in works}
    for _ in range(repeats):
        for name, work in works.items():
            time.sleep(_SETTLED)
            work()
            taken[name].append(once(work))
    return {name: Times(*np.array(pairs).T) for name, pairs in taken.items()}


def once(work: Callable[[], object]) -> tuple[float, float]:
    """Seconds on the wall's clock and of the processor that ``work`` takes."""
    cpu, wall = time.process_time_ns(), time.perf_counter_ns()
    work()
    return (time.perf_counter_ns() - wall) * 1e-9, (time.process_time_ns() - cpu) * 1e-9
