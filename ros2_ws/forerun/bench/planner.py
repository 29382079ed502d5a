"""Speed of one decision by size: act.onnx on one and two threads against bare matrix products, eager torch, torch.compile and a
loop of one-step graphs.

Targets (issue 3): 60 % of the rate of the bare products on one thread from 128 hidden units up, 45 % below; faster than the three
others in every row, at least twice eager torch at ``small``; ``arm7`` within its 10 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from forerun.bench.planner_children import Failed, run_part
from forerun.bench.planner_sizes import SIZES, Size
from forerun.bench.records import Measurement, Options, Row
from forerun_models.bundle import Bundle, load
from forerun_models.recipe import Recipe
from forerun_sim.collect import collect
from forerun_sim.spec import RobotSpec

if TYPE_CHECKING:
    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.planners.sampling import SamplingPlanner

THREADS = (1, 2)
LIMITS: Mapping[str, float] = {"speed": 450.0, "compiled": 90.0, "memory": 60.0}
"""Seconds that a process of a row may take; torch.compile has its limit for the whole graph, and again for a step alone."""
TICKS: Mapping[str, float] = {"ticks": 2000, "least_ticks": 20, "warm_up": 5, "tick_seconds": 12.0, "compare_seconds": 6.0}
"""At most so many ticks, in about so many seconds; the comparison takes turns for about so many seconds."""
WHOLE_STEPS = 50
"""Of the model in one decision: torch.compile takes over a second for each, so beyond that only a step is compiled."""
EPISODES = 4


def measure(options: Options) -> Measurement:
    """A row for each size and number of threads. What gave no figure says why in ``failed``."""
    rows: list[Row] = []
    chosen = options.chosen([size.name for size in SIZES])
    sizes = [size for size in SIZES if size.name in chosen]
    for size in sizes:
        options.note(f"planner: {size.name}")
        rows += _rows(size, options)
    settings = {**TICKS, "limits": dict(LIMITS), "sizes": [_told(size) for size in sizes]}
    return Measurement("planner", rows, settings)


def _rows(size: Size, options: Options) -> list[Row]:
    folder, seed = options.work / f"planner-{size.name}", options.seeds[0]
    job: dict[str, Any] = {"size": _told(size), "seed": seed, **TICKS}
    failed: list[str] = []

    def figures(part: str, threads: tuple[int, ...], **more: Any) -> list[dict[str, Any]]:
        try:
            return run_part({**job, "part": part, "threads": threads, **more}, folder, LIMITS[part])
        except Failed as reason:
            failed.append(" ".join([part, *(name for name, value in more.items() if value), str(reason)]))
            return []

    first = figures("speed", THREADS)
    # Without act.onnx there is nothing to compare with.
    others: list[dict[str, Any]] = []
    steps = first[0]["horizon"] * first[0]["iterations"] if first else 0
    if steps > WHOLE_STEPS:
        failed.append(f"compiled whole left out: {steps} unrolled steps")
    elif first:
        others = figures("compiled", THREADS, whole=True)
    if first and not others:
        others = figures("compiled", THREADS, whole=False)
    grown = [{}] if not first else [row for count in THREADS for row in figures("memory", (count,)) or [{}]]
    rows: list[Row] = []
    for number, threads in enumerate(THREADS):
        row: dict[str, Any] = {"row": size.name, "threads": threads}
        for part in (first, others, grown):
            row |= part[number] if number < len(part) else {}
        rows.append({**row, **_verdict(size, row), "failed": "; ".join(failed), "seed": seed})
    return rows


def _verdict(size: Size, row: Mapping[str, Any]) -> dict[str, str]:
    """Which targets the figures of a row miss, by the clock on the wall: processor time counts the waiting of helper threads."""
    if "share_of_matmul" not in row:
        return {}
    hidden = row["hidden"]
    missed = []
    wanted = 0.6 if hidden >= 128 else 0.45
    if row["threads"] == 1 and row["share_of_matmul"] < wanted:
        missed.append(f"share {row['share_of_matmul']} < {wanted}")
    for name in ("eager", "plain", "compiled", "loop"):
        least = 2.0 if size.name == "small" and name in ("eager", "plain") else 1.0
        times = row.get(f"times_{name}")
        if times is not None and times < least:
            missed.append(f"{times} x {name} < {least:g}")
    if size.name == "arm7" and row["p99_ms"] > 10:
        missed.append("p99 > 10 ms")
    return {"missed": "; ".join(missed)}


def _told(size: Size) -> dict[str, Any]:
    return {**asdict(size), "planner": dict(size.planner)}


def untrained_bundle(spec: RobotSpec, recipe: Recipe, seed: int, out: Path) -> tuple[Bundle, SamplingPlanner, Ensemble]:
    """The bundle ``out`` with the sizes of ``recipe``, fitted linearly to a few trials, with its planner and model."""
    import torch

    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.export import Provenance, export_bundle
    from forerun_models.planners.make import make_exportable
    from forerun_models.training.start import build, initialise
    from forerun_models.training.windows import Windows

    torch.set_num_threads(1)
    trials = [recording.trial(spec) for recording in collect(spec, episodes=EPISODES, seed=seed, steps=200)]
    model = build(spec, recipe.model)
    assert isinstance(model, Ensemble), recipe.model.kind
    initialise(model, Windows(trials, model.features.history, 1), seed)
    export_bundle(out, model, spec, recipe, trials, Provenance({"trials": []}, seed))
    return load(out, robot=spec.name, threads=1), make_exportable(model, spec, recipe), model
