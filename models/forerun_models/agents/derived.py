"""Which numbers of an observation follow from the others exactly, up to what an episode keeps, and how.

Where a hand is, or how far from its target, is a sum of sines and cosines of the joints' angles: its change over a step is that
sum's change, whatever moved the joints. One episode tells as much to many digits, and it goes on to hold where nothing was ever
seen: pressed against a stop, too, where joints and hand are blocked together.
"""

from __future__ import annotations

import torch
from torch import Tensor

from forerun_models.dynamics.library import Library

_EXACT = 1e-3
"""Root mean square of what is left over, in units of the number's changes, on what was held out."""
_RIDGE = 1e-6


def derive(library: Library, observation: Tensor, following: Tensor, folds: list[Tensor]) -> tuple[Tensor, Tensor]:
    """How numbers follow from others, ``derivation`` and ``derived`` as ``Library.derive`` takes them.

    Args:
        library: whose numbers and waves are looked at.
        observation, following: [N, O] of transitions.
        folds: rows of the parts that are held out by turns, two at least.
    """
    search = _Derivation(library, observation.double(), following.double(), folds)
    found: list[int] = []
    for number in range(library.state_size):
        if all(search.exact(one, [*found, number]) for one in [*found, number]):
            found.append(number)
    derived = torch.zeros(library.state_size, dtype=torch.bool)
    derived[found] = True
    return search.weights(found), derived


class _Derivation:
    def __init__(self, library: Library, observation: Tensor, following: Tensor, folds: list[Tensor]):
        self.library, self.folds = library, folds
        changes = library.landmarks(following) - library.landmarks(observation)
        self.scale = changes.std(dim=0).clamp_min(1e-9)
        self.changes, self.wanted = changes / self.scale, following - observation

    def exact(self, number: int, derived: list[int]) -> bool:
        """Whether ``number`` follows from those numbers that are not ``derived``."""
        every = torch.arange(len(self.wanted))
        left = 0.0
        for rows in self.folds:
            learned = every[~torch.isin(every, rows)]
            columns, weights = self._solve(number, derived, learned)
            left += float((self.changes[rows][:, columns] @ weights - self.wanted[rows, number]).square().sum())
        return left <= _EXACT**2 * float(self.wanted[:, number].square().sum())

    def weights(self, derived: list[int]) -> Tensor:
        """[landmarks, O] by all that was seen."""
        found = torch.zeros(len(self.scale), self.library.state_size)
        for number in derived:
            columns, weights = self._solve(number, derived, torch.arange(len(self.wanted)))
            found[columns, number] = (weights / self.scale[columns]).float()
        return found

    def _solve(self, number: int, derived: list[int], rows: Tensor) -> tuple[Tensor, Tensor]:
        """Places of the landmarks that need none of ``derived``, and their weights by ridge regression."""
        columns = self.library.without(derived)
        inputs = self.changes[rows][:, columns]
        gram = inputs.T @ inputs / len(rows) + _RIDGE * torch.eye(len(columns), dtype=inputs.dtype)
        return columns, torch.linalg.solve(gram, inputs.T @ self.wanted[rows, number] / len(rows))
