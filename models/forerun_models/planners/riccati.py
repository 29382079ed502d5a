"""The backward pass of iLQR: Riccati's recursion along a trajectory, with limits on the commands.

Regularisation and improved value update after Tassa, Erez and Todorov 2012; limits after Tassa, Mansard and Todorov 2014
(control-limited DDP): each step's command solves a small quadratic program in a box, and no feedback pushes against a limit.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

_STEPS = 0.5 ** torch.arange(12, dtype=torch.float64)
_SWEEPS = 40
_ARMIJO = 0.1


@dataclass(frozen=True)
class Expansion:
    """A trajectory's surroundings: x_{t+1} and the cost to second order, in deviations from it.

    Attributes:
        dynamics: [H, n, n+A] derivative of the next state by (state, command).
        gradient, curvature: [H, n+A] and [H, n+A, n+A] of each step's cost by (state, command); curvature positive semidefinite.
        last_gradient, last_curvature: [n] and [n, n] of the cost at the horizon.
        lower, upper: [H, A] how far each command may go; lower <= 0 <= upper.
        lower_slope, upper_slope: [H, A, n] how these limits move with the state.
    """

    dynamics: Tensor
    gradient: Tensor
    curvature: Tensor
    last_gradient: Tensor
    last_curvature: Tensor
    lower: Tensor
    upper: Tensor
    lower_slope: Tensor
    upper_slope: Tensor

    @property
    def finite(self) -> bool:
        """Whether all of it is."""
        parts = (self.dynamics, self.gradient, self.curvature, self.last_gradient, self.last_curvature)
        return all(bool(torch.isfinite(part).all()) for part in parts)


@dataclass(frozen=True)
class Gains:
    """The better command: u + step * feedforward [H, A] + feedback [H, A, n] (x - x_nominal). ``expected`` is how far the cost
    falls with step 1, if the expansion is right."""

    feedforward: Tensor
    feedback: Tensor
    expected: float


def backward(around: Expansion, damping: float) -> Gains | None:
    """Gains of the best small change; None where a step's curvature is not positive definite, so that more ``damping`` (added to
    the curvature along the commands) is needed."""
    horizon, size, _ = around.dynamics.shape
    count = around.lower.shape[1]
    slope, value = around.last_gradient, around.last_curvature
    feedforward = torch.zeros_like(around.lower)
    feedback = torch.zeros_like(around.lower_slope)
    damped, expected = damping * torch.eye(count, dtype=value.dtype), 0.0
    for t in range(horizon - 1, -1, -1):
        dynamics = around.dynamics[t]
        q = around.gradient[t] + dynamics.T @ slope
        qq = around.curvature[t] + dynamics.T @ value @ dynamics
        q_x, q_u, q_xx, q_ux, q_uu = q[:size], q[size:], qq[:size, :size], qq[size:, :size], qq[size:, size:]
        best = in_box(q_uu + damped, q_u, around.lower[t], around.upper[t])
        if best is None:
            return None
        change, factor, free, at_lower = best
        # A command at its limit follows the limit; the free ones make the best of that.
        gain = torch.where(at_lower[:, None], around.lower_slope[t], around.upper_slope[t])
        gain = torch.where(free[:, None], torch.zeros_like(gain), gain)
        if factor is not None:
            sought = (q_ux + (q_uu + damped) @ gain)[free]
            gain[free] = -torch.cholesky_solve(sought, factor)
        feedforward[t], feedback[t] = change, gain
        pull = q_uu @ change
        expected -= float(change @ q_u + 0.5 * change @ pull)
        slope = q_x + gain.T @ (pull + q_u) + q_ux.T @ change
        value = q_xx + gain.T @ q_uu @ gain + gain.T @ q_ux + q_ux.T @ gain
        value = 0.5 * (value + value.T)
    return Gains(feedforward, feedback, expected)


def in_box(
    curvature: Tensor, gradient: Tensor, lower: Tensor, upper: Tensor
) -> tuple[Tensor, Tensor | None, Tensor, Tensor] | None:
    """Minimises u' C u / 2 + g' u for lower <= u <= upper, by projected Newton steps.

    Args:
        curvature: C [A, A], symmetric.
        gradient: g [A].
        lower, upper: [A].

    Returns:
        The minimiser [A], the Cholesky factor of C's free part (None where nothing is free), which entries are free [A] and which
        of the others are at their lower limit [A]. None where C's free part is not positive definite.
    """
    best = torch.clamp(torch.zeros_like(gradient), lower, upper)
    factor: Tensor | None = None
    for _ in range(_SWEEPS):
        pull = gradient + curvature @ best
        # Where both limits meet, the command has no freedom, whichever way it is pulled.
        at_lower = (best <= lower) & ((pull >= 0) | (lower >= upper))
        free = ~(at_lower | ((best >= upper) & (pull <= 0)))
        if not bool(free.any()):
            return best, None, free, at_lower
        factor, trouble = torch.linalg.cholesky_ex(curvature[free][:, free])
        if int(trouble) or not bool(torch.isfinite(factor).all()):
            return None
        move = torch.zeros_like(best)
        move[free] = -torch.cholesky_solve(pull[free][:, None], factor)[:, 0]
        tried = torch.clamp(best + _STEPS[:, None] * move, lower, upper)
        change = tried - best
        gain = change @ pull + 0.5 * ((change @ curvature) * change).sum(dim=1)
        enough = gain <= _ARMIJO * torch.clamp_max(change @ pull, 0.0)
        moved = change.abs().amax(dim=1) > 1e-14 * (1.0 + best.abs().max())
        good = (enough & moved).nonzero()
        if not len(good):
            return best, factor, free, at_lower
        best = tried[good[0, 0]]
    return best, factor, free, at_lower
