"""Whether the robot has become another one: trials of before that make the newer ones harder to predict.

A payload, a weaker motor or a slower bus makes two robots of one log. A model that learns from both learns neither, and trials of
before are false judges. What decides is the question itself, asked of something quick: of the model's errors some steps ahead,
ridge regression learns a correction on newer pieces, and it is tried on the newer pieces that it has not seen; once without
the older pieces, once with them. With one robot more data help, or do no harm; with two they hurt. The idea is Chow's test for a
structural break (Chow, "Tests of equality between sets of coefficients in two linear regressions", 1960), by cross-validation
instead of an F statistic, whose assumptions errors of windows that overlap do not meet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from forerun_models.dynamics.model import WorldModel
from forerun_models.training.clocks import consistent
from forerun_models.training.gate import predict, windows
from forerun_models.training.replay import learned_from
from forerun_models.training.split import Split, rejoined, segments
from forerun_sim.trial import Trial

AHEAD = 5
"""Steps after which errors are looked at: of one step, noise is the most."""
_PIECES = 4
"""On each side of a moment at which the robot may have changed, at least."""
_MOMENTS = 12
"""Of that kind, at most; around the worst of them all are looked at."""
_RIDGE = 10.0
_LITTLE = 0.25
_SURE = 2.0
"""Standard errors, over pieces, that the harm must come to."""
_FAR = 5.0
"""Standard deviations at which what a correction sees is cut off."""

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """The robot is another one since ``time`` [s] of the trials' clock: with what is older, errors on what is newer are ``worse``
    times as large (mean square), and ``harm`` larger in sum [squared spreads]."""

    time: float
    worse: float
    harm: float = 0.0


def find(model: WorldModel, trials: Sequence[Trial], limit: float, shortest: int) -> Change | None:
    """The moment since which the real ``trials`` are of one robot, or None where they all are.

    Args:
        model: whose errors are looked at.
        trials: in any order. Where two of them are told the same time, nobody knows which was first, and no change is found.
        limit: ``worse`` from which on it counts.
        shortest: rows of a piece, at least.
    """
    if not consistent(trials):
        return None
    rows = max(2 * shortest, 2 * (AHEAD + model.features.history))
    whole = sorted(rejoined(trials), key=lambda trial: trial.start)
    pieces = [piece for trial in whole for piece in segments(trial, rows) if len(piece) > AHEAD]
    moments = range(_PIECES, len(pieces) - _PIECES + 1)
    if not moments:
        return None
    seen, missed, owner = _errors(model, pieces)

    def harmed(first: int) -> float:
        return float(_hurt(seen, missed, owner, first)[1].sum())

    # The sum of the harm is largest at the moment at which the robot did change: earlier, some of what is newer gains by what is
    # older; later, less is harmed. (The mean is largest somewhere later, by chance.)
    stride = -(-len(moments) // _MOMENTS)
    near = max(moments[::stride], key=harmed)
    first = max(moments[max(0, near - stride - _PIECES + 1) : near + stride - _PIECES], key=harmed)
    worse, harm = _hurt(seen, missed, owner, first)
    if worse <= limit or harm.mean() < _SURE * harm.std(ddof=1) / math.sqrt(len(harm)):
        return None
    return Change(pieces[first].start, worse, float(harm.sum()))


def since(split: Split, change: Change, shortest: int) -> Split:
    """``split`` without what is older than ``change``. A purpose for which nothing newer is there keeps what is older."""
    found = {role: newer(getattr(split, role), change, shortest) for role in ("train", "stop", "judge")}
    return replace(split, **{role: trials for role, trials in found.items() if trials}, earlier=newer(split.earlier, change, 2))


def kept(replay: Sequence[Trial], change: Change) -> list[Trial]:
    """``replay`` without the real trials that are older than ``change``."""
    return [trial for trial in replay if not learned_from(trial) or trial.start >= change.time - 0.5 * trial.period]


def newer(trials: Sequence[Trial], change: Change, shortest: int) -> list[Trial]:
    """What of ``trials`` is since ``change``, where that is at least ``shortest`` rows."""
    first = [max(0, round((change.time - trial.start) / trial.period)) for trial in trials]
    return [trial.part(row, len(trial)) for row, trial in zip(first, trials, strict=True) if len(trial) - row >= shortest]


def _errors(model: WorldModel, pieces: Sequence[Trial]) -> tuple[Floats, Floats, NDArray[np.int64]]:
    """Of windows of ``pieces``: what a correction sees [N, F], the model's errors [N, S] in spreads, the piece's number [N]."""
    features = model.features
    cuts = windows(pieces, features.history, AHEAD)
    past = [torch.as_tensor(cuts.past_states[:, row]) for row in range(features.history)]
    given = [torch.as_tensor(cuts.past_actions[:, row]) for row in range(features.history - 1)]
    with torch.no_grad():
        inputs = features.inputs(past, [*given, torch.as_tensor(cuts.actions[:, 0])]).numpy().astype(np.float64)
    told = cuts.actions.astype(np.float64) / max(float(np.abs(cuts.actions).max()), 1e-9)
    newest = cuts.past_states[:, -1].astype(np.float64)
    wave = np.concatenate([np.sin(newest), np.cos(newest)], axis=1)
    turned = (told.mean(axis=1)[:, :, None] * wave[:, None, :]).reshape(len(cuts), -1)
    seen = np.concatenate([np.ones((len(cuts), 1)), np.clip(inputs, -_FAR, _FAR), told.reshape(len(cuts), -1), turned], axis=1)
    reached = predict(model, cuts.past_states, cuts.past_actions, cuts.actions)[:, -1]
    return seen, (reached - cuts.future[:, -1]) / features.state_std.numpy().astype(np.float64), cuts.trial


def _hurt(seen: Floats, missed: Floats, owner: NDArray[np.int64], first: int) -> tuple[float, Floats]:
    """How many times larger the squared errors on pieces from number ``first`` on are with the pieces before them, and how much
    larger on each piece [P].

    Errors far below those on the pieces before count as if they were not: a robot at rest is predicted all too well.
    """
    new = owner >= first
    old = missed[~new] - seen[~new] @ _ridge(seen[~new], missed[~new])
    usual = float((old**2).mean()) * missed[new].size
    left: list[tuple[float, float]] = []
    for piece in np.unique(owner[new]):
        asked, others = owner == piece, new & (owner != piece)
        corrections = [_ridge(seen[learned], missed[learned]) for learned in (others, others | ~new)]
        alone, together = (float(((missed[asked] - seen[asked] @ correction) ** 2).sum()) for correction in corrections)
        left.append((alone, together))
    alone, together = (sum(values) for values in zip(*left, strict=True))
    harm = np.array([with_old - without for without, with_old in left])
    return float(together / max(alone, _LITTLE * usual, 1e-12)), harm


def _ridge(inputs: Floats, outputs: Floats) -> Floats:
    return np.asarray(np.linalg.solve(inputs.T @ inputs + _RIDGE * np.eye(inputs.shape[1]), inputs.T @ outputs))
