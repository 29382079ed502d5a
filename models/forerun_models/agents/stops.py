"""Where positions end: at a mechanical stop, told from a place beyond which a joint has merely not been.

What happens at a stop depends on all forces there, of which few were ever seen, so that a model learned from everything leads
plans through it. A stop shows itself by what does *not* happen: motion learned from rows away from both ends of what was seen
goes on beyond the end, and the joint does not. Where a joint has just not been further, it does what that motion says, up to the
usual error and to what least squares cannot know so far from its rows (the leverage of a row, Hoaglin and Welsch 1978).
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from forerun_models.dynamics.library import Library

_RATE = 0.8
"""The share of a position's changes that its velocity explains, at least."""
_NEAR, _AWAY = 0.03, 3.0
"""Near an end: within this share of the range, and within the change of a quick step. Away from it: so many times as far."""
_LEARNED, _ENOUGH = 2000, 0.1
"""Rows that the free motion is learned from, at most; there must be this share of all rows at least."""
_UNUSUAL, _LARGE = 10.0, 0.1
"""A row was held back if it went short of the free motion by so many times the usual error and by this share of a quick step."""
_SEEN = 5
"""Rows near an end that were held back, without which there is no stop."""
_QUICK = 0.9
"""Quantile: of the changes, a quick one; of the errors, one that is still usual."""
_RIDGE = 1e-4


class Stops(NamedTuple):
    """``ends`` [2, O], the least and the largest of each number, infinite where there is no stop; ``blocked`` [N], the rows that
    a stop held back."""

    ends: Tensor
    blocked: Tensor


def find_stops(observation: Tensor, action: Tensor, following: Tensor) -> Stops:
    """The stops in transitions.

    Args:
        observation, following: [N, O].
        action: [N, A].
    """
    ends = torch.tensor([[-torch.inf], [torch.inf]]).repeat(1, observation.shape[1])
    blocked = torch.zeros(len(observation), dtype=torch.bool)
    before, after = observation.double(), following.double()
    for number in positions(before, after).tolist():
        motion = _Motion(before, action.double(), after, number)
        for side, sign in enumerate((-1.0, 1.0)):
            held = motion.held(sign)
            if len(held):
                ends[side, number] = sign * (sign * following[:, number]).max()
                blocked[held] = True
    return Stops(ends, blocked)


def positions(before: Tensor, after: Tensor) -> Tensor:
    """The numbers of an observation whose change over a step is what another one, their velocity, was meanwhile on the mean.

    Args:
        before, after: [N, O].
    """
    change, meanwhile = after - before, (before + after) / 2
    together = (meanwhile.T @ change).clamp_min(0).square()
    share = together / (meanwhile.square().sum(dim=0)[:, None] * change.square().sum(dim=0)).clamp_min(1e-30)
    return torch.nonzero(share.fill_diagonal_(0).amax(dim=0) > _RATE)[:, 0]


class _Motion:
    """How a ``number`` moves away from both ends of what was seen, and what became of that near them."""

    def __init__(self, before: Tensor, action: Tensor, after: Tensor, number: int):
        self._before, self._action, self._library = before, action, Library(before.shape[1], action.shape[1])
        self._change, self._reached = (after - before)[:, number], after[:, number]
        self._quick = float(self._change.abs().quantile(_QUICK))
        least, most = self._reached.aminmax()
        self._band = min(self._quick, _NEAR * float(most - least))
        both = torch.stack([before[:, number], self._reached])
        self._gaps = {-1.0: both.amin(dim=0) - least, 1.0: most - both.amax(dim=0)}
        free = torch.stack(list(self._gaps.values())).amin(dim=0) > _AWAY * self._band
        away = torch.nonzero(free)[:, 0]
        self._known = len(away) >= max(_ENOUGH * len(free), 1)
        if self._known:
            self._learn(away[:: -(-len(away) // _LEARNED)])

    def held(self, sign: float) -> Tensor:
        """Numbers of the rows that were held back by a stop at the largest (``sign`` 1) or least value seen; none without one."""
        close = torch.nonzero(self._gaps[sign] < _AWAY * self._band)[:, 0]
        if not self._known:
            return close[:0]
        inputs = self._inputs(close)
        short = sign * (inputs @ self._weights - self._change[close])
        leverage = ((inputs @ self._doubt) * inputs).sum(dim=1)
        least = torch.clamp_min(_UNUSUAL * self._usual * torch.sqrt(1 + leverage), _LARGE * self._quick)
        near = sign * self._reached[close] > (sign * self._reached).max() - self._band
        held, thrown = short > least, short < -least
        enough = int((held & near).sum()) >= max(_SEEN, 3 * int((thrown & near).sum()))
        return close[held] if enough else close[:0]

    def _learn(self, rows: Tensor) -> None:
        """By least squares, thrice: what hits something else on its way counts less each time."""
        inputs = self._raw(rows)
        self._mean, self._std = inputs.mean(dim=0), inputs.std(dim=0).clamp_min(1e-6)
        inputs, wanted = self._inputs(rows), self._change[rows]
        count, ridge = torch.ones_like(wanted), _RIDGE * len(inputs) * torch.eye(inputs.shape[1], dtype=inputs.dtype)
        for _ in range(3):
            weighed = (count[:, None] * inputs).T
            self._doubt = torch.linalg.inv(weighed @ inputs + ridge)
            self._weights = self._doubt @ (weighed @ wanted)
            error = (inputs @ self._weights - wanted).abs()
            count = torch.rsqrt(1 + (error / (3 * error.median()).clamp_min(1e-9)).square())
        self._usual = float(error.quantile(_QUICK))

    def _raw(self, rows: Tensor) -> Tensor:
        return self._library.raw([self._before[rows]], [self._action[rows]])

    def _inputs(self, rows: Tensor) -> Tensor:
        inputs = (self._raw(rows) - self._mean) / self._std
        return torch.cat([inputs, torch.ones_like(inputs[:, :1])], dim=1)
