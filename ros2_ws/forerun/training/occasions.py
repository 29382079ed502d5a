"""When to train again: after so much data, when the running bundle predicts worse than it did, when its plans disagree more.

The rule is ``forerun_models.training.schedule.retrain``; here are the figures that it is told.
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np
from numpy.typing import NDArray

from forerun.control.live_error import STEPS, spread, squared_errors
from forerun.control.shadow import FLOOR
from forerun.training.collect import Rows
from forerun_models.bundle import Bundle
from forerun_models.training.schedule import RECENT, retrain


class Occasions:
    """Watches the bundle that runs.

    Args:
        every: rows after which it is time in any case.
        since: rows since the last training, of before.

    Attributes:
        error: the newest second's prediction error over ``STEPS`` steps, in standard deviations of the states; nan before.
        rows: since the last training.
    """

    def __init__(self, every: int, since: int = 0) -> None:
        self.every, self.rows = every, since
        self.error = math.nan
        self._usual: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT)
        self._disagreements: deque[float] = deque(maxlen=10 * RECENT)
        self._tail: NDArray[np.float32] | None = None
        self._squared: list[float] = []
        self._threshold = math.inf
        self._bundle: Bundle | None = None

    def watch(self, bundle: Bundle) -> None:
        """Another bundle runs: what is usual begins anew."""
        self._bundle = bundle
        self._threshold = float(bundle.manifest.thresholds.get("disagreement", math.inf))
        self._usual.clear()
        self._recent.clear()
        self._disagreements.clear()
        self._squared.clear()

    def add(self, part: Rows) -> None:
        """Rows of the live stream: the bundle is asked what it would have expected."""
        self.rows += len(part.states)
        rows = np.concatenate([part.states, part.actions], axis=1)
        if self._tail is not None and not part.begins:
            rows = np.concatenate([self._tail, rows])
        bundle, std = self._bundle, None if self._bundle is None else spread(self._bundle)
        if bundle is None or std is None or not bundle.has_model:
            return
        length = bundle.manifest.history + STEPS
        self._tail = None if part.ends else rows[-(length - 1) :]
        if len(rows) < length:
            return
        windows = np.lib.stride_tricks.sliding_window_view(rows, length, axis=0).swapaxes(1, 2)
        self._squared += squared_errors(bundle, windows, bundle.manifest.history, std).tolist()
        if len(self._squared) >= bundle.manifest.rate:
            self.error = float(np.sqrt(np.mean(self._squared)))
            self._squared.clear()
            # As between two bundles, errors below the floor are not told apart: a robot that rests is predicted all too well.
            told = self._usual if len(self._usual) < RECENT else self._recent
            told.append(max(self.error, FLOOR))

    def plan(self, disagreement: float) -> None:
        """What the controller says about one of its plans."""
        self._disagreements.append(disagreement)

    def reason(self) -> str:
        """Why it is time; empty where it is not, and in the first quarter of ``every`` in any case: a movement that begins looks
        like a change for a moment."""
        if self.rows < self.every // 4:
            return ""
        return retrain(self.rows, self.every, [*self._usual, *self._recent], self._disagreements, self._threshold)

    def trained(self) -> None:
        """A training begins with all that came so far."""
        self.rows = 0
        self._usual.clear()
        self._recent.clear()
        self._disagreements.clear()
