"""The trials that a bundle carries along, so that fine-tuning forgets nothing: simulated ones, and real ones of before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forerun_models.training.run import REPLAY_ROWS
from forerun_models.training.split import Split
from forerun_models.training.store import thin
from forerun_sim.trial import Trial

_MARK = "finetuned"
"""In a trial's ``meta``: it came by fine-tuning, so from the robot. What a plant says of itself does not tell: the demo's robot
is a simulator too."""


def learned_from(trial: Trial) -> bool:
    """Whether a trial of the replay came by fine-tuning."""
    return bool(trial.meta.get(_MARK))


def carried(replay: Sequence[Trial], given: Sequence[Trial]) -> list[Trial]:
    """``replay`` without the real trials that overlap in time with ``given`` ones.

    They would count twice, and those of ``given`` that are held out would be trained on.
    """
    return [trial for trial in replay if not (learned_from(trial) and any(_overlap(trial, other) for other in given))]


def of_child(replay: Sequence[Trial], split: Split) -> list[Trial]:
    """The replay of a bundle that was fine-tuned by ``split``: its parent's, and the new trials that it was trained on.

    Of more than ``REPLAY_ROWS`` rows, real ones have at most half and the newest of them stay; of the simulated ones evenly
    spread whole trials do.
    """
    simulated = [trial for trial in replay if not learned_from(trial)]
    real = [trial for trial in carried(replay, split.trials) if learned_from(trial)]
    real += [replace(trial, meta={**trial.meta, _MARK: True}) for trial in split.train]
    kept: list[Trial] = []
    spare = max(REPLAY_ROWS // 2, REPLAY_ROWS - _rows(simulated))
    for trial in reversed(real):
        if kept and _rows(kept) + len(trial) > spare:
            break
        kept.insert(0, trial)
    return [*thin(simulated, max(1, REPLAY_ROWS - _rows(kept))), *kept]


def _rows(trials: Sequence[Trial]) -> int:
    return sum(len(trial) for trial in trials)


def _overlap(one: Trial, other: Trial) -> bool:
    return one.start <= other.start + other.duration and other.start <= one.start + one.duration
