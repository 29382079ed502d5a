"""What a report shows, whatever made it: the demo, a training run, an evaluation. Absent parts are left out of the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Numbers = Sequence[float] | NDArray[Any]


@dataclass(frozen=True)
class Row:
    """A figure before and after fine-tuning; ``after`` stays None where there is only one. ``better`` says which way is good."""

    name: str
    before: float | str | None
    after: float | str | None = None
    unit: str = ""
    better: Literal["higher", "lower"] | None = None


@dataclass(frozen=True)
class Curve:
    """Errors per epoch of one training, on the training batches and on held-out trials."""

    name: str
    train: Numbers
    validation: Numbers


@dataclass(frozen=True)
class Episode:
    """One run of the controlled robot on the control grid.

    Attributes:
        states: [T, S], positions then velocities, SI.
        actions: [T, A], commands, physical units.
        period: grid period [s].
        total: sum of the rewards.
        success: whether the task's success criterion was met.
        seed: of the episode, for the table.
    """

    states: NDArray[Any]
    actions: NDArray[Any]
    period: float
    total: float
    success: bool
    seed: int | None = None

    @property
    def duration(self) -> float:
        """Length of the run [s]."""
        return len(self.states) * self.period


@dataclass(frozen=True)
class Ticks:
    """Timing of the control loop [s]: between ticks, from state to command, of computing; ``period`` is the nominal one."""

    period: float
    periods: Numbers
    latency: Numbers = ()
    compute: Numbers = ()
    missed: int = 0
    swaps: int = 0


@dataclass(frozen=True)
class Verdict:
    """What the gate of fine-tuning decided, and why; ``checks`` are those of the verdict file: ``name``, ``figure`` (None
    where nobody could judge), ``passed``, ``text``."""

    promoted: bool
    reason: str
    checks: Sequence[Mapping[str, Any]] = ()


@dataclass(frozen=True)
class ReportData:
    """A report. Names and units are those of robot.yaml.

    Attributes:
        title: heading of the page.
        subtitle: one sentence on what was done.
        headline: the result in one sentence; made from the episodes if empty.
        rows: the summary table.
        curves: learning curves.
        k_step: RMSE by label and number of steps: ``{"before": {1: 0.05, ...}, "after": {...}}``.
        before, after: episodes with the first and with the fine-tuned model.
        joints, actions: their names; ``joint_units`` and ``action_units`` fit them.
        robot: name, folder or robot.yaml; its URDF is drawn.
        ticks, verdict: see there.
        settings, seeds: name -> value.
        machine: what it ran on.
        files: name -> path of what was written.
    """

    title: str
    subtitle: str = ""
    headline: str = ""
    rows: Sequence[Row] = ()
    curves: Sequence[Curve] = ()
    k_step: Mapping[str, Mapping[int, float]] = field(default_factory=dict)
    before: Sequence[Episode] = ()
    after: Sequence[Episode] = ()
    joints: Sequence[str] = ()
    actions: Sequence[str] = ()
    joint_units: Sequence[str] = ()
    action_units: Sequence[str] = ()
    robot: str | None = None
    ticks: Ticks | None = None
    verdict: Verdict | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    seeds: Mapping[str, Any] = field(default_factory=dict)
    machine: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_mapping(cls, content: Mapping[str, Any]) -> ReportData:
        """A report from plain data, as JSON would hold it.

        Raises:
            TypeError: a key is unknown or missing.
        """
        values = dict(content)
        values["rows"] = [Row(**row) for row in values.get("rows", ())]
        values["curves"] = [Curve(**curve) for curve in values.get("curves", ())]
        values["k_step"] = {
            label: {int(k): float(error) for k, error in errors.items()} for label, errors in values.get("k_step", {}).items()
        }
        for side in ("before", "after"):
            values[side] = [_episode(episode) for episode in values.get(side, ())]
        if values.get("ticks") is not None:
            values["ticks"] = Ticks(**values["ticks"])
        if values.get("verdict") is not None:
            values["verdict"] = Verdict(**values["verdict"])
        return cls(**values)


def _episode(values: Mapping[str, Any]) -> Episode:
    arrays = {name: np.asarray(values[name], dtype=np.float64) for name in ("states", "actions")}
    return Episode(**{**values, **arrays})


def percentiles(values: Numbers) -> dict[str, float] | None:
    """p50, p99 and max of the finite ``values``, in their unit; None where there are none."""
    kept = np.asarray(values, dtype=np.float64)
    kept = kept[np.isfinite(kept)]
    if not len(kept):
        return None
    p50, p99 = np.percentile(kept, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "max": float(kept.max())}


def median_episode(episodes: Sequence[Episode]) -> int | None:
    """Index of the episode with the (lower) median of the returns."""
    if not episodes:
        return None
    order = np.argsort([episode.total for episode in episodes], kind="stable")
    return int(order[(len(order) - 1) // 2])


def headline(data: ReportData) -> str:
    """The result in one sentence: what the report says, or what its episodes show."""
    if data.headline or not (data.before or data.after):
        return data.headline
    parts = []
    for name, episodes in (("Before fine-tuning", data.before), ("after", data.after)):
        if episodes:
            won = sum(episode.success for episode in episodes)
            median = float(np.median([episode.total for episode in episodes]))
            parts.append(f"{name}: {won} of {len(episodes)} episodes succeeded, median return {median:.4g}")
    sentence = "; ".join(parts) + "."
    return sentence[0].upper() + sentence[1:]


def summary(data: ReportData) -> dict[str, Any]:
    """The figures of a report without its traces, for machines."""
    ticks = data.ticks
    return {
        "title": data.title,
        "headline": headline(data),
        "summary": {row.name: {"before": row.before, "after": row.after, "unit": row.unit} for row in data.rows},
        "episodes": {side: [_outcome(episode) for episode in getattr(data, side)] for side in ("before", "after")},
        "median_return": {
            side: float(np.median([episode.total for episode in getattr(data, side)])) if getattr(data, side) else None
            for side in ("before", "after")
        },
        "k_step": {label: {str(k): error for k, error in errors.items()} for label, errors in data.k_step.items()},
        "learning": {
            curve.name: {"epochs": len(curve.validation), "best": min((float(v) for v in curve.validation), default=None)}
            for curve in data.curves
        },
        "ticks": ticks
        and {
            "nominal_period_s": ticks.period,
            "count": len(ticks.periods),
            "missed": ticks.missed,
            "swaps": ticks.swaps,
            "period_s": percentiles(ticks.periods),
            "latency_s": percentiles(ticks.latency),
            "compute_s": percentiles(ticks.compute),
        },
        "verdict": data.verdict and asdict(data.verdict),
        "settings": data.settings,
        "seeds": data.seeds,
        "machine": data.machine,
        "files": data.files,
    }


def _outcome(episode: Episode) -> dict[str, Any]:
    return {"seed": episode.seed, "return": episode.total, "success": episode.success, "duration_s": episode.duration}
