"""What every world model of states can do, whatever it is made of: start from a history, then follow actions.

E members predict side by side. What a model remembers between two steps (its window, or what it believes the state to be) is its
memory, private to it, and each member has its own.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Self

import torch
from torch import Tensor, nn

from forerun_models.dynamics.features import FeatureMap

Memory = tuple[Tensor, ...]
"""Of a model after a history: tensors [E, N, ...]."""


class WorldModel(nn.Module, ABC):
    """E members over a history of K rows.

    Args:
        features: what the members see of a history, and the statistics of the training data.
        members: E.

    Attributes:
        elites: numbers of the members that predict, best first.
        memory_sizes: last dimension of each tensor of a memory that changes from step to step, where a memory holds what no
            window of rows does; else empty.
        shared: how many of these tensors, the first ones, mean the same to all members.
    """

    memory_sizes: tuple[int, ...] = ()
    shared: int = 0

    def __init__(self, features: FeatureMap, members: int):
        super().__init__()
        self.features, self.members, self.state_size = features, members, features.state_size
        self.elites: Tensor = nn.Buffer(torch.arange(members))

    @abstractmethod
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draws every member's weights anew."""

    @abstractmethod
    def fit_statistics(self, states: Tensor, actions: Tensor) -> None:
        """Takes from windows, states [N, K+1, S] and actions [N, K, A], what needs no gradient."""

    def judge_by(self, states: Tensor) -> None:
        """Measures errors by the spread of other ``states`` [N, K+1, S] from now on; predictions stay what they are."""
        self.features.judge_by(states)

    @abstractmethod
    def begin(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> Memory:
        """The memory after a history.

        Args:
            states: K tensors [E, N, S], oldest first, SI.
            actions: K-1 tensors [E, N, A], the commands between them.
        """

    @abstractmethod
    def advance(self, memory: Memory, action: Tensor, kick: Tensor | None = None) -> tuple[Tensor, Tensor, Memory]:
        """One step on.

        Args:
            memory: of ``begin`` or of the last step.
            action: [E, N, A], acts from now on for one step.
            kick: [E, N, S] standard normal: the model's own noise is added to what follows; without it the means go on.

        Returns:
            Mean and log-variance [E, N, S] of the next state, SI, and the memory after it.
        """

    @abstractmethod
    def scale_variance(self, log_ratio: Tensor) -> None:
        """Adds ``log_ratio`` [E, 1, S] to all log-variances."""

    def varied(self, states: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        """Commands to learn from instead of ``actions`` [..., T, A], which led through ``states`` [..., T+1, S]: the same ones,
        where a model knows no others that would have done it."""
        return actions

    @abstractmethod
    def placed(self, memory: Memory, state: Tensor, command: Tensor) -> Memory:
        """The memory of having come steadily to ``state`` [N, S] under ``command`` [N, A]; what ``memory`` [E, 1, ...] has
        inferred of this run stays.

        Raises:
            InputError: what follows depends on more than state and command.
        """

    @abstractmethod
    def believed(self, memory: Memory) -> Tensor:
        """The newest state [E, N, S] that each member holds to be true after ``memory``, as ``placed`` takes it; what is
        predicted is what the sensors say of it."""

    def resumed(self, parts: Memory) -> Memory:
        """The memory of which ``parts`` are the tensors that ``memory_sizes`` tells of."""
        return parts

    @torch.no_grad()
    def chosen(self, members: Tensor) -> Self:
        """A model of these ``members`` alone, all of them elites, in this order. Every parameter's first dimension is E."""
        found = copy.deepcopy(self)
        for parameter in found.parameters():
            parameter.data = parameter.data[members].clone()
        found.members, found.elites = len(members), torch.arange(len(members))
        return found

    def decaying(self) -> list[nn.Parameter]:
        """The parameters that weight decay may pull to 0."""
        return list(self.parameters())

    def step(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean and log-variance [E, N, S] of the state that follows K ``states`` [E, N, S] and ``actions`` [E, N, A], SI; the
        last action is the one to be applied now."""
        mean, log_variance, _ = self.advance(self.begin(states, actions[:-1]), actions[-1])
        return mean, log_variance

    def rollout(self, states: Sequence[Tensor], actions: Sequence[Tensor], future: Sequence[Tensor]) -> list[Tensor]:
        """Mean states that each member expects, open loop and member by member.

        Args:
            states: K tensors [E, N, S], oldest first.
            actions: K-1 tensors [E, N, A] between them.
            future: H tensors [E, N, A] to come.

        Returns:
            H tensors [E, N, S].
        """
        memory, predicted = self.begin(states, actions), []
        for action in future:
            mean, _, memory = self.advance(memory, action)
            predicted.append(mean)
        return predicted


_SOFT_BOUNDS = (-12.0, 2.0)


def soft_bound(log_variance: Tensor) -> Tensor:
    """The logarithm of the variance of standardised differences, led smoothly into the range that they have."""
    lower, upper = _SOFT_BOUNDS
    bounded = upper - nn.functional.softplus(upper - log_variance)
    return lower + nn.functional.softplus(bounded - lower)
