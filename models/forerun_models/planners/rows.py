"""Quantities that lie along the axis before the last, read as if they lay along the last one."""

from __future__ import annotations

from types import EllipsisType
from typing import Any

from torch import Tensor


class Rows:
    """Looks to a task's terms like a tensor [..., D], while the tensor behind is [..., D, N].

    Reading a column of a transposed tensor would copy it element by element; here it is a row, which is one piece of memory.
    """

    def __init__(self, tensor: Tensor):
        self._tensor = tensor

    def __getitem__(self, key: tuple[EllipsisType, int | slice]) -> Any:
        _, column = key
        if isinstance(column, slice):
            return Rows(self._tensor[..., column, :])
        return self._tensor[..., column, :]
