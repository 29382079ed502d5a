"""Learning curves of several runs beside each other, with intervals that a few seeds allow (Agarwal et al. 2021, rliable).

Runs of one agent with the same settings are a group; in each environment their returns are a sample, one a seed. The middle is
the interquartile mean, its interval the percentiles of a bootstrap that draws runs anew within each environment (stratified).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from forerun_models.agents.best import Row
from forerun_models.agents.folder import Folder
from forerun_sim.errors import InputError

Array = NDArray[np.float64]
_MOST_POINTS = 200
DRAWS = 2000
THRESHOLD = 0.9
"""Where no threshold is given: this part of the way from the lowest to the highest return that any run had in the environment."""


def iqm(scores: ArrayLike, axis: int = 0) -> Array:
    """Interquartile mean: of N sorted scores a quarter (rounded down) is left out at either end."""
    ordered = np.sort(np.asarray(scores, float), axis=axis)
    count = ordered.shape[axis]
    cut = int(0.25 * count)
    middle = np.take(ordered, range(cut, count - cut), axis=axis)
    return np.asarray(middle.mean(axis=axis))


def bootstrap(strata: Sequence[ArrayLike], seed: int = 0, draws: int = DRAWS, level: float = 0.95) -> tuple[Array, Array]:
    """Interval of the interquartile mean over all runs of all strata, from runs drawn anew, with replacement, in each stratum.

    Args:
        strata: an array [runs, ...] each (the runs of one environment); all the same but for the number of runs.
        seed: of the draws.
        draws: how many.
        level: that lies within the interval.

    Returns:
        Lower and upper end [...].
    """
    generator = np.random.default_rng(seed)
    samples = [np.asarray(stratum, float) for stratum in strata]
    drawn = [runs[generator.integers(len(runs), size=(draws, len(runs)))] for runs in samples]
    low, high = np.quantile(iqm(np.concatenate(drawn, axis=1), axis=1), [0.5 - level / 2, 0.5 + level / 2], axis=0)
    return np.asarray(low), np.asarray(high)


@dataclass(frozen=True)
class Run:
    """A run's curve. ``wall`` [s] is without evaluations, as far as the run tells."""

    folder: Path
    env: str
    agent: str
    settings: Mapping[str, Any]
    seed: int
    rows: Sequence[Row]

    @property
    def steps(self) -> Array:
        return self._column("env_steps")

    @property
    def returns(self) -> Array:
        return self._column("eval_return_mean")

    @property
    def wall(self) -> Array:
        return self._column("wall_s") - self._column("eval_wall_s")

    def reached(self, threshold: float) -> int | None:
        """Index of the first evaluation that is no worse than ``threshold``."""
        there = np.flatnonzero(self.returns >= threshold)
        return int(there[0]) if len(there) else None

    def _column(self, name: str) -> Array:
        return np.array([row.get(name, 0.0) for row in self.rows])


@dataclass(frozen=True)
class Group:
    """The runs of one agent in one environment, as one curve.

    Attributes:
        env, label: which.
        runs: of it, one a seed.
        steps: [T] of the curve.
        middle, low, high: [T] interquartile mean of the return and the ends of its 95 % interval.
        final: the same three numbers of the last evaluations.
        threshold: that is looked for.
    """

    env: str
    label: str
    runs: Sequence[Run]
    steps: Array
    middle: Array
    low: Array
    high: Array
    final: tuple[float, float, float]
    threshold: float

    def row(self) -> dict[str, Any]:
        """What a table says of it. Steps and times to the threshold are medians of the runs, none where half never reach it."""
        reached = [run.reached(self.threshold) for run in self.runs]
        there = [(run, index) for run, index in zip(self.runs, reached, strict=True) if index is not None]
        steps = sorted([float(run.steps[index]) for run, index in there])
        walls = sorted([float(run.wall[index]) for run, index in there])
        half = (len(self.runs) + 1) // 2
        return {
            "env": self.env,
            "agent": self.label,
            "runs": len(self.runs),
            "env_steps": int(min(run.steps[-1] for run in self.runs)),
            "return_iqm": self.final[0],
            "return_low": self.final[1],
            "return_high": self.final[2],
            "threshold": self.threshold,
            "reached": len(there),
            "steps_to_threshold": steps[half - 1] if len(steps) >= half else None,
            "wall_s_to_threshold": walls[half - 1] if len(walls) >= half else None,
            "wall_s": float(np.median([run.wall[-1] for run in self.runs])),
            "wall_ms_per_step": float(np.median([1e3 * run.wall[-1] / run.steps[-1] for run in self.runs])),
        }


def load_runs(folders: Sequence[Path]) -> list[Run]:
    """The runs in ``folders``, finished or not.

    Raises:
        InputError: a folder holds none, or one is named twice.
    """
    runs = []
    for folder in folders:
        files = Folder(folder)
        about, rows = files.about(), files.rows()
        if not rows:
            raise InputError(f"{folder}: its progress.csv has no evaluation yet")
        environment = about.env + "".join(f" {name}={value}" for name, value in sorted(about.options.items()))
        runs.append(Run(folder, environment, about.agent, about.settings, about.seed, rows))
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise InputError("a run is named twice; each counts once")
    return runs


def compare(runs: Sequence[Run], threshold: float | None = None, seed: int = 0) -> list[Group]:
    """Groups of ``runs``, by environment and agent.

    Args:
        runs: at least one.
        threshold: return to look for in every environment; if absent see ``THRESHOLD``.
        seed: of the bootstrap.

    Raises:
        InputError: two runs of a group have the same seed, or those of a group have no steps in common.
    """
    labels = _labels(runs)
    groups = []
    for env in dict.fromkeys(run.env for run in runs):
        here = [run for run in runs if run.env == env]
        low, high = min(run.returns.min() for run in here), max(run.returns.max() for run in here)
        wanted = float(low + THRESHOLD * (high - low)) if threshold is None else threshold
        for label in dict.fromkeys(labels[run.folder] for run in here):
            groups.append(_group(env, label, [run for run in here if labels[run.folder] == label], wanted, seed))
    return groups


def over_environments(groups: Sequence[Group], seed: int = 0) -> list[dict[str, Any]]:
    """Of agents that ran in the same two or more environments: IQM of final returns over all of them, with its interval.

    Returns are scaled in each environment: 0 is the lowest final return of any run there, 1 the highest.
    """
    envs = list(dict.fromkeys(group.env for group in groups))
    rows = []
    for label in dict.fromkeys(group.label for group in groups):
        mine = [group for group in groups if group.label == label]
        if len(envs) < 2 or len(mine) < len(envs):
            continue
        strata = [_scaled(group, [g for g in groups if g.env == group.env]) for group in mine]
        low, high = bootstrap(strata, seed)
        rows.append(
            {"agent": label, "environments": len(envs), "score_iqm": float(iqm(np.concatenate(strata)))}
            | {"score_low": float(low), "score_high": float(high)}
        )
    return rows


def _scaled(group: Group, all_here: Sequence[Group]) -> Array:
    finals = [float(run.returns[-1]) for other in all_here for run in other.runs]
    width = max(finals) - min(finals) or 1.0
    return (np.array([run.returns[-1] for run in group.runs]) - min(finals)) / width


def _group(env: str, label: str, runs: Sequence[Run], threshold: float, seed: int) -> Group:
    seeds = [run.seed for run in runs]
    if len(set(seeds)) < len(seeds):
        twice = next(number for number in seeds if seeds.count(number) > 1)
        names = ", ".join(str(run.folder) for run in runs if run.seed == twice)
        raise InputError(f"{names}: the same agent, settings, environment and seed {twice}; compare runs of different seeds")
    first, last = max(run.steps[0] for run in runs), min(run.steps[-1] for run in runs)
    if first > last:
        names = ", ".join(str(run.folder) for run in runs)
        raise InputError(f"{names}: have no steps in common, so there is no curve of them together")
    steps = np.unique(np.concatenate([run.steps for run in runs]))
    steps = steps[(steps >= first) & (steps <= last)]
    steps = steps[np.unique(np.linspace(0, len(steps) - 1, min(len(steps), _MOST_POINTS)).round().astype(int))]
    curves = np.array([np.interp(steps, run.steps, run.returns) for run in runs])
    low, high = bootstrap([curves], seed)
    finals = np.array([run.returns[-1] for run in runs])
    least, most = bootstrap([finals], seed)
    final = float(iqm(finals)), float(least), float(most)
    return Group(env, label, runs, steps, iqm(curves), low, high, final, threshold)


def _labels(runs: Sequence[Run]) -> dict[Path, str]:
    """The agent's name, and those settings in which the runs of that agent differ."""
    labels = {}
    for run in runs:
        same = [_flat(other.settings) for other in runs if other.agent == run.agent]
        mine = _flat(run.settings)
        differing = [key for key, value in mine.items() if any(other.get(key) != value for other in same)]
        labels[run.folder] = " ".join([run.agent, *(f"{key}={mine[key]}" for key in differing)])
    return labels


def _flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in settings.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
