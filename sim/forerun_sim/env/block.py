"""Some of the environments of a vector environment, run one after another by one process."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forerun_sim.env.board import Board
from forerun_sim.env.episodes import Episodes, Outcome
from forerun_sim.env.settings import EnvSettings


class Block:
    """Environments ``first`` to ``last`` - 1 of those on ``board``.

    ``same_step`` begins the next episode in the call in which one ends, else the next call does, whatever its action is.
    """

    def __init__(self, settings: EnvSettings, board: Board, first: int, last: int, same_step: bool) -> None:
        self._board = board
        self._rows = range(first, last)
        self._part = slice(first, last)
        self._same_step = same_step
        self._episodes = [Episodes(settings) for _ in self._rows]

    def reset(self, seeds: Sequence[int | None] | None, options: Mapping[str, Any], chosen: Sequence[bool] | None) -> None:
        """Begins episodes: number 0 of each environment's seed, the next one where that is None.

        Args:
            seeds: [N] of all environments, not only of these.
            options: as ``Episodes.begin`` takes them, for all.
            chosen: [N] which of all environments; all where None.
        """
        self._clear()
        for row, episodes in zip(self._rows, self._episodes, strict=True):
            if chosen is not None and not chosen[row]:
                continue
            seed = None if seeds is None else seeds[row]
            if seed is not None:
                episodes.reseed(seed)
            self._board.observations[row] = self._begin(row, episodes, options)

    def step(self) -> None:
        """One control period of each environment, with the actions on the board."""
        board, part = self._board, self._part
        self._clear()
        observations, rewards, terminated, truncated = [], [], [], []
        for row, episodes, action in zip(self._rows, self._episodes, board.actions[part].tolist(), strict=True):
            if episodes.over:
                observation, outcome = self._begin(row, episodes, None), _BEGUN
            else:
                observation, outcome = episodes.step(action)
                if outcome.terminated or outcome.truncated:
                    observation = self._end(row, episodes, observation, outcome)
            observations.append(observation)
            rewards.append(outcome.reward)
            terminated.append(outcome.terminated)
            truncated.append(outcome.truncated)
        board.observations[part] = observations
        board.rewards[part] = rewards
        board.terminated[part] = terminated
        board.truncated[part] = truncated

    def _clear(self) -> None:
        self._board.began[self._part] = False
        self._board.ended[self._part] = False

    def _begin(self, row: int, episodes: Episodes, options: Mapping[str, Any] | None) -> list[float]:
        board = self._board
        observation = episodes.begin(options)
        board.began[row] = True
        board.seeds[row], board.episodes[row] = episodes.seed, episodes.episode
        board.parameters[row] = list(episodes.plant.parameters.values())
        board.goals[row] = episodes.goal
        return observation

    def _end(self, row: int, episodes: Episodes, observation: list[float], outcome: Outcome) -> list[float]:
        board = self._board
        board.ended[row] = True
        board.success[row] = -1 if outcome.success is None else outcome.success
        board.unstable[row] = bool(outcome.unstable)
        if not self._same_step:
            return observation
        board.final_observations[row] = observation
        return self._begin(row, episodes, None)

    def close(self) -> None:
        """Gives the engines' memory back. May be called twice."""
        for episodes in self._episodes:
            episodes.close()


_BEGUN = Outcome(0.0, False, False)
