"""The live loop: what a trainer that trains on the same cores costs the control loop, and whether it grows in hours.

- **loop**: the cartpole's ready bundle at its 50 Hz on a foreign robot in real time: alone, and with a trainer that begins its
  next training as soon as the last one has ended. In turns; rows are medians.
- **endurance**: a bag of ten minutes, played to a trainer with a small quota: memory of the trainer and of its trainings, what
  they keep on the disk, and the newest candidate's prediction error beside its parent's, a row a minute of the bag.
- **change**: the plant changes while a trainer learns beside its controller (``live_change``), a row an episode.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from forerun.bench.live_change import CHANGES, change_rows, life_of
from forerun.bench.load import may_have
from forerun.bench.loop import PRIORITY, loop_figures, wait
from forerun.bench.pieces import Pieces
from forerun.bench.records import Measurement, Options, Row, need_ros
from forerun.demo.processes import NodeProcess
from forerun.domains import own_domain
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.resources import bundle_folder

ROBOT = "cartpole"
RATE = 50
KINDS: dict[str, Mapping[str, Any] | None] = {"alone": None, "training": {"every": 1.0, "piece": 1.0}}
"""Parameters of the trainer; None: there is none."""
COLLECTED = 10.0
"""Seconds before the measurement in which the trainer gets something to train on."""
MINUTES = 10
QUOTA = 0.25
"""Megabytes: ten minutes of cartpole are 0.6."""
EPISODE = 20.0
"""Seconds of a trial."""
PLAYBACK = 2.0
"""How many times as fast as the robot the bag is played."""


def measure(options: Options) -> Measurement:
    """Period errors with and without a trainer, and memory and disk over simulated minutes."""
    need_ros()
    chosen, rows = options.chosen(["loop", "endurance", "change"]), []
    if "loop" in chosen:
        rows += _loop(options)
    if "endurance" in chosen:
        rows += _endurance(options.work / "endurance", options.seeds[0], options.note)
    if "change" in chosen:
        for robot in options.robots or tuple(CHANGES):
            rows += _change(robot, options)
    settings = {
        "seconds": options.seconds,
        "turns": len(options.seeds),
        "minutes": MINUTES,
        "quota_mb": QUOTA,
        "playback": PLAYBACK,
        "robot": ROBOT,
    }
    return Measurement("live", rows, settings)


def _change(robot: str, options: Options) -> list[Row]:
    if robot not in CHANGES:
        raise InputError(f"--robot: no change is planned for '{robot}'; there are: {', '.join(CHANGES)}")
    home, rows = (options.kept or options.work) / f"change_{robot}", []
    for seed in options.seeds:
        pieces = Pieces(home, lambda text: options.note(f"live: {robot}: {text}"), len(options.seeds))

        def work(folder: Path, seed: int = seed) -> dict[str, Any]:
            return {"rows": [dict(row) for row in change_rows(life_of(robot, bundle_folder(robot), seed), folder, options.note)]}

        rows += pieces.done(f"seed_{seed}", work)["rows"]
    return rows


# The loop's deadlines --------------------------------------------------------------------------------------------------------


def _loop(options: Options) -> list[Row]:
    priorities = (0, PRIORITY) if may_have(PRIORITY) else (0,)
    taken: dict[tuple[str, int], list[Row]] = {}
    for turn in options.seeds:
        for priority in priorities:
            for kind, trainer in KINDS.items():
                options.note(f"live: {options.seconds:g} s {kind}, priority {priority}, turn {turn + 1} of {len(options.seeds)}")
                folder = options.work / f"{kind}-{priority}-{turn}"
                taken.setdefault((kind, priority), []).append(_turn(folder, trainer, priority, turn, options.seconds))
    return [
        {"kind": kind, "priority": priority, "part": "loop", "rate_hz": RATE, **_medians(rows)}
        for (kind, priority), rows in taken.items()
    ]


def _turn(folder: Path, trainer: Mapping[str, Any] | None, priority: int, seed: int, seconds: float) -> Row:
    stats, learning = folder / "controller.json", folder / "learning"
    plant = {"robot": ROBOT, "engine": "mujoco", "randomize": False, "seed": seed, "realtime_priority": max(priority - 5, 0)}
    control = {"bundle": ROBOT, "autostart": True, "stats_file": str(stats), "seed": seed, "realtime_priority": priority}
    learn: dict[str, Any] = {"bundle": ROBOT, "folder": str(learning), "seed": seed, **(trainer or {})}
    with own_domain(), NodeProcess("simulator", folder, plant) as simulator:
        with NodeProcess("controller", folder, control) as controller:
            if trainer is None:
                wait(COLLECTED + seconds, simulator, controller)
            else:
                with NodeProcess("trainer", folder, learn) as node:
                    used = _watch(COLLECTED + seconds, simulator, controller, node)
                    trained = _verdicts(learning)
        if not stats.exists():
            raise ForerunError(f"the controller left no figures; the end of its log:\n{controller.tail()}")
    figures: dict[str, Any] = json.loads(stats.read_text())
    begun, ended, promoted = (0, 0, 0) if trainer is None else trained
    counts: dict[str, str | int | float] = {
        "trainings_begun": begun,
        "trainings": ended,
        "promoted": promoted,
        "swaps": figures["swaps"],
    }
    if trainer is not None:
        counts["training_cpu_share"] = round(used, 3)
    return loop_figures(figures, RATE, seconds) | counts


def _watch(seconds: float, simulator: NodeProcess, controller: NodeProcess, trainer: NodeProcess) -> float:
    """Waits; which share of a core the trainings used in the second half."""
    used: dict[int, float] = {}
    wait(seconds / 2, simulator, controller, trainer)
    before = {child: _cpu(child) for child in _children(trainer.pid)}
    deadline = time.monotonic() + seconds / 2
    while time.monotonic() < deadline:
        wait(0.2, simulator, controller, trainer)
        used |= {child: max(_cpu(child), used.get(child, 0.0)) for child in _children(trainer.pid)}
    return sum(value - before.get(child, 0.0) for child, value in used.items()) / (seconds / 2)


def _medians(rows: list[Row]) -> Row:
    """Of each figure; the largest of a turn as well where that is what counts."""
    medians: dict[str, str | int | float] = {
        name: round(statistics.median(float(row[name]) for row in rows if name in row), 3) for row in rows for name in row
    }
    worst = {f"{name}_worst": max(float(row[name]) for row in rows) for name in ("period_error_p99_ms", "missed")}
    return medians | worst


def _verdicts(learning: Path) -> tuple[int, int, int]:
    """Trainings that began, that came to a verdict, and that were promoted."""
    records = learning / "records.json"
    begun = json.loads(records.read_text())["generation"] if records.exists() else 0
    found = [json.loads(path.read_text()) for path in (learning / "bundles").glob("*.verdict.json")]
    return begun, len(found), sum(verdict["promoted"] for verdict in found)


# Memory and disk -------------------------------------------------------------------------------------------------------------


def _endurance(folder: Path, seed: int, note: Callable[[str], None]) -> list[Row]:
    bag, learning = folder / "bag", folder / "learning"
    note(f"live: simulates {MINUTES} minutes")
    steps = round(EPISODE * RATE)
    words = ["--episodes", str(round(60 * MINUTES / EPISODE)), "--steps", str(steps), "--engine", "mujoco", "--seed", str(seed)]
    command = [sys.executable, "-m", "forerun.cli.main", "simulate", ROBOT, *words, "--out", str(bag)]
    subprocess.run(command, check=True, capture_output=True)
    # Played fast, an hour of trainings has to fit into minutes: they share the machine.
    learn: dict[str, Any] = {"bundle": ROBOT, "folder": str(learning), "quota": QUOTA, "step_back": False}
    played = {"uri": str(bag), "rate": PLAYBACK}
    rows: list[Row] = []
    largest = 0.0
    with own_domain(), NodeProcess("trainer", folder, learn) as trainer, NodeProcess("player", folder, played) as player:
        while not list((learning / "trials").glob("*.piece")):
            wait(0.1, trainer, player)
        began = time.monotonic()
        while len(rows) < MINUTES - 1:
            wait(0.5, trainer, player)
            largest = max(largest, sum(_memory(child) for child in _children(trainer.pid)))
            passed = time.monotonic() - began
            if passed * PLAYBACK >= 60 * (len(rows) + 1):
                note(f"live: {60 * (len(rows) + 1)} s of {60 * MINUTES} are played")
                rows.append(_row(learning, trainer.pid, passed * PLAYBACK, passed, largest))
    return rows


def _row(learning: Path, trainer: int, simulated: float, wall: float, largest: float) -> Row:
    begun, ended, promoted = _verdicts(learning)
    row: dict[str, str | int | float] = {
        "part": "endurance",
        "simulated_s": round(simulated),
        "wall_s": round(wall, 1),
        "trainer_mb": round(_memory(trainer), 1),
        "largest_training_mb": round(largest, 1),
        "trials_kb": round(_bytes((learning / "trials").glob("*")) / 1024, 1),
        "bundles_mb": round(_bytes((learning / "bundles").rglob("*")) / 2**20, 2),
        "trainings_begun": begun,
        "trainings": ended,
        "promoted": promoted,
    }
    verdicts = sorted((learning / "bundles").glob("*.verdict.json"))
    if verdicts:
        newest = json.loads(verdicts[-1].read_text())
        row |= {f"{name}_error": round(newest[f"{name}_error"], 5) for name in ("parent", "candidate")}
    return row


def _children(process: int) -> list[int]:
    try:
        return [int(number) for number in Path(f"/proc/{process}/task/{process}/children").read_text().split()]
    except OSError:
        return []


def _cpu(process: int) -> float:
    """Seconds of processor time; 0 of a process that has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _memory(process: int) -> float:
    """Resident memory [MiB]; 0 of a process that has ended."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((float(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS")), 0.0)


def _bytes(paths: Iterable[Path]) -> int:
    total = 0
    for path in paths:
        try:
            total += path.stat().st_size if path.is_file() else 0
        except OSError:
            continue
    return total
