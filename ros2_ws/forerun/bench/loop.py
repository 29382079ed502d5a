"""The control loop as it runs on a robot: simulator and controller as processes over DDS, alone on the machine and with other
processes that load it, at several rates, beside a bare rclpy timer that does nothing.

The models are untrained: tick times depend on the sizes, not on the weights. The robot has no position limits that it could
meet, its disagreement is not watched, and a stop for lack of plans ends by itself: what is measured is the loop.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from forerun.bench.load import busy, may_have
from forerun.bench.planner import untrained_bundle
from forerun.bench.records import Measurement, Options, Row, need_ros
from forerun.control.statistics import percentiles
from forerun.demo.processes import NodeProcess
from forerun.domains import own_domain
from forerun_models.bundle import CAUSES, write
from forerun_models.bundle.parity import from_npz
from forerun_models.recipe import Recipe, load_recipe
from forerun_sim.errors import ForerunError
from forerun_sim.spec import RobotSpec, load_robot

ROBOT = "pendulum"
RECIPE = "cartpole"
"""Whose model and planner are shrunk to what fits the rate."""
PRIORITY = 20
PAIRS = ((50, 250), (100, 500))
"""Rates [Hz]; the bare timers of a pair run at the same time, they hardly do anything."""
_START = 20.0
"""Seconds that the processes may take to find each other."""
_WARM_UP = 2.0
"""Seconds at the beginning that do not count."""


@dataclass(frozen=True)
class _Sizes:
    members: int
    hidden: int
    horizon: int
    samples: int
    iterations: int


_SIZES = {
    50: _Sizes(5, 64, 35, 48, 2),
    100: _Sizes(5, 64, 20, 32, 2),
    250: _Sizes(3, 32, 10, 24, 1),
    500: _Sizes(3, 32, 8, 16, 1),
}


@dataclass(frozen=True)
class _Trial:
    rate: int
    load: int
    priority: int


def measure(options: Options) -> Measurement:
    """Period error, state-to-command latency, missed ticks and ticks without a plan, a row for each rate, load and kind."""
    need_ros()
    seed, cores = options.seeds[0], os.cpu_count() or 1
    rates = [int(rate) for rate in options.chosen([str(rate) for rate in _SIZES])]
    bundles = {rate: _bundle(rate, options.work, seed) for rate in rates}
    priorities = (0, PRIORITY) if may_have(PRIORITY) else (0,)
    rows: list[Row] = []
    for load in (0, cores):
        for rate in rates:
            for priority in priorities:
                trial = _Trial(rate, load, priority)
                options.note(f"loop: {options.seconds:g} s of {rate} Hz, {load} busy processes, priority {priority}")
                rows.append(_controller(trial, *bundles[rate], options.work, seed, options.seconds))
        for pair in PAIRS:
            timers = tuple(rate for rate in pair if rate in rates)
            options.note(f"loop: {options.seconds:g} s of bare timers, {load} busy processes")
            rows += _timers(timers, load, options.work, options.seconds) if timers else []
    settings = {"seconds": options.seconds, "warm_up": _WARM_UP, "robot": ROBOT, "recipe": RECIPE, "timers_at_once": PAIRS}
    return Measurement("loop", rows, settings)


def _robot(rate: int, work: Path) -> RobotSpec:
    """The robot at another control rate, in a folder of its own."""
    folder = work / f"{ROBOT}-{rate}"
    shutil.copytree(load_robot(ROBOT).folder, folder, dirs_exist_ok=True)
    path = folder / "robot.yaml"
    content = yaml.safe_load(path.read_text())
    content["control"]["rate"] = rate
    # A tenth of a second without a plan, as at the robot's own rate; the simulator's physics steps once a period at least.
    content["safety"] |= {"max_misses": max(5, rate // 10), "disagreement_factor": 0}
    content["safety"] |= {"on_stale": "resume", "on_misses": "resume"}
    path.write_text(yaml.safe_dump(content))
    return load_robot(path)


def _recipe(rate: int) -> Recipe:
    sizes = _SIZES[rate]
    recipe = load_recipe(RECIPE, ROBOT)
    elites = min(recipe.planner.elites, sizes.samples // 2)
    planner = {"horizon": sizes.horizon, "samples": sizes.samples, "iterations": sizes.iterations, "elites": elites}
    model = {"members": sizes.members, "hidden": sizes.hidden, "elites": min(recipe.model.elites, sizes.members)}
    return recipe.model_copy(
        update={
            "robot": ROBOT,
            "task": None,
            "planner": recipe.planner.model_copy(update=planner),
            "model": recipe.model.model_copy(update=model),
        }
    )


def _bundle(rate: int, work: Path, seed: int) -> tuple[Path, Path]:
    """The bundle's folder and the robot.yaml for ``rate``.

    The graphs are made for the robot's own rate: for their speed it is all the same, and the few trials that an untrained
    model is fitted to hold enough motion there.
    """
    safety = _robot(rate, work).safety
    made, *_ = untrained_bundle(load_robot(ROBOT), _recipe(rate), seed, work / f"made-{rate}.bundle")
    manifest = replace(
        made.manifest,
        rate=float(rate),
        command_rate=float(rate),
        max_misses=safety.max_misses,
        disagreement_factor=safety.disagreement_factor,
        recovery={cause: getattr(safety, f"on_{cause}") for cause in CAUSES},
    )
    graphs = {name: (made.path / name).read_bytes() for name in ("act.onnx", "dynamics.onnx")}
    cases = from_npz((made.path / "parity.npz").read_bytes(), str(made.path))
    return write(work / f"loop-{rate}.bundle", manifest, graphs, cases), work / f"{ROBOT}-{rate}" / "robot.yaml"


def _controller(trial: _Trial, bundle: Path, robot: Path, work: Path, seed: int, seconds: float) -> Row:
    folder = work / f"loop-{trial.rate}-{trial.load}-{trial.priority}"
    stats = folder / "controller.json"
    settings = {"bundle": str(bundle), "autostart": True, "stats_file": str(stats), "seed": seed}
    settings |= {"realtime_priority": trial.priority}
    plant = {"robot": str(robot), "seed": seed, "realtime_priority": max(trial.priority - 5, 0)}
    with own_domain(), busy(trial.load), NodeProcess("simulator", folder, plant) as simulator:
        with NodeProcess("controller", folder, settings) as controller:
            wait(_START / 4 + _WARM_UP + seconds, simulator, controller)
        if not stats.exists():
            raise ForerunError(f"the controller left no figures; the end of its log:\n{controller.tail()}")
    figures: dict[str, Any] = json.loads(stats.read_text())
    row = {"kind": "controller", "priority": trial.priority, **_common(trial.rate, trial.load)}
    return row | loop_figures(figures, trial.rate, seconds) | vars(_SIZES[trial.rate])


def wait(seconds: float, *processes: NodeProcess) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        time.sleep(0.2)
        for process in processes:
            process.check()


def _common(rate: int, load: int) -> dict[str, str | int | float]:
    return {"rate_hz": rate, "busy_processes": load}


def loop_figures(figures: dict[str, Any], rate: int, seconds: float) -> dict[str, str | int | float]:
    """Of the newest ``seconds`` of a run."""
    verdicts = figures["verdict_each"][-round(rate * seconds) :]
    if not verdicts:
        raise ForerunError("the controller made no tick")
    count = len(verdicts)
    row = _period_error(np.array(figures["periods_ms"][1 - count :]), rate)
    row |= _parts("latency", np.array(figures["latency_ms"][-count:]))
    row |= _parts("compute", np.array(figures["compute_ms"][-count:]))
    bridged, planned = verdicts.count("bridged"), verdicts.count("plan")
    return row | {"ticks": count, "bridged": bridged, "neither_plan_nor_bridge": count - planned - bridged}


def _period_error(periods: NDArray[np.float64], rate: int) -> dict[str, str | int | float]:
    """|period - nominal| [ms], and the deadlines that passed without a tick."""
    nominal = 1e3 / rate
    missed = np.maximum(np.rint(periods / nominal) - 1, 0)
    return _parts("period_error", np.abs(periods - nominal)) | {"missed": int(missed.sum())}


def _parts(name: str, values: NDArray[np.float64]) -> dict[str, str | int | float]:
    return {f"{name}_{part}_ms": round(value, 3) for part, value in (percentiles(values) or {}).items()}


def _timers(rates: tuple[int, ...], load: int, work: Path, seconds: float) -> list[Row]:
    folder = work / f"timers-{load}"
    files = {rate: folder / f"timer-{rate}.json" for rate in rates}
    with own_domain(), busy(load), ExitStack() as nodes:
        started = [
            nodes.enter_context(NodeProcess("bare_timer", folder, {"rate": float(rate), "file": str(file)}, f"timer-{rate}"))
            for rate, file in files.items()
        ]
        wait(_WARM_UP + 1.0 + seconds, *started)
    rows: list[Row] = []
    for rate, file in files.items():
        times = np.array(json.loads(file.read_text()), dtype=np.int64)
        periods = np.diff(times)[-round(rate * seconds) :] * 1e-6
        row = {"kind": "bare timer", "priority": 0, **_common(rate, load)}
        rows.append(row | _period_error(periods, rate) | {"ticks": len(periods)})
    return rows
