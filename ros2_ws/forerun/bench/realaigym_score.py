"""The score of the RealAIGym leaderboards for acrobot and pendubot, of one attempt of 10 s in samples of 2 ms.

    S = success * (1 - mean over five costs of tanh(pi * cost / scale))

An attempt succeeds when the end effector is above 0.45 m (0.5 m is fully extended) and stays there to the end.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

SCALES = {"time": 20.0, "energy": 60.0, "torque": 20.0, "smoothness": 0.1, "velocity": 400.0}
"""What each cost is measured against, in its own unit."""
UPPER, LOWER = 0.2, 0.3
"""Lengths of the links [m]."""
LINE = 0.45
"""Height [m] above which the end effector is up."""


@dataclass(frozen=True)
class Score:
    """Of one attempt.

    Attributes:
        success: whether the end effector was up at the end.
        time: from the beginning until it was up for good [s]; the whole attempt where it was not.
        energy: sum over samples and joints of |change of position * torque| [J].
        torque: integral of u'u [N^2 m^2 s].
        smoothness: sum over joints of the standard deviation of the torque's change from sample to sample [N m].
        velocity: integral of dq'dq [rad^2/s].
    """

    success: bool
    time: float
    energy: float
    torque: float
    smoothness: float
    velocity: float

    @property
    def total(self) -> float:
        """S."""
        costs = asdict(self)
        terms = [np.tanh(np.pi * costs[name] / scale) for name, scale in SCALES.items()]
        return float(self.success) * float(1.0 - np.mean(terms))


def score(states: Array, torques: Array, period: float) -> Score:
    """The score of an attempt.

    Args:
        states: [N, 4] positions (0, 0 hangs down) and velocities of shoulder and elbow at the samples.
        torques: [N, 2] that acted from each sample on.
        period: between samples [s].
    """
    positions, velocities = states[:, :2], states[:, 2:]
    up = tip_height(positions) > LINE
    below = np.flatnonzero(~up)
    since = int(below[-1]) + 1 if len(below) else 0
    moved = np.diff(positions, axis=0)
    return Score(
        success=bool(up[-1]),
        time=since * period,
        energy=float(np.abs(moved * torques[:-1]).sum()),
        torque=float((torques**2).sum() * period),
        smoothness=float(np.diff(torques, axis=0).std(axis=0).sum()),
        velocity=float((velocities**2).sum() * period),
    )


def tip_height(positions: Array) -> Array:
    """Height [N] of the end effector above the shoulder [m] at ``positions`` [N, 2]."""
    shoulder, elbow = positions[:, 0], positions[:, 1]
    return np.asarray(-UPPER * np.cos(shoulder) - LOWER * np.cos(shoulder + elbow))
