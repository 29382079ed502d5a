"""Linear-quadratic feedback along a trajectory and at its end: the regulators that tracking rests on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError

Array = NDArray[np.float64]

_ROUNDS = 200


class NoTrajectory(InputError):
    """Nothing leads to the target, or holds there, in this model; in another there may be something."""


def step_back(following: Array, by_start: Array, by_change: Array, change: Array) -> tuple[Array, Array]:
    """One step of Riccati's recursion.

    Args:
        following: [..., n, n] what deviations of the state reached cost from there on.
        by_start: [..., n, n] the motion by the state.
        by_change: [..., n, F] by the change.
        change: [..., F, F] what changes cost.

    Returns:
        What deviations before the step cost [..., n, n], and the gains [..., F, n]: change = gain @ deviation.
    """
    turned = by_change.swapaxes(-1, -2) @ following
    gain = np.asarray(-np.linalg.solve(change + turned @ by_change, turned @ by_start))
    before = by_start.swapaxes(-1, -2) @ following @ (by_start + by_change @ gain)
    return np.asarray(0.5 * (before + before.swapaxes(-1, -2))), gain


def holding(by_start: Array, by_change: Array, state: Array, change: Array) -> Array:
    """What deviations from a state of rest cost for ever [..., n, n], under the best feedback: by doubling (Anderson 1978), so
    that each round looks twice as far ahead.

    Args:
        by_start, by_change: [n, n] and [n, F] the motion around the state of rest.
        state: [..., n, n] what deviations cost a step.
        change: [..., F, F] what changes cost.

    Raises:
        NoTrajectory: no feedback holds that state.
    """
    dynamics = np.broadcast_to(by_start, state.shape)
    spread = by_change @ np.linalg.solve(change, np.broadcast_to(by_change.T, (*change.shape[:-2], *by_change.T.shape)))
    cost, identity = state, np.eye(by_start.shape[0])
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(_ROUNDS):
            inverse = np.linalg.solve(identity + spread @ cost, identity)
            ahead = dynamics @ inverse
            added = dynamics.swapaxes(-1, -2) @ cost @ inverse @ dynamics
            spread = spread + ahead @ spread @ dynamics.swapaxes(-1, -2)
            dynamics, cost = ahead @ dynamics, cost + 0.5 * (added + added.swapaxes(-1, -2))
            if not np.isfinite(cost).all():
                break
            if np.abs(added).max() <= 1e-12 * np.abs(cost).max():
                return np.asarray(cost)
    raise NoTrajectory("planner.trajectory: no feedback holds the robot at the target; is it a position in which it can stand?")
