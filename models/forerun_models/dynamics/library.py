"""A library of what the motion of mechanisms is made of, of which a model sees a choice (as in SINDy, Brunton et al. 2016).

Its terms are products of two of: 1, the numbers of a state, the actions, and the sines and cosines of each number and of each sum
of two neighbouring ones (in a chain, the angle of the second link to the world). A choice leaves whole groups of terms out: a
number itself, or its sine and cosine, wherever they occur. What follows does not depend on everything that is shown: where a
target stands does not move an arm, and an angle that turns on matters as sine and cosine alone. What is left out cannot mislead
where it has never been seen.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import torch
from torch import Tensor, nn

from forerun_models.dynamics.features import FeatureMap


class Library(FeatureMap):
    """One row of history; all terms at first.

    Args:
        size: S, numbers of a state, each of which may be an angle.
        actions: A.

    Attributes:
        groups: names of the groups: ``2`` is the state's third number itself, ``wave 2`` its sine and cosine, ``wave 2+3`` those
            of its sum with the next.
        kept: numbers of the terms that are seen, in order.
        first, second: [size] factors of each of these, as places in the basis [1, numbers, actions, sines, cosines].
        derived: [S] bool, numbers whose change is a sum of others' ``landmarks``' changes: what is predicted of them is that.
        derivation: [landmarks, S] the weights of these sums; columns of zeros for all that is not derived.
        stops: [2, S] where each number ends, least and largest; infinite where it goes on.
    """

    def __init__(self, size: int, actions: int):
        sums = torch.eye(size)[:, :-1] + torch.eye(size)[:, 1:]
        angles = torch.cat([torch.eye(size), sums], dim=1)
        super().__init__(angles, torch.zeros(size, 0), [], range(size), actions, 1)
        self.groups = [str(number) for number in range(size)]
        self.groups += [f"wave {number}" for number in range(size)]
        self.groups += [f"wave {number}+{number + 1}" for number in range(size - 1)]
        numbers, given = range(1, 1 + size), range(1 + size, 1 + size + actions)
        waves = range(1 + size + actions, 1 + size + actions + 2 * angles.shape[1])
        self._factors = [(0, place) for place in (*numbers, *given, *waves)]
        self._factors += [(one, wave) for wave in waves for one in (*numbers, *given)]
        self._factors += [(one, other) for one in numbers for other in (*numbers[one - 1 :], *given)]
        # The group that each place of the basis belongs to; 1 and the actions belong to none.
        whose = [None, *range(size), *[None] * actions, *[size + wave % angles.shape[1] for wave in range(len(waves))]]
        self._needs = [{whose[place] for place in pair} - {None} for pair in self._factors]
        self.kept: Tensor = nn.Buffer(torch.arange(len(self._factors)))
        self.first: Tensor = nn.Buffer(torch.zeros(0, dtype=torch.long), persistent=False)
        self.second: Tensor = nn.Buffer(torch.zeros(0, dtype=torch.long), persistent=False)
        self.derived: Tensor = nn.Buffer(torch.zeros(size, dtype=torch.bool))
        self.derivation: Tensor = nn.Buffer(torch.zeros(size + 2 * angles.shape[1], size))
        self.stops: Tensor = nn.Buffer(torch.tensor([[-torch.inf], [torch.inf]]).repeat(1, size))
        self.choose(self.kept)

    @staticmethod
    def count(size: int, actions: int) -> int:
        """How many terms there are for so many numbers and actions."""
        waves, one = 2 * (2 * size - 1), size + actions
        return one + waves + waves * one + size * (size + 1) // 2 + size * actions

    def within(self, groups: Collection[int]) -> Tensor:
        """Numbers of the terms that need none but these groups."""
        allowed = set(groups)
        return torch.tensor([term for term, needs in enumerate(self._needs) if needs <= allowed])

    def choose(self, kept: Tensor) -> None:
        """Sees the terms ``kept`` from now on; the statistics must be taken anew."""
        self.kept = kept.clone()
        self.first, self.second = torch.tensor([self._factors[term] for term in kept.tolist()]).T.contiguous()
        self.size = len(kept)
        self.input_mean, self.input_std = torch.zeros(self.size), torch.ones(self.size)

    def landmarks(self, state: Tensor) -> Tensor:
        """[..., S + waves]: the numbers of ``state`` [..., S], the sines and the cosines."""
        angle = state @ self.angle_map.to(state.dtype)
        return torch.cat([state, torch.sin(angle), torch.cos(angle)], dim=-1)

    def without(self, numbers: Collection[int]) -> Tensor:
        """Places of the landmarks in which none of ``numbers`` is."""
        parts = torch.cat([torch.eye(self.state_size), self.angle_map, self.angle_map], dim=1)
        return torch.nonzero(parts[list(numbers)].abs().sum(dim=0) == 0)[:, 0]

    def derive(self, derivation: Tensor, derived: Tensor) -> None:
        """Predicts numbers as ``derived`` and ``derivation`` say from now on."""
        self.derivation, self.derived = derivation.clone(), derived.clone()

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """As of any features, and no further than the stops."""
        least, most = super().bounds
        return torch.maximum(least, self.stops[0]), torch.minimum(most, self.stops[1])

    def next_state(self, newest: Tensor, output: Tensor) -> Tensor:
        """As of any features; what is derived goes along with what it is derived from."""
        following = super().next_state(newest, output)
        moved = (self.landmarks(following) - self.landmarks(newest)) @ self.derivation
        return torch.where(self.derived, newest + moved, following)

    def raw(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        newest = states[-1]
        state, waves = self.landmarks(newest).tensor_split([self.state_size], dim=-1)
        basis = torch.cat([torch.ones_like(newest[..., :1]), state, actions[-1], waves], dim=-1)
        return basis[..., self.first] * basis[..., self.second]
