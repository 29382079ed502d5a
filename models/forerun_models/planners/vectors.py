"""Rollouts of an ensemble over vectors, one row of history: the same predictions, written in place.

At small sizes the calls of a step cost as much as its sums do; here a step is few of them and joins nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from forerun_models.planners.rollout import Rollout


class _Rows(NamedTuple):
    """A step's inputs [M, count, N], the parts of them or of what they are made of where the state [M, S, N] and the action
    [M, A, N] are put, and what fills in the rest."""

    inputs: Tensor
    now: Tensor
    given: Tensor
    fill: Callable[[], None]


class VectorRollout(Rollout):
    """A ``Rollout`` for planning in torch without derivatives; it becomes no graph.

    Takes what ``Rollout`` takes; the ensemble's features are ``Vectors`` of one row, or a ``Library``.
    """

    def _follow(self, states: Sequence[Tensor], past: Sequence[Tensor], actions: Tensor, noise: Tensor | None) -> Tensor:
        if self.propagation != "stay" or noise is not None:
            return super()._follow(states, past, actions, noise)
        horizon, size, count = actions.shape
        inputs, now, given, fill = self._chosen_rows(size, count) if self.chosen else self._rows(size, count)
        predicted = torch.empty(horizon, self.members, self.state_size, count)
        deeper = [getattr(self, f"weight_{number}") for number in range(self.deeper)]
        units = [torch.empty(self.members, weight.shape[1], count) for weight in (self.first, *deeper)]
        now.copy_(states[-1][:, None])
        with torch.no_grad():
            for action, following in zip(actions.unbind(0), predicted.unbind(0), strict=True):
                given.copy_(action)
                fill()
                hidden = torch.bmm(self.first, inputs, out=units[0])
                nn.functional.silu(hidden, inplace=True)
                for weight, unit in zip(deeper, units[1:], strict=True):
                    hidden = torch.bmm(weight, hidden, out=unit)
                    nn.functional.silu(hidden, inplace=True)
                moved = torch.baddbmm(torch.bmm(self.straight, inputs), self.last, hidden)
                torch.clamp(moved, min=self.least, max=self.most, out=following)
                if self.derives:
                    turned = self.derivation @ (self._landmarks(following) - self._landmarks(now))
                    torch.where(self.derived, now + turned, following, out=following)
                now.copy_(following)
        return predicted

    def _rows(self, size: int, count: int) -> _Rows:
        """The inputs that ``Columns`` describes: products of actions and waves, waves, state, action, the constant 1, pairs."""
        state, waves = self.state_size, self.angles.shape[0]
        inputs = torch.ones(self.members, self.first.shape[2], count)
        products = inputs[:, : size * waves].unflatten(1, (size, waves)) if waves else inputs  # type: ignore[no-untyped-call]
        wave, first = inputs[:, size * waves : (size + 1) * waves], (size + 1) * waves
        now, every = inputs[:, first : first + state], inputs[:, first : first + state + size]
        given, sine, cosine = every[:, state:], wave[:, : waves // 2], wave[:, waves // 2 :]
        pairs = inputs[:, first + state + size + 1 :]
        pairs = pairs.unflatten(1, (state + size, state)) if self.pairs else inputs  # type: ignore[no-untyped-call]

        def fill() -> None:
            if waves:
                torch.sin(now, out=sine)
                torch.cos(now, out=cosine)
                torch.mul(given[:, :, None], wave[:, None], out=products)
            if self.pairs:
                torch.mul(every[:, :, None], now[:, None], out=pairs)

        return _Rows(inputs, now, given, fill)

    def _chosen_rows(self, size: int, count: int) -> _Rows:
        """The inputs that ``Products`` describes, and the basis of which they are made."""
        state, (first, second) = self.state_size, self.factors
        inputs = torch.ones(self.members, len(first) + state + 1, count)
        products, again = inputs[:, : len(first)], inputs[:, len(first) : len(first) + state]
        basis = torch.ones(self.members, 1 + state + size + len(self.angles), count)
        now, given, wave = basis[:, 1 : 1 + state], basis[:, 1 + state : 1 + state + size], basis[:, 1 + state + size :]
        left, right = torch.empty_like(products), torch.empty_like(products)
        angles, quarter = self.angles.expand(self.members, -1, -1), self.quarter

        def fill() -> None:
            again.copy_(now)
            torch.sin(torch.baddbmm(quarter, angles, now), out=wave)
            torch.index_select(basis, 1, first, out=left)
            torch.index_select(basis, 1, second, out=right)
            torch.mul(left, right, out=products)

        return _Rows(inputs, now, given, fill)
