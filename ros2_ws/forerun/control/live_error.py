"""How well models predict the live stream: what they expected k steps ago, compared with what was measured.

Nothing is predicted in advance. The rows of the control grid are kept for a while, and both models of a comparison are asked
afterwards what they would have expected, from exactly the rows that they would have had. The error of a window is the mean
over steps 1 to k and over the state of ``((predicted - measured) / std) ** 2``, with the spread of the training states as
``std``; a comparison's error is the root of the mean over its windows.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun.grid import LiveGrid
from forerun_models.bundle import Bundle

Floats = NDArray[np.float64]

STEPS = 5
"""k: far enough for a model's errors to show, near enough that chance does not decide."""
SPARE_ROWS = 4
"""Rows that a grid holds beyond a model's history, so that rows are found complete although states arrive late."""
_KEPT = 256
_OUTAGE = 3
"""Periods without a state after which the stream begins anew, as recordings are cut into trials."""


class LiveRows:
    """The newest complete rows of the live grid, in memory of fixed size. Knows where the stream was interrupted."""

    def __init__(self, period: float, width: int) -> None:
        """
        Args:
            period: control period [s].
            width: S + A.
        """
        self._period = period
        self._rows = np.zeros((_KEPT, width), np.float32)
        self.total = 0
        self.clear()

    def clear(self) -> None:
        """The stream begins anew."""
        self._newest = self._heard = -math.inf
        self._unbroken = self.total

    def take(self, grid: LiveGrid, now: float) -> None:
        """Adds the rows that have become complete by ``now`` [s], a period after the last one each.

        A row is complete when the state after it is known (else it would be held, not interpolated) and its command has acted
        for a whole period.
        """
        if math.isnan(grid.first):
            return
        if grid.newest - self._heard > _OUTAGE * self._period:
            # What lies between was interpolated over a time in which nothing was measured.
            self._newest = grid.newest - self._period / 2
            self._unbroken = self.total
        self._heard = grid.newest
        if self.total > self._unbroken:
            now = self._newest + math.floor((now - self._newest) / self._period + 1e-6) * self._period
        history = grid.history(now)
        times = now - np.arange(len(history) - 1, 0, -1) * self._period
        known = (times <= grid.newest) & (times >= grid.first) & (times > self._newest + self._period / 2)
        for row, time in zip(history[:-1][known], times[known].tolist(), strict=True):
            if time > self._newest + 1.5 * self._period:
                self._unbroken = self.total
            self._rows[self.total % _KEPT] = row
            self._newest = time
            self.total += 1

    def windows(self, since: int, length: int) -> NDArray[np.float32]:
        """Windows [N, length, S+A] of successive rows, ending with the rows from number ``since`` on."""
        first = max(since, self._unbroken + length - 1, self.total - _KEPT + length - 1)
        ends = np.arange(first, self.total)
        return np.asarray(self._rows[(ends[:, None] + np.arange(1 - length, 1)) % _KEPT])


@dataclass(frozen=True)
class Errors:
    """Root mean squared errors of the new and the old model over the newest ``windows`` windows, in standard deviations."""

    new: float
    old: float
    windows: int
    failed: str = ""

    def worse(self, tolerance: float, floor: float) -> bool:
        """Whether the new one errs more than ``tolerance`` times the old one's error plus ``floor``."""
        return not math.isfinite(self.new) or self.new > tolerance * self.old + floor

    def __str__(self) -> str:
        return f"{self.new:.3g} against {self.old:.3g} over {self.windows} windows of {STEPS} steps{self.failed}"


class Comparison:
    """Two models on the same windows of the live stream.

    Args:
        new, old: bundles for which ``incomparable`` is empty.
        rows: the live stream; windows count from now on.
        newest: so many windows are kept.

    Attributes:
        seen: windows so far.
        failed: what a model ran into, as the end of a sentence.
    """

    def __init__(self, new: Bundle, old: Bundle, rows: LiveRows, newest: int) -> None:
        self._models = (new, old)
        self._std = spread(old) if spread(old) is not None else spread(new)
        self._history = max(new.manifest.history, old.manifest.history)
        self._next = rows.total
        self._squared = np.zeros((newest, 2))
        self.seen = 0
        self.failed = ""

    def cut(self, rows: LiveRows, at_least: int) -> NDArray[np.float32] | None:
        """The windows that came since the last call, or None while there are fewer than ``at_least``."""
        if rows.total - self._next < at_least:
            return None
        windows = rows.windows(self._next, self._history + STEPS)
        self._next = rows.total
        return windows if len(windows) else None

    def evaluate(self, windows: NDArray[np.float32]) -> Floats:
        """Squared errors [N, 2] of the new and the old model; infinite where a model fails. For another thread."""
        assert self._std is not None
        columns = []
        for bundle, name in zip(self._models, ("new", "old"), strict=True):
            try:
                columns.append(squared_errors(bundle, windows, self._history, self._std))
            except Exception as error:  # ONNX Runtime raises types of its own that share no base but Exception
                self.failed = f"; the {name} model fails: {type(error).__name__}: {error}"
                columns.append(np.full(len(windows), np.inf))
        return np.stack(columns, axis=1)

    def add(self, squared: Floats) -> None:
        """Takes what ``evaluate`` returned."""
        kept = squared[-len(self._squared) :]
        seen = self.seen + len(squared)
        self._squared[np.arange(seen - len(kept), seen) % len(self._squared)] = kept
        self.seen = seen

    @property
    def errors(self) -> Errors:
        """Of the newest windows."""
        windows = min(self.seen, len(self._squared))
        if not windows:
            return Errors(math.nan, math.nan, 0, self.failed)
        new, old = np.sqrt(np.mean(self._squared[:windows], axis=0))
        return Errors(float(new), float(old), windows, self.failed)


def incomparable(new: Bundle, old: Bundle) -> str:
    """Why the predictions of two bundles cannot be compared; empty where they can."""
    for bundle, name in ((new, "the new bundle"), (old, "the running bundle")):
        if not bundle.has_model:
            return f"{name} has no model"
    if spread(old) is None and spread(new) is None:
        return "neither bundle says how far the states of its training spread (metrics.state_std)"
    return ""


def spread(bundle: Bundle) -> Floats | None:
    """[S] spread of the training states, None where the bundle does not say."""
    given = bundle.manifest.metrics.get("state_std")
    try:
        std = np.asarray(given, np.float64)
    except (TypeError, ValueError):
        return None
    fits = std.shape == (bundle.manifest.state_size,) and bool((np.isfinite(std) & (std > 0)).all())
    return std if fits else None


def squared_errors(bundle: Bundle, windows: NDArray[np.float32], history: int, std: Floats) -> Floats:
    """Mean squared error [N] of each window, whose first ``history`` rows are the past."""
    size, own = bundle.manifest.state_size, bundle.manifest.history
    states, actions = windows[..., :size], windows[..., size:]
    past = slice(history - own, history)
    predicted = bundle.rollout(states[:, past], actions[:, history - own : history - 1], actions[:, history - 1 : -1])
    with np.errstate(over="ignore", invalid="ignore"):
        squared = (((predicted.astype(np.float64) - states[:, history:]) / std) ** 2).mean(axis=(1, 2))
    return np.where(np.isfinite(squared), squared, np.inf)
