"""Replay: the newest transitions, in the order in which they came, in memory that is bounded."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import DTypeLike, NDArray

from forerun_models.agents.base import Step

Arrays = dict[str, NDArray[Any]]


class Buffer:
    """A ring of the newest ``capacity`` transitions.

    A batch is a dictionary of arrays, N rows each: ``observation`` [N, *shape], ``action`` float32 [N, A] (int64 [N] where
    ``action_size`` is 0: choices), ``reward`` float32 [N], ``following`` [N, *shape], ``terminated`` and ``truncated`` bool [N].

    An episode ends with a step that is terminated or truncated, and where a step does not begin with the observation that the
    one before it led to.
    """

    def __init__(self, capacity: int, observation_shape: tuple[int, ...], dtype: DTypeLike, action_size: int) -> None:
        self.capacity = capacity
        kinds: dict[str, tuple[tuple[int, ...], DTypeLike]] = {
            "observation": (observation_shape, dtype),
            "action": ((action_size,), np.float32) if action_size else ((), np.int64),
            "reward": ((), np.float32),
            "following": (observation_shape, dtype),
            "terminated": ((), np.bool_),
            "truncated": ((), np.bool_),
        }
        self._columns: Arrays = {name: np.zeros((capacity, *shape), kind) for name, (shape, kind) in kinds.items()}
        self._episode = np.zeros(capacity, np.int64)
        self._position = 0
        self._size = 0
        self._current = 0

    def __len__(self) -> int:
        return self._size

    def add(self, step: Step) -> None:
        """The newest transition; the oldest goes where the ring is full."""
        slot = self._position
        if self._size:
            last = slot - 1
            ended = self._columns["terminated"][last] or self._columns["truncated"][last]
            if ended or not np.array_equal(self._columns["following"][last], step.observation):
                self._columns["truncated"][last] |= not ended
                self._current += 1
        for name, value in zip(Step._fields, step, strict=True):
            self._columns[name][slot] = value
        self._episode[slot] = self._current
        self._position = (slot + 1) % self.capacity
        self._size = min(self._size + 1, self.capacity)

    def extend(self, batch: Mapping[str, NDArray[Any]]) -> None:
        """Many transitions at once that belong to no episode (imagined ones): each counts as an episode of its own.

        Args:
            batch: all columns, N rows each; of more than ``capacity`` the last ones stay.
        """
        count = min(len(batch["reward"]), self.capacity)
        slots = (self._position + np.arange(count)) % self.capacity
        for name, column in self._columns.items():
            column[slots] = batch[name][-count:] if count else batch[name][:0]
        self._episode[slots] = self._current + 1 + np.arange(count)
        self._current += count
        self._position = int((self._position + count) % self.capacity)
        self._size = min(self._size + count, self.capacity)

    def clear(self) -> None:
        """Forgets all transitions."""
        self._position = self._size = 0

    def sample(self, count: int, generator: np.random.Generator) -> Arrays:
        """``count`` transitions, drawn uniformly with replacement."""
        return self.rows(generator.integers(self._size, size=count))

    def sample_sequences(self, count: int, length: int, generator: np.random.Generator, *, across: bool = False) -> Arrays:
        """``count`` runs of ``length`` steps that followed each other, drawn uniformly with replacement.

        Args:
            count: N.
            length: L; columns are [N, L, ...].
            generator: draws their first steps.
            across: whether a run may go on in the next episode. ``first`` [N, L] says where an episode begins in it, or the run.

        Raises:
            ValueError: no run of that length is in the buffer (``sequences`` tells beforehand).
        """
        starts = self._starts(length, across)
        if not len(starts):
            raise ValueError(f"no {length} steps in a row among {self._size} of the buffer")
        ages = starts[generator.integers(len(starts), size=count)][:, None] + np.arange(length)
        batch = self.rows(ages)
        episodes = self._episode[self._slots(ages)]
        first = np.ones(ages.shape, np.bool_)
        first[:, 1:] = episodes[:, 1:] != episodes[:, :-1]
        return {**batch, "first": first}

    def sequences(self, length: int, *, across: bool = False) -> int:
        """How many different runs ``sample_sequences`` can draw."""
        return len(self._starts(length, across))

    def rows(self, ages: NDArray[np.int64]) -> Arrays:
        """Transitions by number, 0 the oldest that is kept; columns have the shape of ``ages`` before their own."""
        slots = self._slots(ages)
        return {name: column[slots] for name, column in self._columns.items()}

    def all(self) -> Arrays:
        """Every transition, oldest first, and the number of its ``episode`` [N]."""
        ages = np.arange(self._size)
        return {**self.rows(ages), "episode": self._episode[self._slots(ages)]}

    def _slots(self, ages: NDArray[np.int64]) -> NDArray[np.int64]:
        return (ages + self._position - self._size) % self.capacity

    def _starts(self, length: int, across: bool) -> NDArray[np.int64]:
        starts = np.arange(self._size - length + 1)
        if across or not len(starts):
            return starts
        same: NDArray[np.bool_] = self._episode[self._slots(starts)] == self._episode[self._slots(starts + length - 1)]
        return starts[same]

    def state_dict(self) -> dict[str, Any]:
        """All that is kept, as tensors."""
        filled = {name: torch.from_numpy(column[: self._size].copy()) for name, column in self._columns.items()}
        return {
            "columns": filled,
            "episode": torch.from_numpy(self._episode[: self._size].copy()),
            "position": self._position,
            "current": self._current,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Becomes the buffer whose ``state_dict`` this is; both have the same capacity."""
        self._size = len(state["episode"])
        for name, column in self._columns.items():
            column[: self._size] = state["columns"][name].numpy()
        self._episode[: self._size] = state["episode"].numpy()
        self._position, self._current = int(state["position"]), int(state["current"])
