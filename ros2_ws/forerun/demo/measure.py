"""What the demo's bags and figures say."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from forerun.bags import load_trials
from forerun.report import Episode
from forerun_models.bundle import Manifest
from forerun_sim.errors import ForerunError
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction
from forerun_sim.trial import Trial

_AROUND_SWAP = 2.0
"""Seconds before and after a hot swap in which the commands are looked at."""


def trials_of(bag: Path, robot: RobotSpec, ids: Sequence[str]) -> list[Trial]:
    """The trials of ``bag`` with these ids, in their order, each the longest piece that was recorded of it."""
    found: dict[str, Trial] = {}
    for trial in load_trials(bag, robot, note=lambda text: None):
        name = str(trial.meta.get("id", ""))
        if name not in found or len(trial) > len(found[name]):
            found[name] = trial
    missing = [name for name in ids if name not in found]
    if missing:
        raise ForerunError(f"{bag}: the trials {missing} were not recorded")
    return [found[name] for name in ids]


def score(trial: Trial, task: TaskFunction, duration: float) -> Episode:
    """The first ``duration`` seconds of a trial, with the sum of its rewards and whether it succeeded.

    Where the recording broke off, the mean reward of what there is stands for the rest.
    """
    whole = round(duration / trial.period)
    rows = min(len(trial), whole)
    states, actions = trial.states[:rows].astype(float), trial.actions[:rows].astype(float)
    goal = np.broadcast_to(task.default_goal, (rows - 2, task.goal_size))
    rewards = task.reward(np, states[2:], actions[1:-1], actions[:-2], goal)
    return Episode(
        states=states,
        actions=actions,
        period=trial.period,
        total=float(rewards.mean() * (whole - 2)),
        success=task.success(states, trial.period),
        seed=trial.meta.get("episode"),
    )


def swap_report(figures: dict[str, Any], bag: Path, manifest: Manifest) -> dict[str, Any]:
    """How the hot swap went: ticks missed and the largest change of a command near it, as a share of what slew allows.

    ``None`` values where there was no swap.
    """
    swaps = [event for event in figures["events"] if event["kind"] == "swap"]
    if not swaps:
        return {"missed_ticks": None, "largest_step_of_slew": None, "longest_period_ms": None}
    times, commands = commands_of(bag)
    near = np.abs(times - swaps[-1]["time"]) < _AROUND_SWAP
    steps = np.abs(np.diff(commands[near], axis=0)) / (manifest.slew * manifest.period)
    tick, reach = swaps[-1]["tick"], round(_AROUND_SWAP * manifest.command_rate)
    periods = np.array(figures["periods_ms"][max(0, tick - reach) : tick + reach])
    return {
        "missed_ticks": int((periods > 1.5e3 * manifest.period).sum()),
        "largest_step_of_slew": float(steps.max()) if len(steps) else None,
        "longest_period_ms": float(periods.max()) if len(periods) else None,
    }


def commands_of(bag: Path) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Receive times [N] and values [N, A] of the command messages in ``bag``."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    times, values = [], []
    with AnyReader([bag], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        topics = [connection for connection in reader.connections if connection.msgtype == "std_msgs/msg/Float64MultiArray"]
        for connection, stamp, raw in reader.messages(topics):
            times.append(stamp * 1e-9)
            values.append(reader.deserialize(raw, connection.msgtype).data)
    return np.array(times), np.array(values)
