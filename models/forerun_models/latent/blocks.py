"""What the networks of a latent model are made of: normalised layers, symmetric logarithms, and their initial weights."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

_EPSILON = 1e-3


def symlog(x: Tensor) -> Tensor:
    """sign(x) log(1 + |x|): the identity near zero, a logarithm far from it (Hafner et al. 2023)."""
    return torch.sign(x) * torch.log1p(torch.abs(x))


def symexp(x: Tensor) -> Tensor:
    """The inverse of ``symlog``."""
    return torch.sign(x) * torch.expm1(torch.abs(x))


class Normed(nn.Module):
    """Linear, layer norm, SiLU."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        self.norm = nn.LayerNorm(outputs, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """[..., inputs] -> [..., outputs]."""
        return self.finish(self.linear(x))

    def finish(self, product: Tensor) -> Tensor:
        """What comes after the linear layer."""
        return nn.functional.silu(self.norm(product))


def network(inputs: int, hidden: int, layers: int, outputs: int) -> nn.Sequential:
    """``layers`` normalised layers of ``hidden`` units and a linear one to ``outputs``."""
    sizes = [inputs, *[hidden] * layers]
    return nn.Sequential(*(Normed(a, b) for a, b in itertools.pairwise(sizes)), nn.Linear(sizes[-1], outputs))


class Norm2d(nn.Module):
    """Layer norm over the channels of an image [N, C, H, W], pixel by pixel."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.LayerNorm(channels, eps=_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """[N, C, H, W] -> [N, C, H, W]."""
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)  # type: ignore[no-any-return]


class GRUCell(nn.Module):
    """The gated recurrent unit of Dreamer: one normalised matrix product for all gates, and a bias towards remembering.

    ``h' = u tanh(r c) + (1 - u) h`` with (r, c, u) from (x, h), r and u through sigmoids.
    """

    def __init__(self, inputs: int, size: int):
        super().__init__()
        self.gates = nn.Linear(inputs + size, 3 * size, bias=False)
        self.norm = nn.LayerNorm(3 * size, eps=_EPSILON)

    def forward(self, x: Tensor, h: Tensor) -> Tensor:
        """x [N, inputs], h [N, size] -> h' [N, size]."""
        reset, candidate, update = self.norm(self.gates(torch.cat([x, h], dim=-1))).chunk(3, dim=-1)
        update = torch.sigmoid(update - 1.0)
        return torch.lerp(h, torch.tanh(torch.sigmoid(reset) * candidate), update)


@torch.no_grad()
def initialise(module: nn.Module, generator: torch.Generator, silent: Sequence[nn.Linear] = ()) -> None:
    """Draws all weights anew: truncated normal of variance 1 / mean of inputs and outputs, biases zero, norms neutral.

    ``silent`` layers, the outputs of heads that must say nothing before they have learned, become zero.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(part.weight)
            std = math.sqrt(2.0 / (fan_in + fan_out)) / 0.879  # what truncation at two deviations takes away
            nn.init.trunc_normal_(part.weight, std=std, a=-2 * std, b=2 * std, generator=generator)
            if part.bias is not None:
                nn.init.zeros_(part.bias)
        elif isinstance(part, nn.LayerNorm):
            nn.init.ones_(part.weight)
            nn.init.zeros_(part.bias)
    for layer in silent:
        nn.init.zeros_(layer.weight)
