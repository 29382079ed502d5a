"""The commands given last as a part of what is observed: where they act late, an observation alone does not say what follows.

Delay, lag and slew limits let the next state depend on commands of earlier steps. A model that sees observations alone takes the
newest command for the cause of what earlier ones did, which is right as long as commands go on as they did in its data. A
controller changes that: the better it holds a robot still, the less its commands resemble those before, and the model that is
fitted to them turns wrong where it was right.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from forerun_models.agents.base import Action, Observation


class Commands:
    """Puts the last ``count`` commands, newest first, behind observations.

    Args:
        observations: O.
        actions: A.
        count: 0 leaves observations as they are.

    Attributes:
        size: O + count x A.
    """

    def __init__(self, observations: int, actions: int, count: int) -> None:
        self.count, self.observations = count, observations
        self.size = observations + count * actions
        self._actions = actions

    def first(self, observation: Observation) -> NDArray[np.float32]:
        """[size] at the beginning of an episode: nothing was ordered yet."""
        return np.concatenate([observation, np.zeros(self.size - self.observations, np.float32)])

    def then(self, before: NDArray[np.float32], action: Action, observation: Observation) -> NDArray[np.float32]:
        """[size] when ``action`` [A] in ``before`` [size] led to ``observation`` [O]."""
        given = np.concatenate([np.clip(np.asarray(action, np.float32), -1.0, 1.0), before[self.observations :]])
        return np.concatenate([observation, given[: self.count * self._actions]])
