"""Figures of the loop: tick times, computing times and latencies of the newest ticks, in a ring of fixed size."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_CAPACITY = 1 << 17


class TickStatistics:
    """Written by the loop, read by anyone.

    Attributes:
        ticks: ticks so far.
        missed: deadlines that were skipped because the tick before them took too long.
    """

    def __init__(self, capacity: int = _CAPACITY) -> None:
        self._start = np.zeros(capacity, dtype=np.int64)
        self._compute = np.full(capacity, np.nan, dtype=np.float32)
        self._latency = np.full(capacity, np.nan, dtype=np.float32)
        self._kind = np.zeros(capacity, dtype=np.uint8)
        self.ticks = 0
        self.missed = 0

    def add(self, start_ns: int, compute: float, latency: float, kind: int = 0) -> None:
        """One tick that began at ``start_ns`` (monotonic), took ``compute`` [s]; ``latency`` [s] from state to command or nan;
        ``kind`` is the caller's number for what came of it."""
        i = self.ticks % len(self._start)
        self._start[i], self._compute[i], self._latency[i] = start_ns, compute, latency
        self._kind[i] = kind
        self.ticks += 1

    def periods(self, newest: int | None = None) -> NDArray[np.float64]:
        """Times between the starts of successive ticks [s], oldest first; at most ``newest`` of them."""
        return np.diff(self._ordered(self._start, None if newest is None else newest + 1)) * 1e-9

    def compute(self, newest: int | None = None) -> NDArray[np.float64]:
        """Computing times [s], oldest first."""
        return self._ordered(self._compute, newest).astype(np.float64)

    def kinds(self) -> NDArray[np.uint8]:
        """What came of each tick, oldest first."""
        return self._ordered(self._kind, None)

    def latency(self, newest: int | None = None) -> NDArray[np.float64]:
        """Times from the state's stamp to the command's publication [s], oldest first; ticks without a state left out."""
        values = self._ordered(self._latency, newest).astype(np.float64)
        return values[np.isfinite(values)]

    def summary(self, newest: int | None = None) -> dict[str, Any]:
        """Percentiles of period, computing time and latency [ms], ticks and missed ticks; JSON values only."""
        rows = {"period_ms": self.periods(newest), "compute_ms": self.compute(newest), "latency_ms": self.latency(newest)}
        return {
            "ticks": self.ticks,
            "missed": self.missed,
            **{name: percentiles(values * 1e3) for name, values in rows.items()},
        }

    def _ordered(self, ring: NDArray[Any], newest: int | None) -> NDArray[Any]:
        ticks = self.ticks
        count = min(ticks, len(ring) if newest is None else min(newest, len(ring)))
        return np.asarray(ring[np.arange(ticks - count, ticks) % len(ring)])


def percentiles(values: NDArray[np.float64]) -> dict[str, float] | None:
    """p50, p99, p99.9 and max of ``values``; None where there are none."""
    if not len(values):
        return None
    p50, p99, p999 = np.percentile(values, (50, 99, 99.9))
    return {"p50": float(p50), "p99": float(p99), "p99.9": float(p999), "max": float(values.max())}
