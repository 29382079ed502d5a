"""Work whose worker is killed in the middle, as a machine short of memory or a person with kill -9 does."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np

from forerun_sim.errors import InputError
from forerun_sim.excitation import Excitation, Policy
from forerun_sim.sensors import Reading
from forerun_sim.spec import RobotSpec


@dataclass(frozen=True)
class Mortal:
    """Makes exploratory policies; those begun as the n-th of all, n in ``deaths``, kill their process with signal 9 half way.

    ``folder``: where all processes count together."""

    folder: Path
    deaths: tuple[int, ...]

    def __call__(self, spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> Policy:
        inner = Excitation(spec, task, rng, steps)
        dies = begun(self.folder) in self.deaths

        def policy(step: int, reading: Reading) -> Any:
            if dies and step == steps // 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return inner(step, reading)

        return policy


def begun(folder: Path) -> int:
    """How many had begun before, over all processes."""
    count = 0
    while True:
        try:
            (folder / f"begun-{count}").touch(exist_ok=False)
        except FileExistsError:
            count += 1
        else:
            return count


def refusing(spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> NoReturn:
    """A policy factory that refuses to make any."""
    raise InputError("no policy today")


@contextmanager
def doubling() -> Iterator[Any]:
    """Work that doubles numbers; a million and more at a time where it is asked for big ones."""
    yield lambda number: np.full(1 + 200_000 * (number % 3), 2 * number)


def steady(spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> Policy:
    """The policy of one unit of command, all the time."""
    return lambda step, reading: np.ones(spec.action_size)


@dataclass(frozen=True)
class MortalSteady:
    """``steady``, whose process is killed with signal 9 half way through the episode that is begun as the n-th of all."""

    folder: Path
    death: int

    def __call__(self, spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> Policy:
        dies = begun(self.folder) == self.death

        def policy(step: int, reading: Reading) -> Any:
            if dies and step == steps // 2:
                os.kill(os.getpid(), signal.SIGKILL)
            return np.ones(spec.action_size)

        return policy
