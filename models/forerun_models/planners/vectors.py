"""Rollouts of an ensemble over vectors, one row of history: the same predictions, written in place.

At small sizes the calls of a step cost as much as its sums do; here a step is few of them and joins nothing.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forerun_models.planners.rollout import Rollout


class VectorRollout(Rollout):
    """A ``Rollout`` for planning in torch without derivatives; it becomes no graph.

    Takes what ``Rollout`` takes; the ensemble's features are ``Vectors`` of one row.
    """

    def _follow(self, states: Sequence[Tensor], past: Sequence[Tensor], actions: Tensor, noise: Tensor | None) -> Tensor:
        if self.propagation != "stay" or noise is not None:
            return super()._follow(states, past, actions, noise)
        horizon, size, count = actions.shape
        state, waves = self.state_size, self.angles.shape[0]
        # The inputs that ``Columns`` describes: products of actions and waves, waves, state, action, the constant 1, pairs.
        inputs = torch.ones(self.members, self.first.shape[2], count)
        products = inputs[:, : size * waves].unflatten(1, (size, waves)) if waves else inputs  # type: ignore[no-untyped-call]
        wave, first = inputs[:, size * waves : (size + 1) * waves], (size + 1) * waves
        now, every = inputs[:, first : first + state], inputs[:, first : first + state + size]
        given, sine, cosine = every[:, state:], wave[:, : waves // 2], wave[:, waves // 2 :]
        pairs = inputs[:, first + state + size + 1 :]
        pairs = pairs.unflatten(1, (state + size, state)) if self.pairs else inputs  # type: ignore[no-untyped-call]
        predicted = torch.empty(horizon, self.members, state, count)
        deeper = [getattr(self, f"weight_{number}") for number in range(self.deeper)]
        units = [torch.empty(self.members, weight.shape[1], count) for weight in (self.first, *deeper)]
        now.copy_(states[-1][:, None])
        with torch.no_grad():
            for action, following in zip(actions.unbind(0), predicted.unbind(0), strict=True):
                given.copy_(action)
                if waves:
                    torch.sin(now, out=sine)
                    torch.cos(now, out=cosine)
                    torch.mul(given[:, :, None], wave[:, None], out=products)
                if self.pairs:
                    torch.mul(every[:, :, None], now[:, None], out=pairs)
                hidden = torch.bmm(self.first, inputs, out=units[0])
                nn.functional.silu(hidden, inplace=True)
                for weight, unit in zip(deeper, units[1:], strict=True):
                    hidden = torch.bmm(weight, hidden, out=unit)
                    nn.functional.silu(hidden, inplace=True)
                moved = torch.baddbmm(torch.bmm(self.straight, inputs), self.last, hidden)
                torch.clamp(moved, min=-self.fastest, max=self.fastest, out=following)
                now.copy_(following)
        return predicted
