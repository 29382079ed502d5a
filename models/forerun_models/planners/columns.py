"""What the rows of a rollout's input mean to the ensemble."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun_models.dynamics.features import FeatureMap


class Columns:
    """The inputs [sin, cos, squares, K - 1 rows of (state, action), newest state, action, one, products, pairs], as
    numbers of columns.

    Attributes:
        window: where the oldest row begins.
        newest: where the newest state begins.
        one: the constant 1.
        count: of all.
    """

    def __init__(self, features: FeatureMap):
        self._features = features
        self._size = features.state_size
        self._angles, self._speeds = features.angle_map.shape[1], features.speed_map.shape[1]
        self._row = self._size + features.actions
        # Squares exist where waves do, and only there (see ``Features``).
        self.window = 2 * self._angles + self._speeds
        self.newest = self.window + (features.history - 1) * self._row
        self._action = self.newest + self._size
        self.one = self._action + features.actions
        self.count = self.one + 1 + features.products + features.pairs

    @torch.no_grad()
    def fold(self) -> tuple[Tensor, Tensor]:
        """Matrix [count, size] and constant [size] that make the ensemble's standardised inputs of the columns."""
        features, size = self._features, self._size
        columns = [*range(self.window)]
        columns += [self.newest + index for index in features.direct]
        first_old = len(columns)
        old = range(features.history - 1)
        columns += [self.window + row * self._row + index for row in old for index in range(size)]
        columns += [self.window + row * self._row + size + index for row in old for index in range(features.actions)]
        columns += [*range(self._action, self.one), *range(self.one + 1, self.count)]
        fold = torch.zeros(self.count, features.size)
        fold[columns, torch.arange(features.size)] = 1.0
        # Older rows enter as differences to the newest one.
        for number in range((features.history - 1) * size):
            fold[self.newest + number % size, first_old + number] = -1.0
        return fold / features.input_std, -features.input_mean / features.input_std
