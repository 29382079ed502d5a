"""Small networks of E members side by side, as batched matrix products."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn


class Network(nn.Module):
    """A perceptron of ``sizes`` units a layer with silu between them, for each of ``members``."""

    def __init__(self, sizes: Sequence[int], members: int):
        super().__init__()
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(members, a, b)) for a, b in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for b in sizes[1:])

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator, last: float = 1.0) -> None:
        """Draws all weights from a normal distribution of standard deviation 1/sqrt(inputs), ``last`` times that in the last
        layer."""
        for number, weight in enumerate(self.weights):
            factor = last if number == len(self.weights) - 1 else 1.0
            nn.init.normal_(weight, std=factor / math.sqrt(weight.shape[1]), generator=generator)
        for bias in self.biases:
            nn.init.zeros_(bias)

    def forward(self, inputs: Tensor) -> Tensor:
        """[E, N, outputs] of [E, N, inputs]."""
        hidden = inputs
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = nn.functional.silu(torch.baddbmm(bias, hidden, weight))
        return torch.baddbmm(self.biases[-1], hidden, self.weights[-1])


class Recurrent(nn.Module):
    """A gated recurrent unit (Cho et al. 2014) of ``size`` for each of ``members``; it is born inclined to remember."""

    def __init__(self, inputs: int, size: int, members: int):
        super().__init__()
        self.size = size
        self.seen = nn.Parameter(torch.empty(members, inputs, 3 * size))
        self.remembered = nn.Parameter(torch.empty(members, size, 3 * size))
        self.bias = nn.Parameter(torch.zeros(members, 1, 3 * size))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draws all weights anew."""
        for weight in (self.seen, self.remembered):
            nn.init.normal_(weight, std=1 / math.sqrt(weight.shape[1]), generator=generator)
        nn.init.zeros_(self.bias)
        self.bias[..., self.size : 2 * self.size] = 1.0

    def forward(self, inputs: Tensor, hidden: Tensor) -> Tensor:
        """What is remembered [E, N, size] after ``inputs`` [E, N, inputs]."""
        new = torch.baddbmm(self.bias, inputs, self.seen).chunk(3, dim=-1)
        old = torch.bmm(hidden, self.remembered).chunk(3, dim=-1)
        reset, keep = torch.sigmoid(new[0] + old[0]), torch.sigmoid(new[1] + old[1])
        candidate = torch.tanh(new[2] + reset * old[2])
        return candidate + keep * (hidden - candidate)
