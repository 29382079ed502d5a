"""Observations to embeddings and back: vectors through symlog, pictures through small convolutional networks."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor, nn

from forerun_models.latent.blocks import Norm2d, Normed, network, symexp, symlog
from forerun_models.latent.latents import gaussian_log_prob
from forerun_sim.errors import InputError

_SMALLEST = 4
"""Side of the picture where convolutions end."""


class VectorEncoder(nn.Module):
    """Vectors [..., O] -> embeddings [..., size]."""

    def __init__(self, observation: int, hidden: int, layers: int, squash: bool):
        super().__init__()
        self.size, self.squash = hidden, squash
        self.net = nn.Sequential(*(Normed(hidden if layer else observation, hidden) for layer in range(layers)))

    def forward(self, observation: Tensor) -> Tensor:
        return self.net(symlog(observation) if self.squash else observation)  # type: ignore[no-any-return]


class VectorDecoder(nn.Module):
    """Features [..., F] -> Gaussians over vectors (over their symlog where ``squash``), of one standard deviation ``std``."""

    def __init__(self, features: int, observation: int, hidden: int, layers: int, squash: bool, std: float):
        super().__init__()
        self.squash, self.std = squash, std
        self.net = network(features, hidden, layers, observation)

    def forward(self, features: Tensor) -> Tensor:
        """The expected observation [..., O]."""
        mean = self.net(features)
        return symexp(mean) if self.squash else mean

    def log_prob(self, features: Tensor, observation: Tensor) -> Tensor:
        """Log-density [...] of vectors [..., O] (of their symlog where ``squash``)."""
        return gaussian_log_prob(symlog(observation) if self.squash else observation, self.net(features), self.std)


def stages(shape: tuple[int, ...]) -> int:
    """How often a picture [H, W, C] is halved until it has 4 by 4 pixels.

    Raises:
        InputError: it cannot be.
    """
    side = shape[0]
    count = max(side // _SMALLEST, 1).bit_length() - 1
    if len(shape) != 3 or shape[1] != side or count < 1 or _SMALLEST << count != side:
        raise InputError(f"pictures of shape {list(shape)}: needs [H, W, C] with H = W = 8, 16, 32, 64, ...")
    return count


class ImageEncoder(nn.Module):
    """Pictures [..., H, W, C], 0 to 255 -> embeddings [..., size]; each convolution halves them and doubles the channels."""

    def __init__(self, shape: tuple[int, ...], channels: int):
        super().__init__()
        widths = [shape[2], *(channels << stage for stage in range(stages(shape)))]
        parts: list[nn.Module] = []
        for before, after in itertools.pairwise(widths):
            parts += [nn.Conv2d(before, after, 4, 2, 1), Norm2d(after), nn.SiLU()]
        self.net = nn.Sequential(*parts, nn.Flatten())
        self.size = widths[-1] * _SMALLEST**2

    def forward(self, picture: Tensor) -> Tensor:
        flat = picture.flatten(0, -4).permute(0, 3, 1, 2).to(torch.float32) / 255.0 - 0.5
        return self.net(flat).unflatten(0, picture.shape[:-3])  # type: ignore[no-any-return]


class ImageDecoder(nn.Module):
    """Features [..., F] -> Gaussians over pictures [..., H, W, C] scaled to [0, 1], of one standard deviation ``std``."""

    def __init__(self, features: int, shape: tuple[int, ...], channels: int, std: float):
        super().__init__()
        widths = [*(channels << stage for stage in reversed(range(stages(shape)))), shape[2]]
        parts: list[nn.Module] = [
            nn.Linear(features, widths[0] * _SMALLEST**2),
            nn.Unflatten(1, (widths[0], _SMALLEST, _SMALLEST)),
        ]
        for before, after in itertools.pairwise(widths):
            parts += [Norm2d(before), nn.SiLU(), nn.ConvTranspose2d(before, after, 4, 2, 1)]
        self.net = nn.Sequential(*parts)
        self.std = std

    def _mean(self, features: Tensor) -> Tensor:
        drawn = self.net(features.flatten(0, -2)) + 0.5
        return drawn.permute(0, 2, 3, 1).unflatten(0, features.shape[:-1])  # type: ignore[no-any-return]

    def forward(self, features: Tensor) -> Tensor:
        """The expected picture [..., H, W, C], 0 to 255."""
        return self._mean(features).clamp(0.0, 1.0) * 255.0

    def log_prob(self, features: Tensor, picture: Tensor) -> Tensor:
        """Log-density [...] of pictures [..., H, W, C], 0 to 255, scaled to [0, 1]."""
        scaled = picture.to(torch.float32) / 255.0
        return gaussian_log_prob(scaled.flatten(-3), self._mean(features).flatten(-3), self.std)
