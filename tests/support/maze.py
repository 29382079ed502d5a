"""The Dyna maze of Sutton and Barto (2018, example 8.1): 6 x 9 fields, a goal that is worth 1, 14 steps away."""

from __future__ import annotations

from typing import Any

import gymnasium
from gymnasium.spaces import Discrete

FIELDS = (
    ".......#G",
    "..#....#.",
    "S.#....#.",
    "..#......",
    ".....#...",
    ".........",
)
_MOVES = ((-1, 0), (1, 0), (0, 1), (0, -1))
MAZE = "test/maze-v0"


class Maze(gymnasium.Env[int, int]):
    """Observation: number of the field, row by row. Actions: up, down, right, left; a wall stops the move."""

    observation_space = Discrete(54)
    action_space = Discrete(4)

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[int, dict[str, Any]]:
        super().reset(seed=seed)
        self._row, self._column = 2, 0
        return self._number(), {}

    def step(self, action: int) -> tuple[int, float, bool, bool, dict[str, Any]]:
        row, column = self._row + _MOVES[action][0], self._column + _MOVES[action][1]
        if 0 <= row < 6 and 0 <= column < 9 and FIELDS[row][column] != "#":
            self._row, self._column = row, column
        over = FIELDS[self._row][self._column] == "G"
        return self._number(), float(over), over, False, {}

    def _number(self) -> int:
        return 9 * self._row + self._column


gymnasium.register(MAZE, entry_point=Maze)
