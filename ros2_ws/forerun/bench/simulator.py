"""Speed of the simulated robot, with its actuators, sensors and randomization, against PyBullet alone.

PyBullet alone is the loop that its users write: at every physics step set the torques, step, read the joints' states. It runs
over the same bodies, from the same state, under the efforts that the plant's own drives gave in that episode, so that both
simulate the same motion; plant and bare loop take turns. What counts is the least time of the processor.

``share_of_bare`` is with all that the robot's robot.yaml randomizes, and with every quantity of sensors and disturbances besides
(pushes, drift, dropout, jitter, ...); ``share_with_play`` with backlash and torque-speed curves too, for which the drives have to
look at the joints in every physics step. ``reset_steps`` is a reset with new randomization, in control steps of the same plant.
``memory_mib`` is what resident memory grew between ``GROWTH`` physics steps, with a reset every thousand control steps.

The last rows hold many copies of a robot in one PyBullet world against as many worlds: ``share_of_bare`` there is the speed of
one world as a share of that of many.
"""

from __future__ import annotations

import os
import statistics
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forerun.bench.records import Measurement, Options, Row
from forerun.bench.timing import turns
from forerun_sim.engines.bullet import BulletEngine
from forerun_sim.engines.bullet_bare import Copies, Efforts, bare_loop
from forerun_sim.plant import Plant
from forerun_sim.spec import Randomization, RobotSpec, load_robot
from forerun_sim.spec.base import Distribution
from forerun_sim.urdf import robot_urdf

ROBOTS = ("cartpole", "pendulum", "double_pendulum", "panda", "so101", "husky", "a1")
LONG = ("cartpole", "double_pendulum")
"""Robots whose memory is watched."""
CROWDS = (("cartpole", 8), ("cartpole", 64), ("panda", 8))
PHYSICS_STEPS = 1000
GROWTH = (100_000, 1_000_000)
"""Physics steps between which resident memory is compared."""
REPEATS = 15


def measure(options: Options) -> Measurement:
    """Speed, resets and memory of each robot's plant, and of many robots in one world."""
    rows: list[Row] = []
    crowds = [f"{count}x{name}" for name, count in CROWDS]
    for name in options.chosen([*ROBOTS, *crowds]):
        options.note(f"simulator: {name}")
        if name in crowds:
            rows.append({**_crowd(*CROWDS[crowds.index(name)]), "seed": options.seeds[0]})
        else:
            rows.append(_row(load_robot(name), options.seeds[0], name in LONG))
    return Measurement("simulator", rows, {"engine": "bullet", "physics_steps": PHYSICS_STEPS, "repeats": REPEATS})


def _row(spec: RobotSpec, seed: int, long: bool) -> Row:
    play = {
        "backlash": Distribution(uniform=(0.001, 0.01)),
        "no_load_speed": Distribution(uniform=(20.0, 40.0)),
    }
    varied = Plant(spec, seed=seed, randomization=_everything(spec))
    loose = Plant(spec, seed=seed, randomization=_everything(spec).model_copy(update=play))
    try:
        commands, efforts = _motion(varied)
        engine = varied.engine
        assert isinstance(engine, BulletEngine)
        bare = bare_loop(engine)

        def begin() -> None:
            varied.reset(0)

        def again() -> None:
            begin()
            bare(efforts)

        taken = _seconds(
            {
                "plant": lambda: _run(varied, commands),
                "play": lambda: _run(loose, commands),
                "bare": again,
                "begin": begin,
                "resets": lambda: [varied.reset(episode) for episode in range(50)],
            }
        )
        steps = len(efforts)
        per_step = {name: (taken[name] - taken["begin"]) / steps for name in ("plant", "play", "bare")}
        row: dict[str, str | int | float] = {
            "robot": spec.name,
            "control_steps_per_s": round(1.0 / (per_step["plant"] * spec.control.substeps)),
            "physics_steps_per_s": round(1.0 / per_step["plant"]),
            "bare_physics_steps_per_s": round(1.0 / per_step["bare"]),
            "share_of_bare": round(per_step["bare"] / per_step["plant"], 3),
            "share_with_play": round(per_step["bare"] / per_step["play"], 3),
            "times_real_time": round(1.0 / per_step["plant"] / spec.control.physics_rate, 1),
            "reset_steps": round(taken["resets"] / 50 / (per_step["plant"] * spec.control.substeps), 2),
            "seed": seed,
        }
        if long:
            row["memory_mib"] = round(_growth(varied, commands), 2)
        return row
    finally:
        varied.close()
        loose.close()


def _everything(spec: RobotSpec) -> Randomization:
    """What the robot varies, and all of sensors and disturbances that it does not, little enough to leave the motion as it is."""

    def up_to(most: float) -> Distribution:
        return Distribution(uniform=(0.0, most))

    about = Distribution(uniform=(0.9, 1.1), relative=True)
    added = {
        **dict.fromkeys(("mass", "inertia", "link_friction", "damping", "viscous", "coulomb", "strength", "gravity"), about),
        **dict.fromkeys(("stiffness", "servo_damping"), about),
        "gravity_tilt": up_to(0.01),
        "lag": up_to(0.004),
        "delay": up_to(0.01),
        "observation_delay": up_to(0.008),
        **dict.fromkeys(("position_noise", "position_quantum", "position_bias", "position_drift"), up_to(0.001)),
        **dict.fromkeys(("velocity_noise", "velocity_quantum"), up_to(0.01)),
        "dropout": up_to(0.05),
        "period_jitter": up_to(0.001),
        "push_force": up_to(0.1),
        "push_torque": up_to(0.01),
        "push_interval": Distribution(uniform=(1.0, 2.0)),
        "push_duration": Distribution(uniform=(0.05, 0.1)),
    }
    missing = {key: value for key, value in added.items() if getattr(spec.randomization, key) is None}
    return spec.randomization.model_copy(update=missing)


def _motion(plant: Plant) -> tuple[list[NDArray[np.float64]], Efforts]:
    """Commands of an episode that stays about where it begins, and the efforts [steps, joints] that the drives make of them."""
    spec = plant.spec
    lower, upper = spec.action_limits()
    control_steps = max(10, PHYSICS_STEPS // spec.control.substeps)
    plant.reset(0)
    names = list(spec.joint_names)
    here = plant.true_state()[[names.index(name) for name in spec.action_names]]
    held = np.array([joint.interface == "position" for joint in spec.actuated])
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, (control_steps, spec.action_size)) * (upper - lower)
    commands = list(np.clip(np.where(held, here, 0.0) + np.where(held, 0.2, 1.0) * noise, lower, upper))
    engine, actuators, step, rows = plant.engine, plant.actuators, 0, plant.engine.states()
    driven = [index for index, name in enumerate(names) if name not in spec.coordinates]
    efforts = []
    for command in commands:
        actuators.give(command.tolist(), step)
        for _ in range(spec.control.substeps):
            actuators.prepare(step, 1, rows)
            effort = actuators.effort(0, rows) if actuators.feedback else actuators.ahead[0]
            engine.step(effort)
            rows = engine.states()
            efforts.append([effort[index] for index in driven])
            step += 1
    return commands, efforts


def _run(plant: Plant, commands: list[NDArray[np.float64]]) -> None:
    plant.reset(0)
    for command in commands:
        plant.step(command)


def _seconds(works: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of the processor, the least of all turns: what other work on the machine adds is no part of it."""
    return {name: float(np.min(times.cpu)) for name, times in turns(works, REPEATS).items()}


def _resident() -> float:
    """Resident memory of this process [MiB]."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def _growth(plant: Plant, commands: list[NDArray[np.float64]]) -> float:
    """Growth of resident memory [MiB] between the ends of ``GROWTH``; medians over a few thousand steps at both."""
    seen: dict[int, list[float]] = {limit: [] for limit in GROWTH}
    steps = episode = 0
    for limit, values in seen.items():
        while steps < limit:
            plant.reset(episode)
            episode += 1
            for number in range(1000):
                plant.step(commands[number % len(commands)])
            steps += 1000 * plant.spec.control.substeps
            values.append(_resident())
    first, last = (statistics.median(values[-3:]) for values in seen.values())
    return last - first


def _crowd(name: str, count: int) -> Row:
    """Many robots in one world against as many worlds."""
    spec = load_robot(name)
    crowds = {
        kind: Copies(robot_urdf(spec).path, count, one_world=kind == "one", step=1.0 / spec.control.physics_rate)
        for kind in ("one", "many")
    }
    steps = max(20, 4000 // count)

    def run(copies: Copies) -> None:
        for _ in range(steps):
            copies.step()

    try:
        taken = _seconds({kind: lambda copies=copies: run(copies) for kind, copies in crowds.items()})  # type: ignore[misc]
    finally:
        for copies in crowds.values():
            copies.close()
    return {
        "robot": f"{count}x{name}",
        "physics_steps_per_s": round(steps * count / taken["one"]),
        "bare_physics_steps_per_s": round(steps * count / taken["many"]),
        "share_of_bare": round(taken["many"] / taken["one"], 3),
    }
