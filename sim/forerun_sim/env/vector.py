"""Many environments of one kind at once, in worker processes over shared memory: Gymnasium's vector environment."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from gymnasium.error import ClosedEnvironmentError, ResetNeeded
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space
from numpy.typing import ArrayLike, NDArray

from forerun_sim.env.block import Block
from forerun_sim.env.board import Board, Sizes
from forerun_sim.env.episodes import OPTIONS
from forerun_sim.env.interface import Interface
from forerun_sim.env.settings import EnvSettings, env_settings
from forerun_sim.env.workers import Workers
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec

MASK = "reset_mask"
"""Option of ``reset``: which environments it is for, bool [N]; all if absent."""
Info = dict[str, Any]
Step = tuple[NDArray[np.float32], NDArray[np.float64], NDArray[np.bool_], NDArray[np.bool_], Info]


class RobotVectorEnv(VectorEnv[Any, Any, Any]):
    """``num_envs`` environments as ``RobotEnv`` describes them. Environment i is the single one with the seed s + i, whatever
    ``workers`` is.

    An episode that is over begins anew by itself: with ``NEXT_STEP`` in the next step, whose action then counts for nothing and
    whose reward is 0; with ``SAME_STEP`` in the same one, which then returns the new episode's first observation, and the old
    one's last as ``infos["final_obs"]``.

    ``infos``, each key with its mask ``_<key>`` [N]: where an episode began ``seed`` and ``episode_number`` int64 [N] and
    ``parameters`` float64 [N, P] (``parameter_names``); where one ended ``unstable``, and ``success`` and ``is_success`` where
    the task says what success is, bool [N]; with ``SAME_STEP`` those are in ``final_info``. Leave episodes with ``unstable`` out
    of training; ``unstable_episodes`` counts them.

    Args:
        num_envs: N.
        robot, task, settings: as ``forerun_sim.env.settings.env_settings`` takes them.
        workers: processes to spread the environments over, no more than there are environments; 0 runs them in this process; one
            for each core that this process may use if absent.
        autoreset_mode: ``NEXT_STEP`` or ``SAME_STEP``.

    Raises:
        InputError: a setting is wrong, or the robot cannot be simulated.
        ForerunError: a worker process died, also later; the message says which. Nothing is left running.
    """

    metadata = {"render_modes": []}  # noqa: RUF012 (as Gymnasium declares it)

    def __init__(
        self,
        num_envs: int = 1,
        robot: str | Path | RobotSpec = "",
        task: str | None = None,
        *,
        workers: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        **settings: Any,
    ) -> None:
        if num_envs < 1:
            raise InputError(f"num_envs {num_envs}: must be at least 1")
        if workers is not None and workers < 0:
            raise InputError(f"workers {workers}: must be 0 or more")
        mode = AutoresetMode(autoreset_mode)
        if mode is AutoresetMode.DISABLED:
            raise InputError("autoreset_mode 'Disabled' is not available; allowed: NextStep, SameStep")
        self.closed = True
        chosen = env_settings(robot, task, **settings)
        interface = Interface(chosen)
        self.robot, self.task, self.num_envs = chosen.robot, chosen.task, num_envs
        self.metadata = {**type(self).metadata, "autoreset_mode": mode}
        self.single_observation_space = interface.observation_space()
        self.single_action_space = interface.action_space()
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_names = interface.observation_names()
        self.parameter_names = _parameter_names(chosen)
        self.unstable_episodes = 0
        self._same_step = mode is AutoresetMode.SAME_STEP
        self._seeded = False
        sizes = Sizes(
            num_envs, chosen.robot.action_size, len(self.observation_names), len(self.parameter_names), len(chosen.goal)
        )
        count = min(num_envs, len(os.sched_getaffinity(0)) if workers is None else workers)
        self._runner: Block | Workers
        self._board: Board
        if count == 0:
            self._board = Board(sizes)
            self._runner = Block(chosen, self._board, 0, num_envs, self._same_step)
        else:
            self._runner = Workers(chosen, sizes, count, self._same_step)
            self._board = self._runner.board
        self.closed = False

    @property
    def processes(self) -> tuple[int, ...]:
        """Ids of the worker processes; none with ``workers=0``."""
        return self._runner.processes if isinstance(self._runner, Workers) else ()

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[NDArray[np.float32], Info]:
        """Begins episodes.

        Args:
            seed: a number s, which gives environment i the seed s + i, or one per environment; None goes on with the next
                episodes of the seeds that there are (drawn by chance at the very first reset).
            options: as ``RobotEnv.reset`` takes them, for all; ``reset_mask`` [N] bool says for which environments.
        """
        self._open()
        options = dict(options or {})
        mask = options.pop(MASK, None)
        if unknown := sorted(set(options) - set(OPTIONS)):
            raise InputError(f"reset takes no options named {unknown}; there are: {', '.join((*OPTIONS, MASK))}")
        chosen = None if mask is None else np.asarray(mask)
        if chosen is not None and (chosen.shape != (self.num_envs,) or chosen.dtype != np.bool_):
            raise InputError(f"{MASK}: needs {self.num_envs} truth values, got {chosen.dtype} of shape {chosen.shape}")
        if chosen is not None and not self._seeded:
            raise ResetNeeded(f"the first reset is for all environments: leave out {MASK}")
        seeds = self._seeds(seed)
        self._runner.reset(seeds, _plain(options), None if chosen is None else chosen.tolist())
        self._seeded = True
        return self._board.observations.copy(), self._beginnings({})

    def _seeds(self, seed: int | Sequence[int | None] | None) -> list[int | None] | None:
        if seed is None and self._seeded:
            return None
        super().reset(seed=seed if isinstance(seed, int) else None)
        if seed is None:
            seed = int(self.np_random.integers(2**31))
        seeds = [seed + index for index in range(self.num_envs)] if isinstance(seed, (int, np.integer)) else list(seed)
        if len(seeds) != self.num_envs or not all(one is None or one >= 0 for one in seeds):
            raise InputError(f"seed: needs a number not below 0, or {self.num_envs} of them")
        return [None if one is None else int(one) for one in seeds]

    def step(self, actions: ArrayLike) -> Step:
        """One control period of every environment under ``actions`` [N, A].

        Raises:
            InputError: the actions have another shape, or are not finite.
            ForerunError: a worker process died.
        """
        self._open()
        if not self._seeded:
            raise ResetNeeded("no episode has begun: call reset() first")
        numbers, board = np.asarray(actions, dtype=float), self._board
        if numbers.shape != board.actions.shape or not np.isfinite(numbers).all():
            raise InputError(f"actions of shape {numbers.shape}: needs finite numbers of shape {board.actions.shape}")
        board.actions[:] = numbers
        self._runner.step()
        infos: Info = self._endings() if board.ended.any() else {}
        if board.began.any():
            infos = self._beginnings(infos)
        return board.observations.copy(), board.rewards.copy(), board.terminated.copy(), board.truncated.copy(), infos

    def _beginnings(self, infos: Info) -> Info:
        board = self._board
        for key, values in (
            ("seed", board.seeds),
            ("episode_number", board.episodes),
            ("parameters", board.parameters),
            ("goal", board.goals),
        ):
            infos[key], infos[f"_{key}"] = values.copy(), board.began.copy()
        return infos

    def _endings(self) -> Info:
        board, ended = self._board, self._board.ended.copy()
        unstable, told = board.unstable & ended, ended & (board.success >= 0)
        self.unstable_episodes += int(unstable.sum())
        infos: Info = {"unstable": unstable, "_unstable": ended}
        if told.any():
            for key in ("success", "is_success"):
                infos[key], infos[f"_{key}"] = told & (board.success > 0), told.copy()
        if not self._same_step:
            return infos
        last = np.full(self.num_envs, None, dtype=object)
        for row in np.flatnonzero(ended):
            last[row] = board.final_observations[row].copy()
        return {"final_obs": last, "_final_obs": ended.copy(), "final_info": infos, "_final_info": ended.copy()}

    def close_extras(self, **kwargs: Any) -> None:
        """Ends the worker processes and gives the simulators' memory back."""
        self._runner.close()

    def _open(self) -> None:
        if self.closed:
            raise ClosedEnvironmentError("the vector environment is closed")


def _parameter_names(settings: EnvSettings) -> tuple[str, ...]:
    """Names of the plant's parameters. What is wrong with the robot shows here, before any process starts."""
    plant = Plant(settings.robot, engine=settings.engine, task=settings.task, randomize=settings.randomize)
    try:
        return tuple(plant.parameters)
    finally:
        plant.close()


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Options as JSON values."""

    def plain(value: Any) -> Any:
        if isinstance(value, np.ndarray | np.generic):
            return value.tolist()
        if isinstance(value, Mapping):
            return {key: plain(inner) for key, inner in value.items()}
        return [plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value

    return {key: plain(value) for key, value in options.items()}
