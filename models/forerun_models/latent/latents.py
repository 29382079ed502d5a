"""The random part of a latent state: groups of categorical variables, or Gaussian ones. Pure functions of their noise."""

from __future__ import annotations

import math
from typing import Protocol

import torch
from torch import Tensor


class Latent(Protocol):
    """A family of distributions over z [..., size].

    ``outputs`` numbers of a network become ``statistics`` [..., outputs], from which the rest follows.
    """

    size: int
    outputs: int

    def statistics(self, raw: Tensor) -> Tensor:
        """Network output [..., outputs] -> statistics [..., outputs]."""
        ...

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        """What ``sample`` needs for ``shape`` draws: [*shape, size]."""
        ...

    def sample(self, statistics: Tensor, noise: Tensor) -> Tensor:
        """A draw [..., size], with gradients to the statistics."""
        ...

    def mode(self, statistics: Tensor) -> Tensor:
        """The likeliest z [..., size]."""
        ...

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        """KL(p || q) [...] in nats, of two statistics."""
        ...


class CategoricalLatent:
    """``groups`` one-hot variables of ``classes`` each (Hafner et al. 2021). Statistics: log-probabilities.

    The fraction ``unimix`` of every distribution is uniform, so that no class dies and no KL explodes. Gradients pass straight
    through draws to the probabilities.
    """

    def __init__(self, groups: int, classes: int, unimix: float = 0.01):
        self.groups, self.classes, self.unimix = groups, classes, unimix
        self.size = self.outputs = groups * classes

    def statistics(self, raw: Tensor) -> Tensor:
        probabilities = torch.softmax(self._grouped(raw), dim=-1)
        return torch.log(torch.add(self.unimix / self.classes, probabilities, alpha=1.0 - self.unimix)).flatten(-2)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.empty(*shape, self.size, device=generator.device).exponential_(generator=generator).log_().neg_()

    def sample(self, statistics: Tensor, noise: Tensor) -> Tensor:
        drawn = self.mode(statistics.detach() + noise)  # the Gumbel-max trick
        probabilities = torch.exp(statistics)
        return drawn + probabilities - probabilities.detach()

    def mode(self, statistics: Tensor) -> Tensor:
        index = self._grouped(statistics).argmax(dim=-1, keepdim=True)
        choices = torch.arange(self.classes, device=statistics.device)
        return (index == choices).to(statistics.dtype).flatten(-2)

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        return (torch.exp(p) * (p - q)).sum(-1)

    def _grouped(self, flat: Tensor) -> Tensor:
        return flat.view(*flat.shape[:-1], self.groups, self.classes)


class GaussianLatent:
    """``size`` independent Gaussians. Statistics: means, then standard deviations, which are at least ``min_std``."""

    def __init__(self, size: int, min_std: float = 0.1):
        self.size, self.outputs, self.min_std = size, 2 * size, min_std

    def statistics(self, raw: Tensor) -> Tensor:
        mean, spread = raw.chunk(2, dim=-1)
        return torch.cat([mean, torch.nn.functional.softplus(spread) + self.min_std], dim=-1)

    def noise(self, shape: tuple[int, ...], generator: torch.Generator) -> Tensor:
        return torch.randn(*shape, self.size, generator=generator, device=generator.device)

    def sample(self, statistics: Tensor, noise: Tensor) -> Tensor:
        mean, std = statistics.chunk(2, dim=-1)
        return mean + std * noise

    def mode(self, statistics: Tensor) -> Tensor:
        return statistics[..., : self.size]

    def kl(self, p: Tensor, q: Tensor) -> Tensor:
        (mean, std), (other, width) = p.chunk(2, dim=-1), q.chunk(2, dim=-1)
        return (torch.log(width / std) + (std**2 + (mean - other) ** 2) / (2 * width**2) - 0.5).sum(-1)


def gaussian_log_prob(x: Tensor, mean: Tensor, std: float) -> Tensor:
    """Log-density [...] of x [..., D] under independent Gaussians of one ``std``."""
    error = (x - mean) / std
    return -(0.5 * error**2 + math.log(std) + 0.5 * math.log(2 * math.pi)).sum(-1)
