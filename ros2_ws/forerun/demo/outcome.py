"""The demo's report: what was run, measured and learned."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forerun.demo.live import Session
from forerun.demo.measure import score, swap_report, trials_of
from forerun.evaluation import evaluate
from forerun.report import Curve, Episode, ReportData, Row, Ticks, Verdict
from forerun_models.bundle import Bundle, load
from forerun_models.training.run import Run
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction


@dataclass(frozen=True)
class Outcome:
    """What a finished demo leaves."""

    name: str
    engine: str
    seed: int
    folder: Path
    robot: RobotSpec
    task: TaskFunction
    run: Run
    bundle: Bundle
    session: Session


def demo_report(outcome: Outcome, seconds: Mapping[str, float]) -> ReportData:
    """The report; ``seconds`` says how long each step took. Prediction is judged on trials that no model was trained on."""
    robot, task, session, run = outcome.robot, outcome.task, outcome.session, outcome.run
    unseen = trials_of(session.bags[1], robot, session.after)
    duration = task.task.duration
    before = [score(trial, task, duration) for trial in trials_of(session.bags[0], robot, session.before)]
    after = [score(trial, task, duration) for trial in unseen]
    k_step = {"simulated model": evaluate(outcome.bundle, unseen).rows["this bundle"]}
    if session.swapped:
        k_step["fine-tuned model"] = evaluate(load(outcome.folder / "bundle_tuned"), unseen).rows["this bundle"]
    swap = swap_report(session.figures, session.bags[1], outcome.bundle.manifest)
    return ReportData(
        title=f"Forerun: {robot.name}, {task.name}",
        subtitle=(
            f"A model learned in randomized PyBullet controls a robot that training never saw (engine {outcome.engine}), "
            "first as it is, then fine-tuned on the bag that was recorded meanwhile."
        ),
        rows=_rows(before, after, k_step, swap),
        curves=[Curve("simulation", [e.train for e in run.epochs], [e.validation for e in run.epochs]), *_tuning(session)],
        k_step=k_step,
        before=before,
        after=after,
        joints=robot.joint_names,
        actions=robot.action_names,
        joint_units=["m" if joint.type == "prismatic" else "rad" for joint in robot.joints],
        action_units=["N" if joint.type == "prismatic" else "Nm" for joint in robot.actuated],
        robot=outcome.name,
        ticks=_ticks(session.figures, robot.control.period),
        verdict=Verdict(*(session.verdict[name] for name in ("promoted", "reason", "checks"))),
        settings={
            "seconds": round(sum(seconds.values()), 1),
            **{f"seconds, {name}": value for name, value in seconds.items()},
            "ticks by verdict": session.figures["verdicts"],
            "hot swap": swap,
            "recipe": run.recipe.as_data(),
        },
        seeds={"seed": outcome.seed, "episodes before": [e.seed for e in before], "episodes after": [e.seed for e in after]},
        machine={
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "python": platform.python_version(),
        },
        files={
            "bundle": str(outcome.bundle.path),
            "fine-tuned bundle": str(outcome.folder / "bundle_tuned") if session.swapped else "",
            "bags": [str(bag) for bag in session.bags],
        },
    )


def _tuning(session: Session) -> list[Curve]:
    epochs = session.verdict.get("epochs", [])
    return [Curve("fine-tuning", [e["train"] for e in epochs], [e["validation"] for e in epochs])] if epochs else []


def _ticks(figures: Mapping[str, Any], period: float) -> Ticks:
    return Ticks(
        period=period,
        periods=_seconds(figures["periods_ms"]),
        latency=_seconds(figures["latency_ms"]),
        compute=_seconds(figures["compute_ms"]),
        missed=int(figures["summary"]["missed"]),
        swaps=int(figures["swaps"]),
    )


def _seconds(milliseconds: Sequence[float | None]) -> np.ndarray[Any, Any]:
    return np.array([np.nan if value is None else value for value in milliseconds], dtype=float) * 1e-3


def _rows(
    before: Sequence[Episode], after: Sequence[Episode], k_step: Mapping[str, Mapping[int, float]], swap: Mapping[str, Any]
) -> list[Row]:
    first, last = next(iter(k_step.values())), list(k_step.values())[-1]
    medians = [float(np.median([episode.total for episode in side])) for side in (before, after)]
    held = [f"{sum(episode.success for episode in side)} of {len(side)}" for side in (before, after)]
    rows = [Row("median return", medians[0], medians[1], better="higher"), Row("goal reached and held", held[0], held[1])]
    rows += [
        Row(f"prediction error after {k} steps", first[k], last[k] if len(k_step) > 1 else None, better="lower")
        for k in (10, 25)
        if k in first
    ]
    if swap["missed_ticks"] is not None:
        rows.append(Row("ticks missed around the hot swap", None, swap["missed_ticks"]))
        rows.append(Row("largest command step around it, as a share of slew", None, swap["largest_step_of_slew"]))
    return rows
