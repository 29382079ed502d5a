"""Pieces of logs to predict: what was measured and commanded before each, and what followed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError
from forerun_sim.trial import Trial

Array = NDArray[np.float64]
_REACH, _ORDER = 3, 4
_DOUBT = 3.0
"""How much farther off a start may be than the scatter around a cubic says: where a joint sticks or is struck there is none."""
_NEAR = 0.005
"""Share of a joint's range from which on it counts as at its stop."""
PAST = 16
"""Rows of the log that a prediction may look at."""


@dataclass(frozen=True)
class Segments:
    """N pieces of logs: ``before`` [N, P, S], ``given`` [N, P - 1, A], ``actions`` [N, K, A], ``future`` [N, K, S] and the number
    of the trial of each [N]."""

    before: Array
    given: Array
    actions: Array
    future: Array
    trial: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.trial)

    @property
    def steps(self) -> int:
        """Control steps of each (K)."""
        return int(self.actions.shape[1])

    def only(self, which: NDArray[np.bool_]) -> Segments:
        """Those of them that are true in ``which`` [N]."""
        return Segments(self.before[which], self.given[which], self.actions[which], self.future[which], self.trial[which])

    def join(self, others: Segments) -> Segments:
        """These, then ``others``, whose trials are numbered on."""
        return Segments(
            np.concatenate([self.before, others.before]),
            np.concatenate([self.given, others.given]),
            np.concatenate([self.actions, others.actions]),
            np.concatenate([self.future, others.future]),
            np.concatenate([self.trial, self.trial.max() + 1 + others.trial]),
        )


def cut(trials: Sequence[Trial], steps: int, most: int) -> Segments:
    """Up to ``most`` segments of ``steps`` control steps, spread evenly over all rows of ``trials``; where they need not, they do
    not overlap. Rows before the start of a trial repeat its first row.

    Raises:
        InputError: no trial is long enough.
    """
    rooms = [max(0, len(trial) - steps) for trial in trials]
    if not sum(rooms):
        longest = max((len(trial) for trial in trials), default=0)
        raise InputError(f"no trial has the {steps + 1} rows that a segment of {steps} steps needs (longest: {longest})")
    apart = max(1, min(steps, sum(rooms) // most))
    places = [
        (number, start) for number, room in enumerate(rooms) for start in range(min(PAST - 1, room - 1), room, apart) if room
    ]
    if len(places) > most:
        places = [places[index] for index in np.linspace(0, len(places) - 1, most).round().astype(int)]
    parts: list[list[Array]] = [[], [], [], []]
    for number, start in places:
        states, actions = trials[number].states.astype(np.float64), trials[number].actions.astype(np.float64)
        past = np.maximum(np.arange(start - PAST + 1, start + 1), 0)
        for part, rows in zip(
            parts,
            (states[past], actions[past[:-1]], actions[start : start + steps], states[start + 1 : start + steps + 1]),
            strict=True,
        ):
            part.append(rows)
    before, given, ahead, future = (np.array(part) for part in parts)
    return Segments(before, given, ahead, future, np.array([number for number, _ in places]))


def clear_of_stops(segments: Segments, stops: Array, period: float) -> Segments:
    """Those in which no joint meets one of its ``stops`` [2, J] (infinite where it has none): a blow tells of the stop, which no
    parameter describes, and one of them misleads a fit more than a hundred other segments can mend. All of them where fewer than
    half would be left."""
    joints = stops.shape[1]
    rows = np.concatenate([segments.before[:, -1 - _REACH :], segments.future], axis=1)
    position, velocity = rows[..., :joints], rows[..., joints:]
    # Between two rows a joint gets further than in either.
    furthest = np.stack([position, position + period * velocity])
    room = _NEAR * np.where(np.isfinite(stops).all(axis=0), stops[1] - stops[0], 0.0)
    clear = ((furthest > stops[0] + room) & (furthest < stops[1] - room)).all(axis=(0, 2, 3))
    return segments.only(clear) if 2 * clear.sum() >= len(segments) else segments


def smoothed(segments: Segments, period: float) -> tuple[Array, Array]:
    """States [N, S] in which the segments begin, from a cubic through the positions of three rows before and after, and how far
    off they may be [S]: for training alone, as no prediction knows what follows. Velocities lose most of an encoder's noise,
    and its lateness."""
    joints = segments.before.shape[2] // 2
    reach = min(_REACH, segments.steps, segments.before.shape[1] - 1)
    rows = np.concatenate([segments.before[:, -1 - reach :], segments.future[:, :reach]], axis=1)[:, :, :joints]
    times = np.arange(-reach, reach + 1) * period
    powers = times[:, None] ** np.arange(min(_ORDER, 2 * reach))
    fit = np.linalg.pinv(powers)
    found = np.einsum("cr,nrj->ncj", fit[:2], rows)
    left = rows - np.einsum("rk,ks,nsj->nrj", powers, fit, rows)
    noise = _DOUBT * np.sqrt((left**2).mean(axis=(0, 1)) * len(times) / max(len(times) - powers.shape[1], 1))
    deviation = np.sqrt((fit[:2] ** 2).sum(axis=1))[:, None] * noise
    return found.reshape(len(segments), 2 * joints), deviation.reshape(2 * joints)


def yardstick(trials: Sequence[Trial]) -> Array:
    """The spread [S] of all states of ``trials``, by which errors are divided; 1 where nothing moves."""
    spread: Array = np.concatenate([trial.states for trial in trials]).astype(np.float64).std(axis=0)
    return np.where(spread > 1e-9, spread, 1.0)
