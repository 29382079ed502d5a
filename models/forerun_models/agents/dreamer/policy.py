"""Dreamer's policies on latent states: distributions over actions, as pure functions of their noise."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from forerun_models.latent.blocks import initialise, network
from forerun_models.latent.latents import CategoricalLatent

_LEAST_STD, _MOST_STD = 0.1, 1.0
_UNIMIX = 0.01


class Numbers:
    """Actions [A]: Gaussians with a mean within [-1, 1] and a limited spread, cut to [-1, 1]; gradients pass the cut.

    Statistics: means, then standard deviations.
    """

    def __init__(self, actions: int):
        self.size, self.outputs = actions, 2 * actions

    def statistics(self, raw: Tensor) -> Tensor:
        """Network output [..., 2 A] -> statistics [..., 2 A]."""
        mean, spread = raw.chunk(2, dim=-1)
        std = _LEAST_STD + (_MOST_STD - _LEAST_STD) * torch.sigmoid(spread + 2.0)
        return torch.cat([torch.tanh(mean), std], dim=-1)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """What ``sample`` needs for ``shape`` draws: [*shape, A]."""
        return torch.randn(*shape, self.size, generator=generator, device=generator.device)

    def sample(self, statistics: Tensor, noise: Tensor) -> Tensor:
        """Actions [..., A], with gradients to the statistics."""
        mean, std = statistics.chunk(2, dim=-1)
        drawn = mean + std * noise
        return drawn + (drawn.clamp(-1.0, 1.0) - drawn).detach()

    def mode(self, statistics: Tensor) -> Tensor:
        """The likeliest actions [..., A]."""
        return statistics[..., : self.size]

    def entropy(self, statistics: Tensor) -> Tensor:
        """Entropy [...] before the cut, in nats."""
        std = statistics[..., self.size :]
        return (torch.log(std) + 0.5 * math.log(2 * math.pi * math.e)).sum(-1)


class Choices(CategoricalLatent):
    """One of some choices, as a one-hot action [choices]; each keeps a little probability. Statistics: log-probabilities."""

    def __init__(self, choices: int):
        super().__init__(1, choices, _UNIMIX)

    def entropy(self, statistics: Tensor) -> Tensor:
        """Entropy [...] in nats."""
        return -(torch.exp(statistics) * statistics).sum(-1)

    def log_prob(self, statistics: Tensor, action: Tensor) -> Tensor:
        """Log-probability [...] of one-hot actions [..., choices]."""
        return (statistics * action).sum(-1)


class Policy(nn.Module):
    """Statistics of the action in a latent state.

    Args:
        features: size of a latent state.
        hidden, layers: of its network.
        law: the family of actions.
        generator: draws the weights; the last layer is silent, so that the first actions are not biased.
    """

    def __init__(self, features: int, hidden: int, layers: int, law: Numbers | Choices, generator: torch.Generator):
        super().__init__()
        self.law = law
        self.net = network(features, hidden, layers, law.outputs)
        last = self.net[-1]
        assert isinstance(last, nn.Linear)
        initialise(self, generator, silent=[last])

    def forward(self, features: Tensor) -> Tensor:
        """Features [..., F] -> statistics [..., law.outputs]."""
        return self.law.statistics(self.net(features))
