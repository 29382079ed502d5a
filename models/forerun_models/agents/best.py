"""The agent that did best in an evaluation so far, kept beside the one that a run ends with: learning does not only climb."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from forerun_models.training.state import read_state, write_state
from forerun_sim.errors import InputError

Row = dict[str, float]
"""A point of the curve: ``env_steps``, ``wall_s``, ``eval_return_mean`` and what else is known there."""


def best_of(rows: Sequence[Row]) -> Row:
    """The evaluation with the highest mean return; of equal ones the latest. ``rows`` is not empty."""
    return max(rows, key=lambda row: (row["eval_return_mean"], row["env_steps"]))


class Best:
    """Agents in ``folder``, as STEPS.pt: the best of all evaluations, and the best of those that the last checkpoint knows, from
    which a killed run goes on. So the choice does not depend on when a run was killed."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._settled: set[int] = set()

    def keep(self, steps: int, agent: Mapping[str, Any]) -> None:
        """Writes the agent that did best, after so many ``steps``."""
        self._folder.mkdir(parents=True, exist_ok=True)
        write_state(self._file(steps), {"agent": dict(agent)})
        self._keep_only({steps, *self._settled})

    def settle(self, rows: Sequence[Row]) -> None:
        """A checkpoint knows these ``rows``: no other's agent will be wanted."""
        self._settled = {int(best_of(rows)["env_steps"])} if rows else set()
        self._keep_only(self._settled)

    def state(self, steps: int, remedy: str) -> dict[str, Any]:
        """``state_dict`` of the agent after so many ``steps``.

        Raises:
            InputError: it is not there, or damaged; ``remedy`` says what to do then.
        """
        file = self._file(steps)
        if not file.is_file():
            raise InputError(f"{file}: the agent that did best is not there (learned by an earlier version?); {remedy}")
        found: dict[str, Any] = read_state(file, remedy)["agent"]
        return found

    def _file(self, steps: int) -> Path:
        return self._folder / f"{steps}.pt"

    def _keep_only(self, steps: set[int]) -> None:
        kept = {self._file(one) for one in steps}
        for file in self._folder.glob("*.pt"):
            if file not in kept:
                file.unlink()
