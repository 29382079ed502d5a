"""Dyna-Q (Sutton 1990; Sutton and Barto 2018, sections 8.2 and 8.4): Q-learning that also learns from what it remembers.

After each real step the model notes where the pair (s, a) led, and ``planning`` further updates are made from the model: of pairs
drawn uniformly from those that were seen, or of those whose value is most wrong (prioritized sweeping, Moore and Atkeson 1993).

The book's model is deterministic: it notes the newest outcome. A cell of a grid leads to many cells, so here it keeps the newest
``outcomes`` of each pair; a uniform update draws one of them, a prioritized one takes their mean.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field

from forerun_models.agents.base import EnvSpec
from forerun_models.agents.q_learning import Count, QLearning, TableSettings

_FORGETTING, _MANY = 0.01, 0.3
"""Weight of the newest step in the share of cells that were not foreseen, and the share that is told."""
Outcome = tuple[float, int]
"""Reward, and the cell that follows; -1 where the episode ended."""


class DynaSettings(TableSettings):
    """``planning`` updates from the model after each step, of pairs in the ``order`` given; ``threshold``: smallest error that
    prioritized sweeping queues. ``outcomes`` of each pair are remembered."""

    planning: Annotated[int, Field(ge=0)] = 20
    order: Literal["uniform", "prioritized"] = "uniform"
    threshold: Annotated[float, Field(ge=0)] = 1e-4
    outcomes: Count = 1


class TableModel:
    """What followed each pair (cell * choices + choice) that was tried: its newest outcomes, oldest first."""

    def __init__(self, outcomes: int, choices: int) -> None:
        self._most, self._choices = outcomes, choices
        self._known: dict[int, list[Outcome]] = {}
        self._pairs: list[int] = []
        self._before: dict[int, dict[int, None]] = {}

    def note(self, pair: int, outcome: Outcome) -> float | None:
        """Takes in what followed ``pair``; 1 where its last outcome led elsewhere, 0 where it led there, None for a new pair."""
        outcomes = self._known.get(pair)
        if outcomes is None:
            outcomes = self._known[pair] = []
            self._pairs.append(pair)
        foreseen = None if not outcomes else float(outcomes[-1][1] != outcome[1])
        outcomes.append(outcome)
        if len(outcomes) > self._most:
            del outcomes[0]
        self._before.setdefault(outcome[1], {})[pair] = None
        return foreseen

    def outcomes(self, pair: int) -> list[Outcome]:
        """What followed ``pair``."""
        return self._known[pair]

    def draw(self, count: int, generator: np.random.Generator) -> Iterable[tuple[int, Outcome]]:
        """Pairs that were seen, uniformly, and one outcome of each."""
        pairs = [self._pairs[index] for index in generator.integers(len(self._pairs), size=count).tolist()]
        for pair, chance in zip(pairs, generator.random(count).tolist(), strict=True):
            outcomes = self._known[pair]
            yield pair, outcomes[int(chance * len(outcomes))]

    def predecessors(self, pair: int) -> list[int]:
        """Pairs that led to the cell of ``pair``, as far as is remembered."""
        cell = pair // self._choices
        return [p for p in self._before.get(cell, ()) if any(following == cell for _, following in self._known[p])]

    def state_dict(self) -> dict[str, torch.Tensor]:
        """All that is remembered, as tensors."""
        flat = [outcome for pair in self._pairs for outcome in self._known[pair]]
        return {
            "pairs": torch.tensor(self._pairs, dtype=torch.int64),
            "counts": torch.tensor([len(self._known[pair]) for pair in self._pairs], dtype=torch.int64),
            "rewards": torch.tensor([reward for reward, _ in flat], dtype=torch.float64),
            "following": torch.tensor([following for _, following in flat], dtype=torch.int64),
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Becomes the model whose ``state_dict`` this is."""
        rows = iter(zip(state["rewards"].tolist(), state["following"].tolist(), strict=True))
        self._known, self._pairs, self._before = {}, [], {}
        for pair, count in zip(state["pairs"].tolist(), state["counts"].tolist(), strict=True):
            for _ in range(count):
                self.note(pair, next(rows))


class Urgent:
    """Pairs by how wrong their values are, the worst first; equal ones by number."""

    def __init__(self) -> None:
        self.errors: dict[int, float] = {}
        self._heap: list[tuple[float, int]] = []

    def put(self, pair: int, error: float) -> None:
        """Queues ``pair``, or moves it forward."""
        if error > self.errors.get(pair, 0.0):
            self.errors[pair] = error
            heapq.heappush(self._heap, (-error, pair))

    def pop(self) -> int | None:
        """Takes the worst; None where there is none."""
        while self._heap:
            error, pair = heapq.heappop(self._heap)
            # What was moved forward is still in the heap at its old place.
            if self.errors.get(pair) == -error:
                del self.errors[pair]
                return pair
        return None


class DynaQ(QLearning):
    """See the module's first lines."""

    Settings = DynaSettings

    def __init__(self, env: EnvSpec, settings: Any, seed: int, device: str = "cpu") -> None:
        super().__init__(env, settings, seed, device)
        self._model = TableModel(settings.outcomes, self.table.choices)
        self._random = np.random.default_rng(seed)
        self._urgent = Urgent()
        self._surprise = 0.0

    def update(self) -> dict[str, float]:
        if self._last is None:
            return {}
        pair, reward, following = self._last
        surprise = self._model.note(pair, (reward, following))
        if surprise is not None:
            self._surprise += _FORGETTING * (surprise - self._surprise)
        metrics = {} if surprise is None else {"model_error": surprise}
        if self.settings.order == "prioritized":
            self._last = None
            self._queue(pair)
            metrics["loss/td"] = self._sweep()
        else:
            metrics |= super().update()
            for remembered, outcome in self._model.draw(self.settings.planning, self._random):
                self._learn(remembered, self._target(*outcome))
        return metrics

    def advice(self) -> list[str]:
        if self.settings.outcomes > 1 or not self.settings.planning or self._surprise < _MANY:
            return []
        return [
            f"the model did not foresee {self._surprise:.0%} of the cells that followed: a cell leads to several others; "
            "remember more of each pair (outcomes: 10 or more), or cut the axes finer"
        ]

    def _sweep(self) -> float:
        """Updates the most urgent pairs, and queues those that lead to them; the largest error that there was."""
        largest = 0.0
        for _ in range(max(1, self.settings.planning)):
            pair = self._urgent.pop()
            if pair is None:
                break
            largest = max(largest, abs(self._learn(pair, self._expected(pair))))
            for before in self._model.predecessors(pair):
                self._queue(before)
        return largest

    def _queue(self, pair: int) -> None:
        error = abs(self._expected(pair) - self.table.values[pair])
        if error > self.settings.threshold:
            self._urgent.put(pair, error)

    def _expected(self, pair: int) -> float:
        """The mean target of what followed ``pair``."""
        outcomes = self._model.outcomes(pair)
        return sum(self._target(*outcome) for outcome in outcomes) / len(outcomes)

    def state_dict(self) -> dict[str, Any]:
        return {
            **super().state_dict(),
            "model": self._model.state_dict(),
            "random": self._random.bit_generator.state,
            "urgent": dict(self._urgent.errors),
            "surprise": self._surprise,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self._model.load_state_dict(state["model"])
        self._random.bit_generator.state = state["random"]
        self._surprise = state["surprise"]
        self._urgent = Urgent()
        for pair, error in state["urgent"].items():
            self._urgent.put(pair, error)
