"""Held-out data are whole trials, never random rows: neighbouring rows are nearly copies of each other.

A robot that is never reset makes one long trial. Its segments, seconds each, stand in for trials then, and of a handful of
trials a stretch is held out: with a whole one, a third of what there is to learn would be lost.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import numpy as np

from forerun_sim.errors import InputError
from forerun_sim.trial import Trial

PIECES = 10
"""Segments into which too few trials are cut, where they are long enough."""


@dataclass(frozen=True)
class Split:
    """Real trials for fine-tuning, each in one place only.

    Attributes:
        train: weights are fitted to them.
        stop: say when to stop, and which weights each member keeps.
        judge: say whether the candidate is better than its parent.
        earlier: older ones of which no weight has seen any either; on them the candidate may not be much worse.
    """

    train: Sequence[Trial]
    stop: Sequence[Trial]
    judge: Sequence[Trial]
    earlier: Sequence[Trial] = ()

    @property
    def trials(self) -> list[Trial]:
        """All of them."""
        return [*self.train, *self.stop, *self.judge, *self.earlier]


def hold_out(trials: Sequence[Trial], fraction: float, seed: int) -> tuple[list[Trial], list[Trial]]:
    """``trials`` as (train, held out): about ``fraction`` of the rows, at least one trial on each side.

    Raises:
        InputError: there are fewer than two trials.
    """
    if len(trials) < 2:
        raise InputError(
            f"{len(trials)} trial(s) are too few: one must be held out to judge the model; record at least two trials "
            "(a trial ends at a reset or a gap)"
        )
    order = np.random.default_rng(seed).permutation(len(trials))
    wanted = fraction * sum(len(trial) for trial in trials)
    held: set[int] = set()
    rows = 0
    for index in order:
        if held and (rows + len(trials[index]) / 2 > wanted or len(held) == len(trials) - 1):
            break
        held.add(int(index))
        rows += len(trials[index])
    return [t for i, t in enumerate(trials) if i not in held], [t for i, t in enumerate(trials) if i in held]


def hold_out_some(trials: Sequence[Trial], fraction: float, seed: int, shortest: int) -> tuple[list[Trial], list[Trial]]:
    """As ``hold_out``; but where trials are so few that a whole one would be more than twice ``fraction``, a stretch of one.

    The stretch has about ``fraction`` of all rows, at least ``shortest``; what is before and after it are trials of their own.
    Trials too short to spare that much are held out whole.

    Raises:
        InputError: there is one trial, and it is too short.
    """
    rows = max(shortest, round(fraction * sum(len(trial) for trial in trials)))
    spared = [number for number, trial in enumerate(trials) if len(trial) >= 3 * rows]
    if 2 * fraction * len(trials) >= 1 or not spared:
        return hold_out(trials, fraction, seed)
    random = np.random.default_rng(seed)
    chosen = int(random.choice(spared))
    trial = trials[chosen]
    first = rows * int(random.integers(len(trial) // rows))
    rest = [trial.part(*bounds) for bounds in ((0, first), (first + rows, len(trial))) if bounds[0] < bounds[1]]
    return [*trials[:chosen], *rest, *trials[chosen + 1 :]], [trial.part(first, first + rows)]


def three_ways(trials: Sequence[Trial], fraction: float, seed: int, shortest: int) -> Split:
    """About ``fraction`` of the rows judge, as much of the rest says when to stop, and the others are trained on.

    Fewer than three trials are cut into segments first: about ten in all, of at least ``shortest`` rows.

    Raises:
        InputError: there are not enough rows for three segments.
    """
    pieces = list(trials)
    if len(pieces) < 3:
        total = sum(len(trial) for trial in pieces)
        pieces = [part for trial in pieces for part in segments(trial, max(shortest, total // PIECES))]
    if len(pieces) < 3:
        rows = " + ".join(str(len(trial)) for trial in trials) or "0"
        raise InputError(
            f"{rows} rows in {len(trials)} trial(s) are too few to fine-tune on: some are for training, some say when to stop, "
            f"some judge; record at least three trials, or {3 * shortest} rows in one"
        )
    rest, judge = hold_out(pieces, fraction, seed)
    train, stop = hold_out(rest, fraction, seed + 1)
    return Split(train, stop, judge)


def segments(trial: Trial, rows: int) -> list[Trial]:
    """``trial`` in consecutive segments of ``rows`` rows; what is left over makes the last one longer."""
    bounds = [*range(0, max(len(trial) - rows, 0) + 1, rows), len(trial)]
    return [trial.part(first, last) for first, last in pairwise(bounds)]


def rejoined(trials: Sequence[Trial]) -> list[Trial]:
    """``trials`` in order of time, where those that were cut out of one recording and follow each other are one again."""
    whole: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (_recording(trial), trial.start)):
        before = whole[-1] if whole else None
        if before is not None and _recording(before) == _recording(trial) and _follows(before, trial):
            states, actions = (np.concatenate([getattr(one, name) for one in (before, trial)]) for name in ("states", "actions"))
            whole[-1] = replace(before, states=states, actions=actions)
        else:
            whole.append(trial)
    return whole


def _recording(trial: Trial) -> str:
    return trial.source.split("[")[0].split("#")[0]


def _follows(before: Trial, trial: Trial) -> bool:
    return abs(before.start + len(before) * before.period - trial.start) < 0.01 * trial.period
