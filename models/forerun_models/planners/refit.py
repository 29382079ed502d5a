"""How a sampling planner learns from one iteration: what it expects to be best next, and how sure it is."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun_models.recipe import Planner


def elites_of(samples: Tensor, values: Tensor, count: int) -> tuple[Tensor, Tensor, Tensor]:
    """The best samples [Kn, A, E], best first, of [Kn, A, N]; their values [E] and numbers [E]."""
    best, order = torch.topk(values, count)
    return torch.index_select(samples, 2, order), best, order


def to_elites(
    settings: Planner, elites: Tensor, values: Tensor, mean: Tensor, std: Tensor | float
) -> tuple[Tensor, Tensor | float]:
    """Mean and standard deviation [Kn, A, 1] of the elites, with momentum (cross-entropy method; Rubinstein 1999).

    Elites of value -inf do not count; where all are, mean and standard deviation stay.
    """
    valid = (values > -float("inf")).to(values.dtype)
    count = valid.sum()
    share = valid / torch.clamp_min(count, 1.0)
    centre = (elites * share).sum(dim=2, keepdim=True)
    spread = torch.sqrt(((elites - centre) ** 2 * share).sum(dim=2, keepdim=True))
    rate = (1 - settings.momentum) * torch.clamp_max(count, 1.0)
    return mean + rate * (centre - mean), std + rate * (spread - std)


def to_weights(settings: Planner, samples: Tensor, values: Tensor, mean: Tensor) -> Tensor:
    """Mean [Kn, A, 1] of all samples, weighted by the exponential of their values (MPPI; Williams et al. 2017).

    The temperature is in standard deviations of the values, so that it means the same for every task. Samples of value -inf
    have no weight; where all have none, the ``mean`` stays.
    """
    finite = torch.isfinite(values)
    known = torch.where(finite, values, torch.zeros_like(values))
    count = torch.clamp_min(finite.to(values.dtype).sum(), 1.0)
    centre = known.sum() / count
    spread = torch.sqrt((torch.where(finite, values - centre, torch.zeros_like(values)) ** 2).sum() / count)
    best = torch.where(finite, values, torch.full_like(values, -1e30)).max()
    sharp = (known - best) / (settings.temperature * spread + 1e-9)
    weights = torch.where(finite, torch.exp(sharp), torch.zeros_like(values))
    total = weights.sum()
    weighted = (samples * (weights / torch.clamp_min(total, 1e-9))).sum(dim=2, keepdim=True)
    return torch.where(total > 0, weighted, mean)
