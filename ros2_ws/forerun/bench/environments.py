"""Speed of Gymnasium environments: what one costs beside its simulator, and how many of them scale over processes.

All that is compared runs in turns. Episodes do not end within a turn; what a reset costs is a figure of its own, in control steps
of the same environment. Gymnasium's AsyncVectorEnv runs the same single environments, a process each, observations in shared
memory too.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

import numpy as np
from gymnasium.vector import AsyncVectorEnv

from forerun.bench.records import Measurement, Options, Row
from forerun.bench.timing import medians
from forerun_sim.env import RobotEnv, RobotVectorEnv
from forerun_sim.plant import Plant

TASKS = (("cartpole", "swingup", (8, 32)), ("panda", "reach", (8,)))
"""Robots, their tasks, and how many environments at once."""
STEPS = 640
"""Control steps of a turn, of all environments together."""
RESETS = 20
REPEATS = 7
_ENDLESS = 1e6


def measure(options: Options) -> Measurement:
    """Control steps a second of one environment and of many, over 0, 1, ... worker processes and with Gymnasium's own."""
    rows: list[Row] = []
    for robot, task, counts in TASKS:
        options.note(f"environments: {robot} {task}")
        rows.append(_one(robot, task, options.seeds[0]))
        for count in counts:
            options.note(f"environments: {robot} {task}, {count} at once")
            rows += _many(robot, task, count, options.seeds[0])
    return Measurement("environments", rows, {"engine": "bullet", "steps": STEPS, "resets": RESETS, "repeats": REPEATS})


def _one(robot: str, task: str, seed: int) -> Row:
    """One environment, against the plant in it under the same commands."""
    env = RobotEnv(robot, task, duration=_ENDLESS, actions="physical")
    plant = Plant(env.robot, task=task, seed=seed)
    lower, upper = env.robot.action_limits(task)
    commands = np.random.default_rng(seed).uniform(0.1 * lower, 0.1 * upper, (STEPS, len(lower)))

    def run_env() -> None:
        for command in commands:
            env.step(command)

    def run_plant() -> None:
        for command in commands:
            plant.step(command)

    def reset() -> None:
        for _ in range(RESETS):
            env.reset()

    env.reset(seed=seed)
    plant.reset(0)
    try:
        taken = medians({"env": run_env, "plant": run_plant, "reset": reset}, REPEATS)
    finally:
        env.close()
        plant.close()
    step = taken["env"] / STEPS
    return {
        "robot": robot,
        "task": task,
        "envs": 1,
        "steps_per_s": round(1.0 / step),
        "share_of_plant": round(taken["plant"] / taken["env"], 3),
        "reset_in_control_steps": round(taken["reset"] / RESETS / step, 2),
        "seed": seed,
    }


def _many(robot: str, task: str, count: int, seed: int) -> list[Row]:
    """``count`` environments over different numbers of processes."""
    cores = len(os.sched_getaffinity(0))
    workers = sorted({0, 1, *(number for number in (2, 4, 8, 16, cores) if number <= min(cores, count))})
    envs: dict[str, RobotVectorEnv | AsyncVectorEnv] = {
        str(number): RobotVectorEnv(count, robot, task, workers=number, duration=_ENDLESS) for number in workers
    }
    envs["gymnasium"] = AsyncVectorEnv([partial(RobotEnv, robot, task, duration=_ENDLESS)] * count)
    actions = np.random.default_rng(seed).uniform(-0.1, 0.1, (STEPS // count, *(envs["0"].action_space.shape or ())))
    try:
        for one in envs.values():
            one.reset(seed=seed)
        taken = medians({name: _stepping(one, actions) for name, one in envs.items()}, REPEATS)
    finally:
        for one in envs.values():
            one.close()
    speed = {name: len(actions) * count / seconds for name, seconds in taken.items()}
    return [
        {
            "robot": robot,
            "task": task,
            "envs": count,
            "workers": number,
            "steps_per_s": round(speed[str(number)]),
            "share_per_core": round(speed[str(number)] / speed["0"] / max(1, number), 3),
            "times_gymnasium_async": round(speed[str(number)] / speed["gymnasium"], 2),
            "seed": seed,
        }
        for number in workers
    ]


def _stepping(env: RobotVectorEnv | AsyncVectorEnv, actions: np.ndarray) -> Callable[[], None]:
    def run() -> None:
        for action in actions:
            env.step(action)

    return run
