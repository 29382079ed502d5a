"""The squashed Gaussian policy: actions are tanh of normally distributed numbers."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

LOG_STD = (-20.0, 2.0)
"""Where log standard deviations are cut."""


class Draw(NamedTuple):
    """Actions of a squashed Gaussian and what their derivatives need.

    Attributes:
        action: [N, A] in (-1, 1).
        log_density: [N, 1] of ``action``.
        spread: [N, A], standard deviation times noise.
        free: [N, A], where the log standard deviation was not cut.
    """

    action: Tensor
    log_density: Tensor
    spread: Tensor
    free: Tensor


def draw(output: Tensor, noise: Tensor) -> Draw:
    """Actions for a policy network's ``output`` [N, 2A] (means, log standard deviations) and standard normal ``noise`` [N, A]."""
    mean, raw = output.chunk(2, dim=-1)
    log_std = raw.clamp(*LOG_STD)
    spread = log_std.exp().mul_(noise)
    before = mean + spread
    # log(1 - tanh(x)^2), in a form that stays exact where tanh is 1.
    slope = 2.0 * (math.log(2.0) - before - torch.nn.functional.softplus(-2.0 * before))
    density = noise.square().mul_(-0.5).sub_(log_std).sub_(slope).sum(dim=-1, keepdim=True)
    density -= 0.5 * math.log(2.0 * math.pi) * noise.shape[-1]
    return Draw(before.tanh_(), density, spread, log_std == raw)


def draw_gradient(drawn: Draw, by_action: Tensor, by_density: Tensor) -> Tensor:
    """Derivatives [N, 2A] of a loss by the network's output.

    Args:
        drawn: by ``draw``, its noise held fixed (the reparametrisation).
        by_action: derivatives [N, A] of the loss by the actions.
        by_density: derivatives [N, 1] of the loss by their log densities.
    """
    action = drawn.action
    by_mean = by_action * (1.0 - action.square()) + 2.0 * by_density * action
    by_log_std = (by_mean * drawn.spread - by_density) * drawn.free
    return torch.cat([by_mean, by_log_std], dim=-1)
