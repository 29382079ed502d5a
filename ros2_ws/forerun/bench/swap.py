"""A hundred hot swaps while the robot moves, with and without other processes that load the machine.

Two bundles with the sizes of a real one take over from each other, each after a short time as a shadow and with the model
before still watching. The loop's figures before the first announcement are the yardstick for those between the first and the
last one. Both models are fitted to a few trials, so a tolerance that refuses neither is set: what is measured is the swapping.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun.bench.load import busy, may_have
from forerun.bench.planner import untrained_bundle
from forerun.bench.records import Measurement, Options, Row, need_ros
from forerun.demo.measure import commands_of
from forerun.demo.processes import NodeProcess
from forerun.domains import own_domain
from forerun_models.bundle import Bundle, Manifest
from forerun_models.recipe import load_recipe
from forerun_sim.spec import load_robot

ROBOT = "pendulum"
RECIPE = "cartpole"
"""Whose sizes of model and planner are used."""
SWAPS = 100
QUIET = 10.0
"""Seconds of the loop without a swap, before the first."""
PRIORITY = 20
"""Real-time priority of the controller's loop, where this machine allows one."""
BUSY = 2
"""Processes that never rest, where the machine is loaded."""
SETTINGS = {"swap.shadow_ticks": 10, "swap.watch_ticks": 50, "swap.tolerance": 1000.0}


def measure(options: Options) -> Measurement:
    """Swaps done, lost ticks, periods with and without swaps, command steps, and the time from announcement to take-over."""
    need_ros()
    spec = load_robot(ROBOT)
    recipe = load_recipe(RECIPE, ROBOT).model_copy(update={"robot": ROBOT, "task": None})
    seed = options.seeds[0]
    bundles = [untrained_bundle(spec, recipe, seed + i, options.work / f"swap-{i}.bundle")[0] for i in range(2)]
    rows: list[Row] = []
    for load, priority in ((0, 0), (BUSY, 0), *([(BUSY, PRIORITY)] if may_have(PRIORITY) else [])):
        options.note(f"swap: {SWAPS} swaps, {load} other processes at work, priority {priority}")
        folder = options.work / f"swap-{load}-{priority}"
        with busy(load):
            announced, figures = _run(bundles, folder, seed, priority)
        manifest = bundles[0].manifest
        row: dict[str, str | int | float] = {"robot": ROBOT, "rate_hz": manifest.rate, "busy_processes": load, "seed": seed}
        row["priority"] = priority
        rows.append(row | _row(announced, figures, *commands_of(folder / "bag"), manifest))
    return Measurement("swap", rows, {"swaps": SWAPS, "quiet_seconds": QUIET, "recipe": RECIPE, **SETTINGS})


def _run(bundles: Sequence[Bundle], folder: Path, seed: int, priority: int) -> tuple[list[float], dict[str, Any]]:
    """When each bundle was announced [s since 1970], and the controller's figures."""
    from forerun.nodes.conductor import Conductor

    stats, announced = folder / "controller.json", []
    settings = {"bundle": str(bundles[0].path), "stats_file": str(stats), "seed": seed, "realtime_priority": priority, **SETTINGS}
    plant = {"robot": ROBOT, "seed": seed, "realtime_priority": max(priority - 5, 0)}
    recorded = {"uri": str(folder / "bag"), "robot": ROBOT, "topics": ["commands"]}
    with (
        own_domain(),
        NodeProcess("simulator", folder, plant) as simulator,
        Conductor() as conductor,
        NodeProcess("controller", folder, settings) as controller,
        NodeProcess("recorder", folder, recorded) as recorder,
    ):

        def check() -> None:
            for node in (simulator, controller, recorder):
                node.check()

        conductor.transition("configure")
        conductor.wait_for_listeners(["commands"], 2)
        conductor.transition("activate")
        conductor.wait(QUIET, check)
        for number in range(1, SWAPS + 1):
            announced.append(time.time())
            conductor.offer(bundles[number % 2].path, bundles[number % 2].digest)
        conductor.wait(1.0, check)
        conductor.transition("deactivate")
    return announced, json.loads(stats.read_text())


def _row(
    announced: Sequence[float],
    figures: Mapping[str, Any],
    times: NDArray[np.float64],
    commands: NDArray[np.float64],
    manifest: Manifest,
) -> dict[str, str | int | float]:
    events = figures["events"]
    swaps = [event for event in events if event["kind"] == "swap"]
    first = next(event for event in events if event["kind"] == "shadow")
    periods = np.array(figures["periods_ms"])
    before, during = periods[: first["tick"]], periods[first["tick"] : swaps[-1]["tick"] + 1]
    between = (times >= first["time"]) & (times <= swaps[-1]["time"])
    steps = np.abs(np.diff(commands[between], axis=0)) / (manifest.slew * manifest.tick_period)
    waits = [1e3 * (event["time"] - max(at for at in announced if at <= event["time"])) for event in swaps]
    row: dict[str, str | int | float] = {
        "swaps": len(swaps),
        "refused": sum(event["kind"] == "refused" for event in events),
        "reason": next((event["reason"] for event in events if event["kind"] == "refused"), ""),
        "rolled_back": sum(event["kind"] == "rollback" for event in events),
        "ticks": swaps[-1]["tick"] - first["tick"],
        "commands": int(between.sum()),
        "missed": figures["summary"]["missed"],
    }
    for name, values in (("before", before), ("during", during)):
        row |= {f"period_p99_{name}_ms": round(float(np.percentile(values, 99)), 3)}
        row |= {f"period_max_{name}_ms": round(float(values.max()), 3)}
        row |= {f"late_share_{name}": round(float((values > 1.5e3 * manifest.tick_period).mean()), 5)}
    row |= {"largest_step_of_slew": round(float(steps.max()), 6)}
    row |= {"takeover_p50_ms": round(float(np.median(waits)), 1), "takeover_max_ms": round(max(waits), 1)}
    return row
