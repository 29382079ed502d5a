"""What a trajectory costs: five integrals, each saturating, and what a quadratic problem may be made of around a trajectory.

    J = mean over costs of tanh(pi c_i / n_i)

(the form of the RealAIGym leaderboards). tanh is concave above 0, as is the square root in a standard deviation, and in |x| as
the root of a square; so each is no larger than its tangent, and what lowers the sum of the tangents lowers J: majorisation and
minimisation (Hunter and Lange 2004).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun_models.recipe import Scales

NAMES = ("time", "work", "effort", "roughness", "motion")
_LEAST_WORK, _LEAST_ROUGHNESS = 2e-4, 1e-5
"""Below which |x| and the standard deviation are round, in units of their scales."""
_LEAST_LATE = 1e-3
_LEAST_CHANGE = 1e-6
"""What changes of commands cost, whatever else they do."""
_HARD = 30.0


@dataclass(frozen=True)
class Quadratic:
    """Gradient [B, T, n+F] and curvature [B, T, n+F, n+F] of each knot's cost by (z reached, change)."""

    gradient: Tensor
    curvature: Tensor


class Costs:
    """Of trajectories z [B, T+1, n] with changes w [B, T, F].

    Args:
        scales: of the recipe.
        outside: how far states [..., S] are outside of the task's success, negative inside; None where time is not to count.
        margin: softens that edge.
        driven: [F] which joints the free commands drive.
        limits: [F] half of the free commands' range.
        middle: [F] its middle.
        knot: control steps between knots.
        period: of control [s].
        samples: control steps of the task.
        reserve: share of the commands' limits beyond which more costs extra.
    """

    def __init__(
        self,
        scales: Scales,
        outside: Callable[[Tensor], Tensor] | None,
        margin: float,
        driven: Tensor,
        limits: Tensor,
        middle: Tensor,
        knot: int,
        period: float,
        samples: int,
        reserve: float,
    ):
        self._sizes = torch.tensor([getattr(scales, name) or math.inf for name in NAMES], dtype=torch.float64)
        if outside is None:
            self._sizes[0] = math.inf
        self._count = int(torch.isfinite(self._sizes).sum())
        self._outside, self._margin, self._driven = outside, margin, driven
        self._stop = 1.0 - reserve
        self._limits, self._middle = limits.double(), middle.double()
        self._knot, self._span, self._samples = knot, knot * period, samples

    def values(self, z: Tensor, w: Tensor) -> Tensor:
        """The five costs [B, 5]."""
        _, velocity, given = self._parts(z[:, 1:])
        power = velocity[..., self._driven] * given
        late = self._late(z[:, 1:])[0]
        integrals = [late, power.abs().sum(-1), (given**2).sum(-1), (velocity**2).sum(-1)]
        time, work, effort, motion = (self._span * integral.sum(dim=1) for integral in integrals)
        return torch.stack([time, work, effort, self._deviation(w).sum(-1), motion], dim=-1)

    def total(self, costs: Tensor) -> Tensor:
        """J [B] of ``values``."""
        return torch.tanh(math.pi * costs / self._sizes).sum(-1) / self._count

    def weights(self, costs: Tensor) -> Tensor:
        """Slope of J along each cost [B, 5]."""
        return math.pi / self._sizes / torch.cosh(math.pi * costs / self._sizes) ** 2 / self._count

    def excess(self, z: Tensor) -> Tensor:
        """[B] penalty of commands near their limits."""
        return (_HARD * self._span * self._beyond(z[:, 1:]) ** 2).sum(dim=(1, 2))

    def quadratic(self, z: Tensor, w: Tensor, weights: Tensor) -> Quadratic:
        """A function that lies above the weighted costs, to second order."""
        states, span, size = z[:, 1:], self._span, z.shape[2]
        position, velocity, given = self._parts(states)
        joints, free = position.shape[-1], given.shape[-1]
        time, work, effort, roughness, motion = (weights[:, number, None, None] for number in range(5))
        gradient = torch.zeros(*w.shape[:2], size + free, dtype=z.dtype)
        diagonal = torch.zeros_like(gradient)
        speeds, commands, changes = slice(joints, 2 * joints), slice(2 * joints, size), slice(size, size + free)
        beyond = self._beyond(states)
        gradient[..., speeds], diagonal[..., speeds] = 2 * motion * span * velocity, 2 * motion * span
        gradient[..., commands] = 2 * effort * span * given + 2 * _HARD * span * beyond / self._limits
        diagonal[..., commands] = 2 * effort * span + 2 * _HARD * span * (beyond != 0) / self._limits**2
        rough = roughness / (self._deviation(w)[:, None] * self._samples * self._knot) + _LEAST_CHANGE
        gradient[..., changes], diagonal[..., changes] = rough * w, rough.expand_as(w)
        curvature = torch.diag_embed(diagonal)
        for command, joint in enumerate(self._driven.tolist()):
            speed, torque = velocity[..., joint], given[..., command]
            weight = (work[..., 0] * span) / ((speed * torque).abs() + _LEAST_WORK / span)
            slope = torch.zeros_like(gradient)
            slope[..., joints + joint], slope[..., 2 * joints + command] = torque, speed
            gradient = gradient + (weight * speed * torque)[..., None] * slope
            curvature = curvature + weight[..., None, None] * slope[..., :, None] * slope[..., None, :]
        if self._outside is not None:
            slope, bend = self._late_slopes(states)
            gradient[..., : 2 * joints] += time * span * slope
            curvature[..., : 2 * joints, : 2 * joints] += (
                (time * span * bend)[..., None] * slope[..., :, None] * slope[..., None, :]
            )
        return Quadratic(gradient, curvature)

    def _parts(self, states: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        joints = (states.shape[-1] - len(self._driven)) // 2
        return states[..., :joints], states[..., joints : 2 * joints], states[..., 2 * joints :]

    def _deviation(self, w: Tensor) -> Tensor:
        """Standard deviation of the commands' changes a control step [B, F], over all the task's steps."""
        return torch.sqrt((w**2).sum(dim=1) / (self._knot * self._samples) + _LEAST_ROUGHNESS**2)

    def _beyond(self, states: Tensor) -> Tensor:
        """How far commands reach into the reserve [..., F]."""
        given = (self._parts(states)[2] - self._middle) / self._limits
        return torch.sign(given) * torch.clamp_min(given.abs() - self._stop, 0.0)

    def _late(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """Whether states are outside of success, as a number from 0 to 1 [...], and how far."""
        if self._outside is None:
            return torch.zeros_like(states[..., 0]), torch.zeros_like(states[..., 0])
        out = self._outside(states[..., : states.shape[-1] - len(self._driven)])
        return torch.sigmoid(out / self._margin), out

    def _late_slopes(self, states: Tensor) -> tuple[Tensor, Tensor]:
        """The slope of that number by the state [..., S], and how much the slope's square counts as curvature [..., 1]."""
        assert self._outside is not None
        outside, size = self._outside, states.shape[-1] - len(self._driven)
        with torch.enable_grad():
            point = states[..., :size].detach().requires_grad_()
            slope = torch.autograd.grad(outside(point).sum(), point)[0]
        late = self._late(states)[0][..., None]
        slope = slope * late * (1 - late) / self._margin
        # As if it were the square of its root: never negative.
        return slope, 1 / (2 * late + _LEAST_LATE)
