"""The trials that a bundle carries along, so that fine-tuning forgets nothing: simulated ones, and real ones of before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from forerun_models.training import clocks
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
    """``replay`` without the real trials that ``given`` ones have too.

    They would count twice, and those of ``given`` that are held out would be trained on. Where others were told the same time,
    the clock has begun anew since: the real trials of the replay are older then, whatever their times say, and move to before.
    """
    kept: list[Trial] = []
    anew = False
    for trial in replay:
        at_once = [other for other in given if clocks.overlap(trial, other)] if learned_from(trial) else []
        if any(clocks.same(trial, other) for other in at_once):
            continue
        anew |= bool(at_once)
        kept.append(trial)
    if not anew:
        return kept
    real = iter(clocks.before([trial for trial in kept if learned_from(trial)], given))
    return [next(real) if learned_from(trial) else trial for trial in kept]


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
