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
        plan: [H * n, Kn] commands of knots.
        steps: [H, Kn] means over the control steps; None where that is the identity.
    """

    def __init__(self, horizon: int, knots: int | None, kind: Spline, substeps: int):
        self.kind: Spline = kind if knots is not None else "linear"
        self.knots = knots if knots is not None else horizon
        if knots is None:
            self.plan = torch.repeat_interleave(torch.eye(horizon), substeps, dim=0)
            self.distance = 1.0
        else:
            self.distance = (horizon - 1) / max(1, knots - 1) if knots > 1 else 1.0
            times = torch.arange(horizon * substeps) / substeps
            self.plan = influence(times / self.distance, knots, kind)
        means = self.plan.reshape(horizon, substeps, self.knots).mean(dim=1)
        self.steps: Tensor | None = None if knots is None else means

    def shift(self, steps: Tensor) -> Tensor:
        """Matrix [Kn, Kn] that moves knots on by a time of [1] control steps, holding the last value."""
        return influence(torch.arange(self.knots, dtype=torch.float32) + steps / self.distance, self.knots, self.kind)
