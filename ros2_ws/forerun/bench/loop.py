"""The control loop as it runs on a robot: simulator and controller as processes over DDS, tick times from the controller itself.

The model is untrained: tick times depend on the sizes, not on the weights. The robot has no position limits that it could meet.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from forerun.bench.planner import untrained_bundle
from forerun.bench.records import Measurement, Options, Row, need_ros
from forerun.demo.live import own_domain
from forerun.demo.processes import NodeProcess
from forerun.plain import plain
from forerun_models.recipe import load_recipe
from forerun_sim.errors import ForerunError
from forerun_sim.spec import load_robot

ROBOT = "pendulum"
RECIPE = "cartpole"
"""Whose sizes of model and planner are used."""
SECONDS = 20.0
_START = 15.0
"""Seconds that the processes may take to find each other."""


def measure(options: Options) -> Measurement:
    """Tick period, computing time and state-to-command latency of a real-time loop, alone on the machine as it is."""
    need_ros()
    spec = load_robot(ROBOT)
    recipe = load_recipe(RECIPE, ROBOT).model_copy(update={"robot": ROBOT, "task": None})
    seed = options.seeds[0]
    bundle, *_ = untrained_bundle(spec, recipe, seed, options.work / "loop.bundle")
    options.note(f"loop: {SECONDS:g} s of {spec.control.rate:g} Hz")
    figures = _run(bundle.path, options.work / "loop", seed)
    summary = figures["summary"]
    row: dict[str, str | int | float] = {"robot": ROBOT, "rate_hz": spec.control.rate, "seed": seed}
    for name in ("period", "compute", "latency"):
        row |= {f"{name}_{part}_ms": round(value, 3) for part, value in (summary[f"{name}_ms"] or {}).items()}
    row |= {"ticks": summary["ticks"], "missed": summary["missed"]}
    row |= {f"ticks_{verdict}": count for verdict, count in figures["verdicts"].items()}
    rows: list[Row] = [row]
    return Measurement(
        "loop", rows, {"seconds": SECONDS, "recipe": RECIPE, "planner": plain(recipe.planner.model_dump(mode="json"))}
    )


def _run(bundle: Path, folder: Path, seed: int) -> dict[str, Any]:
    stats = folder / "controller.json"
    settings = {"bundle": str(bundle), "autostart": True, "stats_file": str(stats), "seed": seed}
    with own_domain(), NodeProcess("simulator", folder, {"robot": ROBOT, "seed": seed}) as simulator:
        with NodeProcess("controller", folder, settings) as controller:
            deadline = time.monotonic() + _START + SECONDS
            while time.monotonic() < deadline:
                time.sleep(0.2)
                simulator.check()
                controller.check()
        if not stats.exists():
            raise ForerunError(f"the controller left no figures; the end of its log:\n{controller.tail()}")
    figures: dict[str, Any] = json.loads(stats.read_text())
    if not figures["summary"]["ticks"]:
        raise ForerunError(f"the controller made no tick; the end of its log:\n{controller.tail()}")
    return figures
