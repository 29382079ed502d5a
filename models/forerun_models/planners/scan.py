"""A loop over time that an ONNX graph holds as one operator, Scan, with the step in it once, however many steps there are.

torch's exporter unrolls loops: 35 steps and two iterations made two thousand operators, which take longer to load, to free and,
as their code and data leave the caches, to run. So while a graph is exported a loop is one operator of our own, and its step is
kept for ``export.loops``, which puts it into its place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

DOMAIN = "forerun"
"""Of the operator that stands for a loop until it is put into its place."""


class Stepping(Protocol):
    """A module that goes from step to step."""

    @property
    def step(self) -> Callable[..., tuple[Tensor, Any]]:
        """(state, a row of each of what is given) -> (what comes of one step [R, ...], the next state)."""


@dataclass(frozen=True)
class Loop:
    """A loop of an exported graph.

    Attributes:
        body: (carried, kept, row) -> (carried after, what comes of the step), all tensors.
        examples: the first step's.
        carried: how many tensors change from step to step.
        kept: how many stay.
    """

    body: nn.Module
    examples: tuple[Tensor, ...]
    carried: int
    kept: int


_LOOPS: ContextVar[list[Loop]] = ContextVar("loops")


@contextmanager
def recording() -> Iterator[list[Loop]]:
    """Collects the loops of what is exported meanwhile."""
    loops: list[Loop] = []
    token = _LOOPS.set(loops)
    try:
        yield loops
    finally:
        _LOOPS.reset(token)


def scan(stepping: Stepping, start: Any, rows: Sequence[Tensor]) -> Tensor:
    """What comes of all steps, joined along time.

    Args:
        stepping: whose ``step`` is called.
        start: the first step's state: tensors and None in tuples.
        rows: [H, ...] each, cut into steps.
    """
    if torch.onnx.is_in_onnx_export():
        return _as_operator(stepping, start, rows)
    state, found = start, []
    for row in zip(*(torch.split(part, 1) for part in rows), strict=True):
        following, state = stepping.step(state, *row)
        found.append(following)
    return torch.cat(found)


def _as_operator(stepping: Stepping, start: Any, rows: Sequence[Tensor]) -> Tensor:
    loops, first = _LOOPS.get(), [row[:1] for row in rows]
    following, after = stepping.step(start, *first)
    before = _tensors(start)
    changing = [old is not new for old, new in zip(before, _tensors(after), strict=True)]
    carried = [tensor for tensor, changes in zip(before, changing, strict=True) if changes]
    kept = [tensor for tensor, changes in zip(before, changing, strict=True) if not changes]
    body = _Body(stepping, start, changing)
    loops.append(Loop(body, tuple(tensor.detach() for tensor in (*carried, *kept, *first)), len(carried), len(kept)))
    shape = tuple(int(size) for size in (len(rows[0]), *following.shape))
    # Cut by Scan, a row has lost the axis of time.
    wide: Tensor = _Operator.apply(  # type: ignore[no-untyped-call]
        len(loops) - 1, shape, *carried, *kept, *(row[:, None] for row in rows)
    )
    return wide.flatten(0, 1)


class _Body(nn.Module):
    def __init__(self, stepping: Stepping, state: Any, changing: Sequence[bool]):
        super().__init__()
        self.stepping, self._state, self._changing = stepping, state, changing

    def forward(self, *tensors: Tensor) -> tuple[Tensor, ...]:
        carried = iter(tensors[: sum(self._changing)])
        kept = iter(tensors[sum(self._changing) : len(self._changing)])
        leaves = iter([next(carried if changes else kept) for changes in self._changing])
        following, after = self.stepping.step(_filled(self._state, leaves), *tensors[len(self._changing) :])
        changed = [tensor for tensor, changes in zip(_tensors(after), self._changing, strict=True) if changes]
        return (*changed, following)


class _Operator(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, number: int, shape: tuple[int, ...], *tensors: Tensor) -> Tensor:
        return tensors[0].new_zeros(shape)

    @staticmethod
    def symbolic(g: Any, number: int, shape: tuple[int, ...], *tensors: Any) -> Any:
        found = g.op(f"{DOMAIN}::Loop", *tensors, number_i=number)
        found.setType(tensors[0].type().with_sizes(list(shape)))
        return found


def _tensors(state: Any) -> list[Tensor]:
    """The tensors in ``state``, in order."""
    if state is None:
        return []
    return [state] if isinstance(state, Tensor) else [tensor for part in state for tensor in _tensors(part)]


def _filled(state: Any, tensors: Iterator[Tensor]) -> Any:
    """``state`` with others in the place of its tensors."""
    if state is None:
        return None
    if isinstance(state, Tensor):
        return next(tensors)
    parts = [_filled(part, tensors) for part in state]
    return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
