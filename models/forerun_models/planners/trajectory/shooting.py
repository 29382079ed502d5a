"""Optimal control by multiple shooting: many first guesses at once, states and changes as unknowns (Bock and Plitt 1984).

    minimise J(z, w) + tail(z_T)   where   z_{t+1} = f(z_t, w_t),  z_0 given

Each iteration takes the motions to first order and the costs to second, solves that problem by Riccati's recursion, defects
included (Giftthaler et al. 2018, Gauss-Newton multiple shooting), and goes as far along the solution as a merit function falls.
Trajectories need not be feasible on the way, so that an unstable motion does not spoil a long horizon.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from forerun_models.planners.trajectory.costs import Costs, Quadratic
from forerun_models.planners.trajectory.feedback import Array, holding, step_back
from forerun_models.planners.trajectory.motion import Linear, Motion

_STEPS = (1.0, 0.4, 0.1)
_DEFECTS, _DEARER = 1.0, 1.5
"""What a unit of defect costs in the merit at least, and a factor of the largest costate, above which no defect pays."""
_LANDING = 10.0
"""Factor of the tail's cost: quadratic, it is too low far from the target."""
_ARRIVAL = 10.0
"""What else a unit of deviation costs at the end, so that trajectories get there."""
_POSITION = 1e-4
"""What positions off the target cost there [1/rad^2 s]: where the robot stands by itself, nothing else calls it back."""
_RENEWED = 5
"""Iterations after which the tail is taken anew."""
_FIRST_DAMPING, _LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e-9, 1e3
_COMMAND, _VELOCITY, _CHANGE = 0.2, 0.02, 0.05
"""How strongly damping holds these, against positions."""


@dataclass(frozen=True)
class Found:
    """Trajectories z [B, T+1, n] and changes w [B, T, F], J [B], the costs [B, 5] and the sum of what is left of defects [B]."""

    z: Tensor
    w: Tensor
    objective: Tensor
    costs: Tensor
    defects: Tensor


@dataclass(frozen=True)
class _Tail:
    """What deviations from the target cost after the end [B, n, n]."""

    target: Tensor
    cost: Tensor

    def value(self, z: Tensor) -> Tensor:
        """[B] at the ends of trajectories [B, T+1, n]."""
        off = z[:, -1] - self.target
        return 0.5 * torch.einsum("bi,bij,bj->b", off, self.cost, off)


class Shooting:
    """Improves trajectories of ``motion`` that end in ``target`` [n], a state of rest."""

    def __init__(self, motion: Motion, costs: Costs, target: Tensor):
        self._motion, self._costs, self._target = motion, costs, target
        at_rest = motion.linear(target[None], torch.zeros(1, len(motion.free), dtype=target.dtype))
        self._by_start, self._by_change = at_rest.by_start[0].numpy(), at_rest.by_change[0].numpy()
        joints = motion.state_size // 2
        free = len(motion.free)
        self._held = np.diag([1.0] * joints + [_VELOCITY] * joints + [_COMMAND] * free)
        self._held_change = _CHANGE * np.eye(free)

    def improve(self, z: Tensor, w: Tensor, iterations: int) -> Found:
        """The trajectories ``z`` [B, T+1, n], ``w`` [B, T, F] after so many iterations; their starts stay."""
        damping = np.full(len(z), _FIRST_DAMPING)
        tail: _Tail | None = None
        for number in range(iterations):
            weights = self._costs.weights(self._costs.values(z, w))
            if tail is None or number % _RENEWED == 0:
                tail = self._tail(weights, z, w)
            flat = self._motion.linear(z[:, :-1].flatten(0, 1), w.flatten(0, 1))
            step_z, step_w, price = self._step(flat, self._costs.quadratic(z, w, weights), tail, z, w, damping)
            best, better_z, better_w = self._merit(z, w, weights, tail, price), z, w
            reached = np.zeros(len(z))
            for step in _STEPS:
                tried_z, tried_w = z + step * step_z, w + step * step_w
                merit = self._merit(tried_z, tried_w, weights, tail, price)
                won = (merit < best) & torch.isfinite(merit)
                best = torch.where(won, merit, best)
                better_z = torch.where(won[:, None, None], tried_z, better_z)
                better_w = torch.where(won[:, None, None], tried_w, better_w)
                reached = np.where(won.numpy(), step, reached)
            z, w = better_z, better_w
            damping = np.where(reached == 0, damping * 5, np.where(reached > 0.5, damping * 0.4, damping))
            damping = np.clip(damping, _LEAST_DAMPING, _MOST_DAMPING)
        costs = self._costs.values(z, w)
        return Found(z, w, self._costs.total(costs), costs, self._defects(z, w).abs().sum(dim=(1, 2)))

    def _defects(self, z: Tensor, w: Tensor) -> Tensor:
        """How far each motion misses the next state [B, T, n]."""
        followed = self._motion(z[:, :-1].flatten(0, 1), w.flatten(0, 1))
        return followed.reshape(z[:, 1:].shape) - z[:, 1:]

    def _merit(self, z: Tensor, w: Tensor, weights: Tensor, tail: _Tail, price: Tensor) -> Tensor:
        """[B] where a unit of defect costs ``price`` [B]."""
        costs = (weights * self._costs.values(z, w)).sum(-1) + self._costs.excess(z) + tail.value(z)
        return costs + price * self._defects(z, w).abs().sum(dim=(1, 2))

    def _tail(self, weights: Tensor, z: Tensor, w: Tensor) -> _Tail:
        """From the regulator at the target, with the costs' weights."""
        joints, size = self._motion.state_size // 2, self._motion.size
        around = self._costs.quadratic(self._target.expand(len(z), 2, -1), torch.zeros_like(w[:, :1]), weights)
        # The work's curvature has a kink at rest, and time none there.
        state = np.zeros((len(z), size, size))
        index = np.arange(joints, size)
        state[:, index, index] = around.curvature[:, 0].numpy()[:, index, index]
        state[:, range(joints), range(joints)] = _POSITION
        change = self._costs.quadratic(z, w, weights).curvature[:, 0, size:, size:].numpy()
        after = _LANDING * (holding(self._by_start, self._by_change, state, change) - state) + _ARRIVAL * self._held
        return _Tail(self._target, torch.as_tensor(after))

    def _step(
        self, motions: Linear, costs: Quadratic, tail: _Tail, z: Tensor, w: Tensor, damping: Array
    ) -> tuple[Tensor, Tensor, Tensor]:
        """The solution of the linear-quadratic problem around (z, w), as steps from there, and the price of defects [B]."""
        (count, steps, free), size = w.shape, z.shape[2]
        start = motions.by_start.reshape(count, steps, size, size).numpy()
        change = motions.by_change.reshape(count, steps, size, free).numpy()
        defect = motions.following.reshape(count, steps, size).numpy() - z[:, 1:].numpy()
        gradient, curvature = costs.gradient.numpy(), costs.curvature.numpy()
        held, held_change = damping[:, None, None] * self._held, damping[:, None, None] * self._held_change
        cost = tail.cost.numpy()
        slope = (cost @ (z[:, -1] - self._target).numpy()[..., None])[..., 0]
        price = np.full(count, _DEFECTS)
        gains, offsets = np.empty((steps, count, free, size)), np.empty((steps, count, free))
        for t in reversed(range(steps)):
            reached = cost + curvature[:, t, :size, :size] + held
            pull = slope + gradient[:, t, :size] + (reached @ defect[:, t, :, None])[..., 0]
            price = np.maximum(price, _DEARER * np.abs(pull).max(axis=1))
            own = curvature[:, t, size:, size:] + held_change
            turned = change[:, t].swapaxes(-1, -2)
            cost, gains[t] = step_back(reached, start[:, t], change[:, t], own)
            wanted = gradient[:, t, size:] + (turned @ pull[..., None])[..., 0]
            offsets[t] = -np.linalg.solve(own + turned @ reached @ change[:, t], wanted[..., None])[..., 0]
            slope = ((start[:, t] + change[:, t] @ gains[t]).swapaxes(-1, -2) @ pull[..., None])[..., 0]
            slope = slope + (gains[t].swapaxes(-1, -2) @ gradient[:, t, size:, None])[..., 0]
        step_z, step_w = np.zeros(z.shape), np.empty(w.shape)
        for t in range(steps):
            step_w[:, t] = offsets[t] + (gains[t] @ step_z[:, t, :, None])[..., 0]
            moved = start[:, t] @ step_z[:, t, :, None] + change[:, t] @ step_w[:, t, :, None]
            step_z[:, t + 1] = moved[..., 0] + defect[:, t]
        return torch.as_tensor(step_z), torch.as_tensor(step_w), torch.as_tensor(price)
