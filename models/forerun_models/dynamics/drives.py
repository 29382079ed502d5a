"""Robots of one kind whose drives differ: what a model must tell from a history that it may predict the next run.

A motion under commands u of a drive is, exactly, the motion of a robot whose drive is weaker by a factor, under commands larger
by it; and of one with more friction, whose commands make up for it. So logs of one robot hold those of others, and a model that
is trained on them has to infer the drives from the history instead of knowing them by heart.
"""

from __future__ import annotations

import torch
from torch import Tensor

_TURNING = 0.1
"""[rad/s] or [m/s] above which dry friction has its size."""


class OtherDrives:
    """Draws drives, one a window, and gives the commands with which they would have moved as the robot did.

    Args:
        variety: standard deviation of the logarithm of the drives' strength; 0 leaves commands as they are. Friction varies
            too: dry friction by twice that share of its size, viscous friction at usual speed and the command that is zero by
            that share, and what the gear takes of the effort by half of it.
        dry: [A] size of dry friction, in units of the commands.
    """

    def __init__(self, variety: float, dry: Tensor):
        self.variety, self.dry = variety, dry

    def __call__(self, velocities: Tensor, usual: Tensor, actions: Tensor, generator: torch.Generator) -> Tensor:
        """Commands [..., T, A] instead of ``actions`` [..., T, A], given ``velocities`` [..., T+, A] of the driven joints and
        their ``usual`` size [A]."""
        if not self.variety:
            return actions
        first = actions[..., :1, :]
        # Half of the windows stay as they are, the others become hardly to quite other: the robot at hand is the likeliest one.
        amount = self.variety * torch.relu(2 * torch.rand(first[..., :1].shape, generator=generator) - 1)
        strength, loss, dry, viscous, offset = (amount * torch.randn(first.shape, generator=generator) for _ in range(5))
        velocity = velocities[..., : actions.shape[-2], :]
        sign = torch.tanh(velocity / _TURNING)
        friction = 2 * dry * sign + viscous * velocity / usual + offset
        return actions * torch.exp(strength) + 0.5 * loss * actions.abs() * sign + self.dry * friction
