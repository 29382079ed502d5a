"""The last word on a rigid-body model's physics: least squares, with the networks as training left them.

Masses, friction, delays and the observer's gains of a member are some dozens of numbers, in which errors of rollouts are smooth
but ill-conditioned: Levenberg and Marquardt's steps, with weights against outliers (Charbonnier's), settle in seconds what
stochastic gradients leave open. Columns of the Jacobian are rollouts of copies of the member, each with one number a little
larger, side by side in one batched rollout.
"""

from __future__ import annotations

import torch
from torch import Tensor

from forerun_models.dynamics.physical import Physical
from forerun_models.recipe import LeastSquares
from forerun_models.training.windows import Windows

_SHIFT = 1e-4
_FLOOR = 1e-2
"""Of the mean damping: what keeps a number where it is that the data do not tell."""
_TRIES = 8
_STRIDE = 3
"""Every so many steps of a rollout count: neighbours say the same."""


@torch.no_grad()
def fit_physics(model: Physical, windows: Windows, settings: LeastSquares, generator: torch.Generator) -> None:
    """Gives each member the physics that, with its networks, fits windows best that are drawn for it from ``windows``."""
    for member in range(model.members):
        index = torch.randint(len(windows), (settings.windows,), generator=generator)
        states, actions = (array.double() for array in windows.cut(index, settings.horizon))
        _write(model, member, _Problem(model, member, states, actions).solve(_read(model, member), settings.iterations).float())


class _Problem:
    """Errors of rollouts as a function of the physics' numbers [P].

    Args:
        states: [N, K + H, S].
        actions: [N, K + H - 1, A].
    """

    def __init__(self, model: Physical, member: int, states: Tensor, actions: Tensor):
        self.copies = model.chosen(torch.full((1 + len(_read(model, member)),), member)).double()
        self.single = self.copies.chosen(torch.zeros(1, dtype=torch.long))
        self.history = model.features.history
        self.states, self.actions = states, actions
        self.scale = model.features.state_std.double()

    def errors(self, model: Physical) -> Tensor:
        """[E, N, T, S], in standard deviations of the states, less the later."""
        history = self.history
        states, actions = (array.expand(model.members, *array.shape) for array in (self.states, self.actions))
        truth, given = states.unbind(2), actions.unbind(2)
        memory, found = model.begin(truth[:history], given[: history - 1]), []
        for step, target in enumerate(truth[history:]):
            predicted, _, memory = model.advance(memory, given[history - 1 + step])
            if step % _STRIDE == 0:
                found.append((predicted - target) / (self.scale * (1.0 + 0.1 * (step + 1)) / 3))
        return torch.nan_to_num(torch.stack(found, dim=2), nan=50.0).clamp(-50, 50)

    def cost(self, numbers: Tensor) -> float:
        """Sum of the robust loss."""
        _write(self.single, 0, numbers)
        return float((2 * torch.sqrt(1 + self.errors(self.single) ** 2) - 2).sum())

    def solve(self, numbers: Tensor, rounds: int) -> Tensor:
        """The best numbers found from ``numbers`` [P] on."""
        numbers = numbers.double()
        damping, best = 1e-2, self.cost(numbers)
        for _ in range(rounds):
            gradient, curvature = self._normal(numbers)
            for _ in range(_TRIES):
                own = curvature.diagonal()
                held = torch.diag(damping * (own + _FLOOR * own.mean()))
                tried = numbers - torch.linalg.solve(curvature + held, gradient)
                cost = self.cost(tried)
                if cost < best:
                    break
                damping *= 5
            else:
                break
            gain, numbers, best, damping = (best - cost) / best, tried, cost, max(damping / 5, 1e-6)
            if gain < 1e-3:
                break
        return numbers

    def _normal(self, numbers: Tensor) -> tuple[Tensor, Tensor]:
        """Gradient [P] and approximate curvature [P, P] of half the cost."""
        for copy in range(self.copies.members):
            shifted = numbers.clone()
            if copy:
                shifted[copy - 1] += _SHIFT
            _write(self.copies, copy, shifted)
        errors = self.errors(self.copies).flatten(1)
        weight = 1 / torch.sqrt(1 + errors[0] ** 2)
        jacobian = (errors[1:] - errors[0]) / _SHIFT
        weighted = jacobian * weight
        return weighted @ errors[0], weighted @ jacobian.T


def _read(model: Physical, member: int) -> Tensor:
    """The physics' numbers [P] of a member."""
    return torch.cat([parameter[member].flatten() for parameter in model.physical()])


def _write(model: Physical, member: int, numbers: Tensor) -> None:
    offset = 0
    for parameter in model.physical():
        count = parameter[member].numel()
        parameter[member] = numbers[offset : offset + count].reshape(parameter[member].shape)
        offset += count
