"""Q-learning (Watkins 1989; Sutton and Barto 2018, section 6.5): a table of values, learned from what happens alone.

    Q(s, a) <- Q(s, a) + alpha (r + gamma max_a' Q(s', a') - Q(s, a))

Continuous observations become cells of a grid and actions some levels of each number. Explores with probability epsilon, and
among equal values chooses by chance.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from forerun_models.agents.base import Action, Actor, Agent, EnvSpec, Observation, PolicyGraph, Step
from forerun_models.agents.grid import Axis, Grid, Numbered, checked_size, choices_of, grid_of
from forerun_sim.errors import InputError
from forerun_sim.spec import Strict
from forerun_sim.spec.base import Finite

Fraction = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1)]


class TableSettings(Strict):
    """``axes`` and ``bins``: see ``Grid``. ``levels`` of each number of an action. ``initial`` is every value before it is
    learned: an optimistic one makes the agent try everything."""

    axes: tuple[Axis, ...] = ()
    bins: Count = 10
    levels: Count = 3
    learning_rate: Fraction = 0.1
    discount: Fraction = 0.95
    epsilon: Fraction = 0.1
    initial: Finite = 0.0


class Table:
    """Values Q [cells, choices], in one list: single numbers are read and written far more quickly there than in an array."""

    def __init__(self, cells: int, choices: int, initial: float) -> None:
        self.choices = choices
        self.values = [initial] * (cells * choices)

    def row(self, cell: int) -> list[float]:
        """Values of the choices in ``cell``."""
        return self.values[cell * self.choices : (cell + 1) * self.choices]

    def best(self, cell: int) -> float:
        """max_a Q(s, a); 0 where ``cell`` is -1: the end."""
        return max(self.row(cell)) if cell >= 0 else 0.0


class TableActor(Actor):
    """Epsilon-greedy; equal values by chance. Without epsilon the first of the best: repeatable, and the same in a bundle."""

    def __init__(self, table: Table, grid: Grid | Numbered, actions: NDArray[np.float32] | None, epsilon: float) -> None:
        self._table, self._grid, self._actions, self._epsilon = table, grid, actions, epsilon
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)

    def act(self, observation: Observation) -> Action:
        row = self._table.row(self._grid.cell(observation))
        best = max(row)
        if not self._epsilon:
            choice = row.index(best)
        elif self._random.random() < self._epsilon:
            choice = int(self._random.integers(len(row)))
        else:
            ties = [index for index, value in enumerate(row) if value == best]
            choice = ties[int(self._random.integers(len(ties)))] if len(ties) > 1 else ties[0]
        return choice if self._actions is None else self._actions[choice]


class TablePolicy(PolicyGraph):
    """The greedy action in each cell."""

    def __init__(self, grid: Grid, greedy: Tensor) -> None:
        super().__init__()
        self._grid, self._greedy = grid, greedy

    def forward(self, observation: Tensor) -> tuple[Tensor]:
        """[1, O] -> [1, A]."""
        return (self._greedy[self._grid.cells_of(observation)],)


class QLearning(Agent):
    """See the module's first lines."""

    Settings = TableSettings
    discrete = numbered_states = True

    def __init__(self, env: EnvSpec, settings: Any, seed: int, device: str = "cpu") -> None:
        super().__init__(env, settings, seed, device)
        self.grid = grid_of(env, settings.axes, settings.bins)
        self.actions = choices_of(env, settings.levels)
        choices = env.discrete if self.actions is None else len(self.actions)
        assert choices is not None
        checked_size(env, self.grid.cells, choices)
        self.table = Table(self.grid.cells, choices, settings.initial)
        self._last: tuple[int, float, int] | None = None

    def actor(self, explore: bool) -> Actor:
        return TableActor(self.table, self.grid, self.actions, self.settings.epsilon if explore else 0.0)

    def observe(self, step: Step) -> None:
        pair = self.grid.cell(step.observation) * self.table.choices + self._choice(step.action)
        self._last = pair, step.reward, -1 if step.terminated else self.grid.cell(step.following)

    def _choice(self, action: Action) -> int:
        """The choice that is nearest to ``action``."""
        if self.actions is None:
            return int(action)
        return int(((self.actions - action) ** 2).sum(axis=1).argmin())

    def update(self) -> dict[str, float]:
        if self._last is None:
            return {}
        pair, reward, following = self._last
        self._last = None
        return {"loss/td": abs(self._learn(pair, self._target(reward, following)))}

    def _target(self, reward: float, following: int) -> float:
        """r + gamma max_a' Q(s', a')."""
        discount: float = self.settings.discount
        return reward + discount * self.table.best(following)

    def _learn(self, pair: int, target: float) -> float:
        """Moves Q(s, a) towards ``target``; the error that it had."""
        error = target - self.table.values[pair]
        self.table.values[pair] += self.settings.learning_rate * error
        return error

    def policy_graph(self) -> PolicyGraph:
        if self.actions is None or isinstance(self.grid, Numbered):
            raise InputError("only a table over a grid of observations and actions can be exported")
        values = torch.tensor(self.table.values, dtype=torch.float64).reshape(-1, self.table.choices)
        return TablePolicy(self.grid, torch.as_tensor(self.actions)[values.argmax(dim=1)])

    def state_dict(self) -> dict[str, Any]:
        return {"table": torch.tensor(self.table.values, dtype=torch.float64)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.table.values = state["table"].tolist()
