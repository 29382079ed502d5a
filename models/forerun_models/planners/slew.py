"""Commands that change no faster than the robot's own."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forerun_models.planners.scan import scan


class Slew(nn.Module):
    """Follows what is wanted as fast as the limit allows.

    Args:
        step: largest change [A] from one command to the next, of commands in [-1, 1].
        held: commands for each that is wanted.
    """

    def __init__(self, step: Tensor, held: int):
        super().__init__()
        self.held = held
        self.largest: Tensor = nn.Buffer(torch.clamp(step, 1e-6, 2.0)[:, None])
        self.reach: Tensor = nn.Buffer(torch.arange(1.0, held + 1)[:, None, None])

    def forward(self, start: Tensor, wanted: Tensor) -> Tensor:
        """Commands [H * held, A, N] from the one under way, ``start`` [A, 1], on, where ``wanted`` [H, A, N] are."""
        # In units of the largest step, so that the clip's limits are constants.
        first = (start / self.largest)[None].expand(1, *wanted.shape[1:])
        return scan(self, first, [wanted / self.largest]) * self.largest

    def step(self, previous: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
        """Commands [held, A, N] of a step, and the last of them [1, A, N]."""
        gap = target - previous
        if self.held == 1:
            followed = previous + torch.clamp(gap, -1.0, 1.0)
            return followed, followed
        followed = previous + torch.clamp(gap / self.reach, -1.0, 1.0) * self.reach
        return followed, followed[-1:]
