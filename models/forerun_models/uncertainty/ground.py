"""Chooses the states by which a bundle knows where its model has been, and how far a trial that it has not seen may lead from
them.

Points are taken one by one, each as far from the ones before as data allow (Gonzalez 1985): a few of them cover the edges of the
data as well as their middle. What is usual is what trials say that were left out of it: states within a trial are alike, and it
is from trial to trial that a robot goes where it has not been.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle import Ground
from forerun_models.dynamics.features import FeatureMap
from forerun_sim.trial import Trial

Floats = NDArray[np.float64]

POINTS = 256
ROWS = 8192
"""At most so many states are chosen from: neighbouring ones are alike."""
FOLDS = 10
"""Times in which the trials are left out, some at once where there are more."""
_PIECES = 8
"""Fewer trials than these are cut into so many pieces."""
USUAL = 0.95
"""Share of the trials left out that never go farther than the threshold."""
LEAST = 0.5
"""Of a threshold, in spreads of the data: over less than that a model is smooth, however alike the trials are."""


def lay(features: FeatureMap, trials: Sequence[Trial], held_out: Sequence[Trial] = (), *, mirror: bool) -> tuple[Ground, float]:
    """The ground that a model with ``features`` stands on after learning from ``trials``, and the distance that is still usual.

    Args:
        held_out: trials that the model has not learned from.
        mirror: whether it learned from the mirror images too.
    """
    angles = features.angle_map.double().numpy()
    entering = np.zeros(len(angles))
    entering[features.direct] = features.state_std.double().numpy()[features.direct]
    # As the bundle rounds them.
    ground = Ground(angles, np.round(entering, 4), np.empty((0, 0)))
    parts = [trial.states.astype(np.float64) for trial in trials]
    pieces = (
        parts if len(parts) >= _PIECES else [piece for part in parts for piece in np.array_split(part, -(-_PIECES // len(parts)))]
    )
    whole = replace(ground, points=_spread(ground, parts, mirror))
    farthest = [float(whole.distance(trial.states).max()) for trial in held_out]
    folds = min(FOLDS, len(pieces))
    for fold in range(folds):
        others = [piece for number, piece in enumerate(pieces) if number % folds != fold]
        rest = replace(ground, points=_spread(ground, others, mirror))
        farthest += [float(rest.distance(piece).max()) for piece in pieces[fold::folds] if len(piece)]
    return whole, max(float(np.quantile(farthest, USUAL)), LEAST)


def _spread(ground: Ground, states: Sequence[Floats], mirror: bool) -> Floats:
    """[P, .] places of some of ``states``, each [N, S]."""
    rows = np.concatenate(states)
    rows = rows[:: max(1, -(-len(rows) * (1 + mirror) // ROWS))]
    places = ground.place(np.concatenate([rows, -rows]) if mirror else rows)
    norms = (places**2).sum(axis=1)
    middle = places.mean(axis=0)
    taken, gap = [int((norms - 2.0 * places @ middle).argmax())], np.full(len(places), np.inf)
    while len(taken) < min(POINTS, len(places)):
        newest = places[taken[-1]]
        gap = np.minimum(gap, norms - 2.0 * places @ newest + newest @ newest)
        taken.append(int(gap.argmax()))
    return np.round(places[taken], 4)
