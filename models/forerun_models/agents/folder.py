"""A run of `forerun learn` on the disk: what was asked for, its curve, its checkpoint and, in the end, its agent."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from forerun_models.agents.best import Best, Row, best_of
from forerun_models.training.state import read_state, write_state
from forerun_sim.errors import InputError
from forerun_sim.files import write_file
from forerun_sim.spec import Strict, load_yaml, validate

FORMAT = 1
COLUMNS = ("env_steps", "wall_s", "eval_return_mean", "eval_return_std", "model_error")
"""Columns that every curve has, in this order, before further ones."""
EPISODE_COLUMNS = ("env_steps", "return", "length")
_REMEDY = "delete the run and learn anew"


class About(Strict):
    """What decides a run, beside the number of its steps. ``settings`` are the agent's, in full; ``start`` are the digests of the
    trials that it began with."""

    format: int = FORMAT
    env: str
    options: dict[str, Any]
    imports: tuple[str, ...]
    agent: str
    settings: dict[str, Any]
    seed: int
    eval_every: int
    eval_episodes: int
    start: tuple[str, ...] = ()
    offline_updates: int = 0


class Folder:
    """Files of one run:

    learn.yaml      ``About``
    progress.csv    a row an evaluation, also while the run goes on
    episodes.csv    a row an episode in which it learned: its last step, return and length
    checkpoint.pt   the loop and the agent at the end of an episode
    best/           the agent of the evaluation with the highest return
    agent.pt        the agent when the run was done; its presence says that it is
    advice.txt      what the user was told, with the step
    tensorboard/    curves
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._checkpoint = path / "checkpoint.pt"
        self._best = Best(path / "best")

    @property
    def finished(self) -> bool:
        return (self.path / "agent.pt").is_file()

    def begin(self, about: About, resume: bool) -> dict[str, Any] | None:
        """Prepares the folder for a run that is not finished; gives the checkpoint to go on from, None where the run begins.

        Raises:
            InputError: something is there without ``resume``, or it belongs to another run.
        """
        used = self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir()))
        if used and not resume:
            raise InputError(f"{self.path}: exists already; choose another folder, or give --resume to go on with its run")
        if used and (self.path / "learn.yaml").exists():
            self._same(about)
        state = read_state(self._checkpoint, _REMEDY) if self._checkpoint.exists() else None
        (self.path / "agent.pt").unlink(missing_ok=True)
        self.path.mkdir(parents=True, exist_ok=True)
        write_file(self.path / "learn.yaml", yaml.safe_dump(about.model_dump(mode="json"), sort_keys=False))
        return state

    def about(self) -> About:
        """What was asked for.

        Raises:
            InputError: this is no run of `forerun learn`, or one of another version.
        """
        file = self.path / "learn.yaml"
        if not file.is_file():
            raise InputError(f"{self.path}: is no run of 'forerun learn' (no learn.yaml)")
        data = load_yaml(file)
        if isinstance(data, dict) and data.get("format") != FORMAT:
            raise InputError(f"{file}: has format {data.get('format')}, this version reads {FORMAT}; learn anew")
        return validate(About, data, file)

    def save(self, loop: Mapping[str, Any], agent: Mapping[str, Any]) -> None:
        """Writes the checkpoint; ``loop`` holds the curve so far as ``rows``."""
        write_state(self._checkpoint, {"loop": dict(loop), "agent": dict(agent)})
        self._best.settle(loop["rows"])

    def finish(self, agent: Mapping[str, Any]) -> None:
        """Writes the agent that a run ended with."""
        write_state(self.path / "agent.pt", {"agent": dict(agent)})

    def agent_state(self, best: bool = False) -> dict[str, Any]:
        """``state_dict`` of the agent that the run ended with, or of the one that did ``best`` in an evaluation.

        Raises:
            InputError: the run has not ended, or was learned by a version that did not keep the best.
        """
        if not self.finished:
            raise InputError(f"{self.path}: its run has not ended: go on with 'forerun learn ... --resume'")
        if best:
            return self._best.state(int(self.row(best)["env_steps"]), "take the one that the run ended with (--last)")
        found: dict[str, Any] = read_state(self.path / "agent.pt", _REMEDY)["agent"]
        return found

    def row(self, best: bool) -> Row:
        """The last evaluation, or the ``best``; errors as of ``rows``."""
        rows = self.rows()
        return best_of(rows) if best else rows[-1]

    def begin_curve(self, rows: Sequence[Row]) -> None:
        """The curve goes on from ``rows``, those of the checkpoint: what was kept of later evaluations is void."""
        self._best.settle(rows)

    def keep_if_best(self, rows: Sequence[Row], agent: Callable[[], Mapping[str, Any]]) -> None:
        """Writes the ``agent`` of the newest of ``rows``, if none did better."""
        if best_of(rows) is rows[-1]:
            self._best.keep(int(rows[-1]["env_steps"]), agent())

    def write_rows(self, rows: Sequence[Row]) -> None:
        """Writes the whole curve; a number that a row does not know is left empty."""
        self._write_table("progress.csv", COLUMNS, rows)

    def write_episodes(self, rows: Sequence[Row]) -> None:
        """Writes what every episode so far has earned."""
        self._write_table("episodes.csv", EPISODE_COLUMNS, rows)

    def _write_table(self, name: str, first: Sequence[str], rows: Sequence[Row]) -> None:
        names = list(dict.fromkeys((*first, *(name for row in rows for name in row))))
        text = io.StringIO()
        writer = csv.DictWriter(text, names, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        write_file(self.path / name, text.getvalue())

    def rows(self) -> list[Row]:
        """The curve so far.

        Raises:
            InputError: there is none, or a line of it is damaged.
        """
        return self._table("progress.csv", "with at least one evaluation")

    def episodes(self) -> list[Row]:
        """What every episode so far has earned; errors as of ``rows``."""
        return self._table("episodes.csv", "with at least one episode")

    def _table(self, name: str, wanted: str) -> list[Row]:
        file = self.path / name
        if not file.is_file():
            raise InputError(f"{self.path}: has no {name}; is it a run of 'forerun learn' {wanted}?")
        try:
            with file.open(newline="") as lines:
                return [{name: float(text) for name, text in row.items() if text} for row in csv.DictReader(lines)]
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{file}: is no curve: {error}") from error

    def write_advice(self, advice: Sequence[tuple[int, str]]) -> None:
        """Writes what the user was told, and at which step."""
        if advice:
            write_file(self.path / "advice.txt", "".join(f"{step}: {text}\n" for step, text in advice))

    def _same(self, about: About) -> None:
        before = self.about()
        for name in About.model_fields:
            then, now = getattr(before, name), getattr(about, name)
            if then != now and name != "imports":
                raise InputError(f"{self.path}: began with another {name} ({then}, now {now}); resume with the same")
