"""The whole demo, once a seed: wall time, scores before and after fine-tuning, tick times."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from forerun.bench.records import Measurement, Options, Row, need_ros
from forerun_sim.errors import ForerunError


def measure(options: Options) -> Measurement:
    """Runs ``forerun demo`` as a user would, and reads the figures beside its report."""
    need_ros()
    rows: list[Row] = []
    for seed in options.seeds:
        options.note(f"demo: seed {seed}")
        began = time.perf_counter()
        figures = _run(seed, options.work / f"demo-{seed}")
        rows.append({"seed": seed, "wall_s": round(time.perf_counter() - began, 1), **_row(figures)})
    return Measurement("demo", rows, {"robot": "cartpole", "engine": "mujoco"})


def _run(seed: int, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "forerun.cli.main", "demo", "--seed", str(seed), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise ForerunError(f"the demo with seed {seed} ended with exit code {done.returncode}:\n{done.stderr[-2000:]}")
    # The path of the report is the last line of what it prints.
    report = Path(done.stdout.splitlines()[-1])
    figures: dict[str, Any] = json.loads(report.with_suffix(".json").read_text())
    return figures


def _row(figures: Mapping[str, Any]) -> dict[str, str | int | float]:
    row: dict[str, str | int | float] = {}
    for side, episodes in figures["episodes"].items():
        returns = [episode["return"] for episode in episodes]
        row[f"{side}_median_return"] = round(figures["median_return"][side], 3)
        row[f"{side}_returns"] = " ".join(f"{value:.2f}" for value in returns)
        row[f"{side}_successes"] = sum(episode["success"] for episode in episodes)
        row[f"{side}_episodes"] = len(episodes)
    ticks = figures["ticks"]
    for name, key in (("period", "period_s"), ("latency", "latency_s"), ("compute", "compute_s")):
        row |= {f"{name}_{part}_ms": round(value * 1e3, 3) for part, value in (ticks[key] or {}).items()}
    row |= {"ticks": ticks["count"], "missed_ticks": ticks["missed"], "swaps": ticks["swaps"]}
    row["promoted"] = int(figures["verdict"]["promoted"])
    row["demo_s"] = figures["settings"]["seconds"]
    return row
