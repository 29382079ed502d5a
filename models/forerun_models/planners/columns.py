"""What the rows of a rollout's input mean to the ensemble."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun_models.dynamics.features import FeatureMap
from forerun_models.dynamics.library import Library


class Products:
    """The inputs [products that a ``Library`` keeps, newest state, one], as numbers of columns; attributes as of ``Columns``."""

    def __init__(self, features: Library):
        self._features = features
        self.window = 0
        self.newest = features.size
        self.one = self.newest + features.state_size
        self.count = self.one + 1

    @torch.no_grad()
    def fold(self) -> tuple[Tensor, Tensor]:
        """Matrix [count, size] and constant [size] that make the ensemble's standardised inputs of the columns."""
        features = self._features
        return torch.eye(self.count, features.size) / features.input_std, -features.input_mean / features.input_std


class Columns:
    """The inputs [products, K - 1 rows of (state, action), newest state, action, one, squares, pairs], as numbers of columns.

    Products are those of each of (action, one, squares) with all waves, sines and then cosines; so the waves are among them.

    Attributes:
        window: where the oldest row begins.
        newest: where the newest state begins.
        one: the constant 1.
        count: of all.
    """

    def __init__(self, features: FeatureMap):
        self._features = features
        self._size, self._actions = features.state_size, features.actions
        self._waves, self._squares = 2 * features.angle_map.shape[1], features.speed_map.shape[1]
        self._row = self._size + self._actions
        self.window = (self._actions + 1 + self._squares) * self._waves
        self.newest = self.window + (features.history - 1) * self._row
        self._action = self.newest + self._size
        self.one = self._action + self._actions
        self._pairs = self.one + 1 + self._squares
        self.count = self._pairs + features.pairs

    @torch.no_grad()
    def fold(self) -> tuple[Tensor, Tensor]:
        """Matrix [count, size] and constant [size] that make the ensemble's standardised inputs of the columns."""
        features, size, waves = self._features, self._size, range(self._waves)
        columns = [self._actions * self._waves + wave for wave in waves]
        columns += [*range(self.one + 1, self._pairs)]
        columns += [self.newest + index for index in features.direct]
        first_old = len(columns)
        old = range(features.history - 1)
        columns += [self.window + row * self._row + index for row in old for index in range(size)]
        columns += [self.window + row * self._row + size + index for row in old for index in range(self._actions)]
        columns += [*range(self._action, self.one)]
        factors = [*range(self._actions + 1, self._actions + 1 + self._squares), *range(self._actions)]
        columns += [factor * self._waves + wave for wave in waves for factor in factors]
        columns += [*range(self._pairs, self.count)]
        fold = torch.zeros(self.count, features.size)
        fold[columns, torch.arange(features.size)] = 1.0
        # Older rows enter as differences to the newest one.
        for number in range((features.history - 1) * size):
            fold[self.newest + number % size, first_old + number] = -1.0
        return fold / features.input_std, -features.input_mean / features.input_std
