"""Which of a library's groups the observations' change depends on, found from whole episodes held out.

For each number of the observation, ridge regression on the terms of a set of groups is fitted to four fifths of the episodes and
judged by the others: what never changes within an episode, or goes along with it by chance, helps on the episodes that taught it
and fails on others. Sets are searched by adding and leaving out one group at a time (Pudil et al. 1994), from everything, from
nothing and from what served the other numbers. A group must earn its place: errors (as logarithms of mean squares) fall by
``_WORTH``. A network that learns them all sees the union.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable

import torch
from torch import Tensor

from forerun_models.dynamics.library import Library

_FOLDS = 5
_WORTH = 0.1
_RIDGE = 1e-4
_JUDGED = 2000
"""Transitions by which sets are judged, at most."""
_LEAST = 1e-9
"""A mean square below which nothing more is to be gained."""

Groups = frozenset[int]


def choose(library: Library, columns: Iterable[Tensor], episode: Tensor, stretch: int, bound: float | None) -> Tensor:
    """Numbers of the terms that are worth seeing, as ``Library.choose`` takes them. What is derived needs none.

    Args:
        library: its choice as it is does not matter; what is derived in it does.
        columns: observation [N, O], action [N, A] and following observation [N, O] of transitions.
        episode: [N] the number of each one's episode; of a single one, stretches are held out.
        stretch: steps of these.
        bound: standard deviations of a step's change beyond which errors count linearly; all as squares if None.
    """
    observation, action, following = (column.double() for column in columns)
    search = _Search(library, observation, action, following, folds(episode, stretch), bound)
    return library.within(frozenset().union(*search.run()))


def counted(error: Tensor, bound: float | None) -> Tensor:
    """What an ``error`` counts: its square, and less beyond ``bound`` (pseudo-Huber), if there is one."""
    return error**2 if bound is None else 2 * bound**2 * (torch.sqrt(1 + (error / bound) ** 2) - 1)


def folds(episode: Tensor, stretch: int) -> list[Tensor]:
    """Rows of each part: whole episodes in turn."""
    numbers, place = torch.unique(episode, return_inverse=True)
    part = place if len(numbers) > 1 else torch.arange(len(episode)) // stretch
    return [torch.nonzero(part % _FOLDS == fold)[:, 0] for fold in range(min(_FOLDS, int(part.max()) + 1))]


class _Search:
    """Scores of sets of groups [O], each computed once. Judged are ``folds``, each by what is learned from the others."""

    def __init__(
        self, library: Library, observation: Tensor, action: Tensor, following: Tensor, folds: list[Tensor], bound: float | None
    ):
        everything = range(len(library.groups))
        self.library, self.bound = library, bound
        self.all: Groups = frozenset(everything)
        now = library.kept
        library.choose(library.within(everything))
        inputs = _standard(library.raw([observation], [action]))
        library.choose(now)
        self.constant = inputs.shape[1]
        inputs = torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
        wanted = _standard(following - observation)
        self.outputs = [number for number in range(wanted.shape[1]) if not library.derived[number]]
        counts = torch.tensor([len(rows) for rows in folds])[:, None, None]
        within = torch.stack([inputs[rows].T @ inputs[rows] for rows in folds])
        against = torch.stack([inputs[rows].T @ wanted[rows] for rows in folds])
        self.gram = (within.sum(dim=0) - within) / (counts.sum() - counts).clamp_min(1)
        self.moment = (against.sum(dim=0) - against) / (counts.sum() - counts).clamp_min(1)
        stride = -(-len(inputs) // _JUDGED)
        self.judged = [(inputs[rows[::stride]], wanted[rows[::stride]]) for rows in folds]
        self._scores: dict[Groups, list[float]] = {}

    def run(self) -> list[Groups]:
        """The best set found for each number that is not derived."""
        found = []
        for output in self.outputs:
            found.append(self._best([self._descend(output, self.all, False), self._descend(output, frozenset(), True)], output))
        return [self._best([self._descend(output, start, False) for start in found], output) for output in self.outputs]

    def _best(self, sets: Collection[Groups], output: int) -> Groups:
        return min(sets, key=lambda groups: self._cost(groups, output))

    def _descend(self, output: int, groups: Groups, add: bool) -> Groups:
        """From ``groups`` on, adding or leaving out by turns the one that helps most, until neither helps."""
        failed = 0
        while failed < 2:
            changed = [groups | {one} for one in self.all - groups] if add else [groups - {one} for one in groups]
            best = self._best(changed, output) if changed else groups
            if self._cost(best, output) < self._cost(groups, output):
                groups, failed = best, 0
            else:
                add, failed = not add, failed + 1
        return groups

    def _cost(self, groups: Groups, output: int) -> float:
        if groups not in self._scores:
            self._scores[groups] = self._score(groups)
        return self._scores[groups][output] + _WORTH * len(groups)

    def _score(self, groups: Groups) -> list[float]:
        """Logarithm of the mean square of what is predicted wrongly, for each output."""
        columns = torch.cat([self.library.within(groups), torch.tensor([self.constant])])
        gram = self.gram[:, columns[:, None], columns] + _RIDGE * torch.eye(len(columns), dtype=self.gram.dtype)
        weights = torch.linalg.solve(gram, self.moment[:, columns])
        parts = zip(self.judged, weights, strict=True)
        error = torch.cat([inputs[:, columns] @ weight - wanted for (inputs, wanted), weight in parts])
        return [math.log(max(float(square), _LEAST)) for square in counted(error, self.bound).mean(dim=0)]


def _standard(values: Tensor) -> Tensor:
    return (values - values.mean(dim=0)) / values.std(dim=0).clamp_min(1e-6)
