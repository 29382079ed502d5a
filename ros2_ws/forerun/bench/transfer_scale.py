"""Where a return lies between doing nothing and the oracle: the rows of ``forerun bench transfer``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from forerun.bench.transfer_lab import Setup


@dataclass(frozen=True)
class Scale:
    """The ends of the scale of returns on one plant: results of doing nothing and of the oracle, if there is one."""

    hanging: dict[str, Any]
    oracle: dict[str, Any] | None

    @property
    def nothing(self) -> float:
        """Mean return of doing nothing."""
        return float(mean(self.hanging["returns"]))

    @property
    def best(self) -> float:
        """Mean return of the oracle, or nan."""
        return math.nan if self.oracle is None else float(mean(self.oracle["returns"]))

    def share(self, found: Mapping[str, Any]) -> float:
        """Of the way from doing nothing to the oracle, that of the mean return of ``found``."""
        return (float(mean(found["returns"])) - self.nothing) / (self.best - self.nothing)

    def row(
        self,
        setup: Setup,
        curve: str,
        stage: int,
        found: Sequence[Mapping[str, Any]],
        zero_shot: Sequence[Mapping[str, Any]] | None = None,
    ) -> dict[str, str | int | float]:
        """Evaluations ``found`` by seed after ``stage`` seconds; ``zero_shot`` are those of the bundle that they began from."""
        returns = [mean(one["returns"]) for one in found]
        shares = [self.share(one) for one in found]
        row: dict[str, str | int | float] = {"robot": setup.title, "curve": curve, "change": "", "seconds": stage}
        for name, values, digits in (("return", returns, 1), ("share", shares, 3)):
            row |= {f"{name}_median": round(median(values), digits)}
            row |= {f"{name}_min": round(min(values), digits), f"{name}_max": round(max(values), digits)}
        successes = [success for one in found for success in one["successes"]]
        row |= {"successes": sum(successes), "episodes": len(successes)}
        row |= {"returns": " ".join(f"{value:.1f}" for value in returns)}
        if zero_shot is not None:
            worse = [new < mean(old["returns"]) for new, old in zip(returns, zero_shot, strict=True)]
            row |= {"below_zero_shot": sum(worse)}
        return row
