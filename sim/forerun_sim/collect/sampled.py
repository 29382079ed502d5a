"""What was drawn for many episodes: its spread, and which of it goes with physics that exploded."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

_KEPT = 4096
"""Episodes of each kind, exploded or not, whose values are kept for the comparison: memory stays bounded."""
_CERTAIN = 4.0
"""Standard errors from which on a difference of ranks is no accident, among some hundred quantities that are looked at."""
_RARE = 20_000
"""Orders of the values of two kinds of episodes, only two of which part the kinds cleanly: from so many on, no accident."""


@dataclass
class Span:
    """One quantity over all episodes so far."""

    low: float
    high: float
    total: float = 0.0
    count: int = 0

    @property
    def mean(self) -> float:
        return self.total / self.count


@dataclass(frozen=True)
class Suspect:
    """A quantity that goes with explosions.

    Attributes:
        name: the quantity.
        chance: of an exploded episode's value to be above another's: near 1 large values explode, near 0 small ones do.
        exploded, whole: the median of either kind of episodes.
    """

    name: str
    chance: float
    exploded: float
    whole: float


class Sampled:
    """Collects what was drawn, episode by episode. Attributes: ``spans``, by quantity; ``episodes``, ``exploded``: how many."""

    def __init__(self) -> None:
        self.spans: dict[str, Span] = {}
        self.episodes = 0
        self.exploded = 0
        self._whole: list[list[float]] = []
        self._failed: list[list[float]] = []

    def add(self, parameters: Mapping[str, float], *, exploded: bool) -> None:
        """An episode; all of them have the same quantities."""
        self.episodes += 1
        self.exploded += exploded
        for name, value in parameters.items():
            span = self.spans.setdefault(name, Span(value, value))
            span.low, span.high = min(span.low, value), max(span.high, value)
            span.total += value
            span.count += 1
        rows = self._failed if exploded else self._whole
        if len(rows) < _KEPT:
            rows.append(list(parameters.values()))

    def suspects(self) -> list[Suspect]:
        """Quantities whose values differ between episodes that exploded and others, the clearest first.

        By ranks (Mann and Whitney 1947), so that no shape of the distributions is assumed; empty where one kind is missing.
        """
        if not self._failed or not self._whole:
            return []
        failed, whole = np.array(self._failed), np.array(self._whole)
        n, m = len(failed), len(whole)
        error = math.sqrt((n + m + 1) / (12.0 * n * m))
        found = []
        for name, bad, good in zip(self.spans, failed.T, whole.T, strict=True):
            chance = _chance_above(bad, good)
            apart = abs(chance - 0.5) == 0.5 and math.comb(n + m, n) > _RARE
            if apart or abs(chance - 0.5) > _CERTAIN * error:
                found.append(Suspect(name, chance, float(np.median(bad)), float(np.median(good))))
        return sorted(found, key=lambda one: -abs(one.chance - 0.5))


def _chance_above(one: np.ndarray, other: np.ndarray) -> float:
    """Share of the pairs (a of ``one``, b of ``other``) with a > b, ties counting half."""
    ordered = np.sort(other)
    below, upto = np.searchsorted(ordered, one, "left"), np.searchsorted(ordered, one, "right")
    return float((below + upto).sum()) / (2.0 * len(one) * len(other))
