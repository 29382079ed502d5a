"""Plans as splines: few knots in place of one value a step, read at any time, shifted by any time.

A knot's influence is a kernel of its distance: none beyond half a knot (``zero``), one (``linear``) or two (``cubic``, Keys 1981,
which passes through the knots). Before the first and after the last knot their values are held.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

Spline = Literal["zero", "linear", "cubic"]


def influence(times: Tensor, knots: int, kind: Spline) -> Tensor:
    """Weights [T, knots] of the knots 0, 1, ... at ``times`` [T], in units of the knots' distance; rows sum to 1."""
    beyond = 2 if kind == "cubic" else 0
    positions = torch.arange(-beyond, knots + beyond, dtype=times.dtype)
    inside = torch.clamp(times, 0.0, knots - 1.0)
    if kind == "zero":
        # A knot holds until the next one.
        weights = torch.floor(inside + 1e-4)[:, None] == positions[None, :]
        return weights.to(times.dtype)
    distance = torch.abs(inside[:, None] - positions[None, :])
    if kind == "linear":
        return torch.relu(1.0 - distance)
    near = (1.5 * distance - 2.5) * distance * distance + 1.0
    far = ((-0.5 * distance + 2.5) * distance - 4.0) * distance + 2.0
    weights = torch.where(distance <= 1.0, near, torch.where(distance < 2.0, far, torch.zeros_like(distance)))
    first = weights[:, : beyond + 1].sum(dim=1, keepdim=True)
    last = weights[:, knots + beyond - 1 :].sum(dim=1, keepdim=True)
    return torch.cat([first, weights[:, beyond + 1 : knots + beyond - 1], last], dim=1)


class Basis:
    """The map from knots to a plan.

    Args:
        horizon: H, control steps.
        knots: from the first step to the last; None for one a step, each held for its step.
        kind: of spline.
        substeps: n, commands a control step.

    Attributes:
        knots: Kn.
        commands: [H * n, Kn] commands of knots; None where each knot is held for a control step.
        means: [H, Kn] of the commands of each control step; None likewise.
    """

    def __init__(self, horizon: int, knots: int | None, kind: Spline, substeps: int):
        self.kind: Spline = kind if knots is not None else "zero"
        self.knots = knots if knots is not None else horizon
        self.distance = (horizon - 1) / (self.knots - 1) if self.knots > 1 else 1.0
        self.commands: Tensor | None = None
        self.means: Tensor | None = None
        if knots is not None:
            times = torch.arange(horizon * substeps) / substeps
            self.commands = influence(times / self.distance, knots, kind)
            self.means = self.commands.reshape(horizon, substeps, knots).mean(dim=1)

    def shift(self, steps: Tensor) -> Tensor:
        """Matrix [Kn, Kn] that moves knots on by a time of [1] control steps, holding the last value.

        Knots that are held become means of what they would have held: read at one moment, they would not move at all where ticks
        are much shorter than the knots' distance.
        """
        kind: Spline = "linear" if self.kind == "zero" else self.kind
        return influence(torch.arange(self.knots, dtype=torch.float32) + steps / self.distance, self.knots, kind)
