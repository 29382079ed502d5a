"""What an environment says beside its observations, learned by networks of equal shape: a reward, or whether an episode ends."""

from __future__ import annotations

import itertools
import math

import torch
from torch import Tensor, nn

from forerun_models.dynamics.model import soft_bound

_MIN_SPREAD = 1e-6


class Heads(nn.Module):
    """E networks from rows of numbers to a few, all members in one batched matrix product.

    Args:
        size: numbers of a row, I.
        outputs: O.
        members: E.
        hidden: units of a hidden layer.
        layers: hidden layers.
    """

    def __init__(self, size: int, outputs: int, members: int, hidden: int, layers: int):
        super().__init__()
        sizes = [size, *[hidden] * layers, outputs]
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(members, a, b)) for a, b in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for b in sizes[1:])
        self.input_mean: Tensor = nn.Buffer(torch.zeros(size))
        self.input_std: Tensor = nn.Buffer(torch.ones(size))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draws every member's weights anew, the last layer small."""
        for number, weight in enumerate(self.weights):
            std = (0.1 if number == len(self.weights) - 1 else 1.0) / math.sqrt(weight.shape[1])
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
        for bias in self.biases:
            nn.init.zeros_(bias)

    @torch.no_grad()
    def fit_statistics(self, rows: Tensor) -> None:
        """Takes the standardisation from ``rows`` [N, I]."""
        mean, std = statistics(rows)
        self.input_mean.copy_(mean)
        self.input_std.copy_(std)

    def forward(self, rows: Tensor, members: Tensor | None = None) -> Tensor:
        """[M, N, O] of ``rows`` [M, N, I] by the ``members`` [M]; by all if absent."""
        hidden = (rows - self.input_mean) / self.input_std
        last = len(self.weights) - 1
        for number, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            chosen = (weight, bias) if members is None else (weight[members], bias[members])
            hidden = torch.baddbmm(chosen[1], hidden, chosen[0])
            hidden = hidden if number == last else nn.functional.silu(hidden)
        return hidden


class RewardHeads(Heads):
    """Rewards of (observation, action, following observation), as each member's normal distribution.

    Args:
        observations: numbers of an observation.
        actions: numbers of an action.
        members, hidden, layers: as ``Heads`` takes them.
    """

    def __init__(self, observations: int, actions: int, members: int, hidden: int, layers: int):
        super().__init__(2 * observations + actions, 2, members, hidden, layers)
        self.target_mean: Tensor = nn.Buffer(torch.zeros(1))
        self.target_std: Tensor = nn.Buffer(torch.ones(1))

    @torch.no_grad()
    def fit_rewards(self, rewards: Tensor) -> None:
        """Takes the standardisation of rewards [N]."""
        mean, std = statistics(rewards[:, None])
        self.target_mean.copy_(mean)
        self.target_std.copy_(std)

    def mean(self, rows: Tensor, members: Tensor) -> Tensor:
        """Expected rewards [M, N] of ``rows`` [M, N, I] by the ``members`` [M]."""
        expected: Tensor = self(rows, members)[..., 0] * self.target_std + self.target_mean
        return expected

    def normal(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Standardised mean and log-variance [E, N] of the rewards of ``rows`` [E, N, I]."""
        output = self(rows)
        return output[..., 0], soft_bound(output[..., 1])


def statistics(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation [I] of ``rows`` [N, I]; 1 for what never moved."""
    std = rows.std(dim=0) if len(rows) > 1 else torch.zeros_like(rows[0])
    return rows.mean(dim=0), torch.where(std > _MIN_SPREAD, std, torch.ones_like(std))
