"""Scalars as distributions over bins: rewards and values of any scale, learned by classification (Hafner et al. 2023)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forerun_models.latent.blocks import symexp


class TwoHot(nn.Module):
    """Bins at ``symexp`` of an even grid, symmetric about zero. A number is the mean of the two bins around it.

    Args:
        bins: how many, odd.
        span: the outermost bins are at plus and minus symexp(span); numbers beyond are cut to them.
    """

    def __init__(self, bins: int = 255, span: float = 20.0):
        super().__init__()
        if bins < 3 or bins % 2 == 0:
            raise ValueError(f"{bins} bins: an odd number of at least 3 is needed, so that zero is one of them")
        half = symexp(torch.linspace(0.0, span, bins // 2 + 1, dtype=torch.float64)).float()
        self.positive: Tensor = nn.Buffer(half[1:], persistent=False)
        self.values: Tensor = nn.Buffer(torch.cat([-half.flip(0), half[1:]]), persistent=False)

    @property
    def bins(self) -> int:
        """Size of the logits."""
        return len(self.values)

    def _around(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The bin above each number [..., 1], and the weight of that bin [..., 1]."""
        x = torch.clamp(x, self.values[0], self.values[-1])
        above = torch.searchsorted(self.values, x.contiguous()).clamp(1, self.bins - 1)
        low, high = self.values[above - 1], self.values[above]
        return above[..., None], ((x - low) / (high - low))[..., None]

    def encode(self, x: Tensor) -> Tensor:
        """Numbers [...] -> weights of the bins [..., bins]: two are not zero, their mean is the number."""
        above, weight = self._around(x)
        code = torch.zeros(*x.shape, self.bins, dtype=x.dtype, device=x.device)
        return code.scatter_(-1, above - 1, 1.0 - weight).scatter_(-1, above, weight)

    def mean(self, weights: Tensor) -> Tensor:
        """Weights of the bins [..., bins] -> their mean [...].

        Opposite bins are taken together, so that equal weights give zero and not the rounding error of the outermost bins.
        """
        half = len(self.positive)
        return ((weights[..., half + 1 :] - weights[..., :half].flip(-1)) * self.positive).sum(-1)

    def decode(self, logits: Tensor) -> Tensor:
        """Logits [..., bins] -> the number that they mean [...]."""
        return self.mean(torch.softmax(logits, dim=-1))

    def loss(self, logits: Tensor, x: Tensor) -> Tensor:
        """Cross entropy [...] of logits [..., bins] against numbers [...]."""
        above, weight = self._around(x)
        chosen = torch.lerp(logits.gather(-1, above - 1), logits.gather(-1, above), weight)
        return torch.logsumexp(logits, dim=-1) - chosen[..., 0]
