"""A learned model as a function of state and command alone, differentiable and in double precision."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import torch
from torch import Tensor

from forerun_models.dynamics.model import WorldModel


@dataclass(frozen=True)
class Linear:
    """Where motions lead, [N, n], and the derivatives by what they start from, [N, n, n], and by the change, [N, n, F]."""

    following: Tensor
    by_start: Tensor
    by_change: Tensor


class Motion:
    """z = (state [S], commands [F]); a change w [F] of the commands, spread evenly over ``knot`` control steps, leads to the
    next z.

    F are the commands that the task leaves free; the others stay in the middle of their limits. The members' mean is the model.
    What a model infers from its history is inferred from standing at ``start``, and stays.

    Args:
        model: trained.
        members: how many of its elites, all if None.
        start: [S] where the robot stands at first.
        middle: [A] commands in the middle of their limits.
        free: [F] which commands the task leaves free.
        period: of control [s].
        knot: control steps.

    Attributes:
        route: [F, A] which command is which.
        model: the members, in double precision.
        standing: their memory of standing at ``start``.

    Raises:
        InputError: the model needs more of its past than state and command.
    """

    def __init__(
        self, model: WorldModel, members: int | None, start: Tensor, middle: Tensor, free: Tensor, period: float, knot: int = 1
    ):
        chosen = model.elites[: members or len(model.elites)]
        self.model = model.chosen(chosen).double().requires_grad_(False)
        self.state_size, self.free, self.period, self.knot = model.state_size, free, period, knot
        self._middle = middle.double()
        self.route = torch.eye(len(middle), dtype=torch.float64)[free]
        history, wide = model.features.history, (len(chosen), 1, -1)
        states = [start.double().expand(*wide)] * history
        with torch.no_grad():
            self.standing = self.model.begin(states, [self._middle.expand(*wide)] * (history - 1))

    @property
    def size(self) -> int:
        """n = S + F."""
        return self.state_size + len(self.free)

    def every(self, knot: int) -> Motion:
        """The same with knots of another length."""
        other = copy.copy(self)
        other.knot = knot
        return other

    def commands(self, given: Tensor) -> Tensor:
        """All commands [..., A] of the free ones [..., F]."""
        fixed = self._middle.clone()
        fixed[self.free] = 0.0
        return fixed + given @ self.route

    def along(self, start: Tensor, change: Tensor) -> Tensor:
        """z after each control step of a knot [N, knot, n], from ``start`` [N, n] by ``change`` [N, F]."""
        state, given = start.tensor_split([self.state_size], dim=-1)
        found = []
        for _ in range(self.knot):
            before, given = given, given + change / self.knot
            memory = self.model.placed(self.standing, state, self.commands(before))
            _, _, memory = self.model.advance(memory, self.commands(given).expand(self.model.members, -1, -1))
            state = self.model.believed(memory).mean(dim=0)
            found.append(torch.cat([state, given], dim=-1))
        return torch.stack(found, dim=1)

    def __call__(self, start: Tensor, change: Tensor) -> Tensor:
        """z at the knot's end [N, n]."""
        return self.along(start, change)[:, -1]

    def linear(self, start: Tensor, change: Tensor) -> Linear:
        """The motions from ``start`` [N, n] by ``change`` [N, F], to first order."""
        size = self.size
        # Backward, output by output: many operators have no fast forward derivative.
        with torch.enable_grad():
            point = torch.cat([start, change], dim=-1).detach().requires_grad_()
            reached = self(point[:, :size], point[:, size:])
            slopes = [torch.autograd.grad(reached[:, row].sum(), point, retain_graph=row < size - 1)[0] for row in range(size)]
        slope = torch.stack(slopes, dim=1)
        return Linear(reached.detach(), slope[..., :size], slope[..., size:])

    def secant(self, start: Tensor, change: Tensor, sizes: Tensor) -> Linear:
        """The same with mean slopes over deviations of ``sizes`` [n + F] to both sides: what is steep at one point alone, as dry
        friction is at rest, counts as what it does to motions of that size."""
        point, size = torch.cat([start, change], dim=-1), self.size
        moved = torch.diag(sizes)[:, None, :]
        around = torch.cat([point + moved, point - moved])
        reached = self(around[..., :size].flatten(0, 1), around[..., size:].flatten(0, 1))
        ahead, behind = reached.reshape(2, len(sizes), len(start), size).unbind(0)
        slopes = ((ahead - behind) / (2 * sizes[:, None, None])).permute(1, 2, 0)
        return Linear(self(start, change), slopes[..., :size], slopes[..., size:])
