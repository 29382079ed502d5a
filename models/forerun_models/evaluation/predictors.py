"""What a learned model must beat: nothing moves, and everything is linear."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_sim.trial import Trial

Array = NDArray[np.float32]
Predictor = Callable[[Array, Array, Array], Array]
"""(past_states [N, K, S], past_actions [N, K-1, A], actions [N, H, A]) -> states [N, H, S]; a bundle's ``rollout`` is one."""


def persistence(past_states: Array, past_actions: Array, actions: Array) -> Array:
    """The state stays as it is."""
    return np.repeat(past_states[:, -1:], actions.shape[1], axis=1)


class Linear:
    """Least squares of the next state on (state, action, previous action, 1), applied step by step."""

    def __init__(self, trials: Sequence[Trial]):
        rows = [
            np.concatenate([t.states[1:-1], t.actions[1:-1], t.actions[:-2], np.ones((len(t) - 2, 1))], axis=1) for t in trials
        ]
        targets = np.concatenate([t.states[2:] for t in trials]).astype(np.float64)
        self._weights = np.linalg.lstsq(np.concatenate(rows).astype(np.float64), targets, rcond=None)[0]

    def __call__(self, past_states: Array, past_actions: Array, actions: Array) -> Array:
        """Predicted states [N, H, S]."""
        state = past_states[:, -1].astype(np.float64)
        previous = past_actions[:, -1] if past_actions.shape[1] else actions[:, 0]
        predicted = []
        for step in range(actions.shape[1]):
            action = actions[:, step]
            state = np.concatenate([state, action, previous, np.ones((len(state), 1))], axis=1) @ self._weights
            previous = action
            predicted.append(state)
        return np.stack(predicted, axis=1).astype(np.float32)
