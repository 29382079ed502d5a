"""Speed of the simulated robot, with its actuators, sensors and randomization, against PyBullet alone.

PyBullet alone is what an engine does in one physics step and nothing else: setJointMotorControlArray, stepSimulation,
getJointStates. The plant runs the same number of physics steps for its control steps.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from forerun.bench.records import Measurement, Options, Row
from forerun.bench.timing import medians
from forerun_sim.engines.base import make_engine
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot

ROBOTS = ("cartpole", "pendulum", "double_pendulum")
PHYSICS_STEPS = 10_000
REPEATS = 7


def measure(options: Options) -> Measurement:
    """Control and physics steps a second of plant and bare loop, alternating in one run."""
    rows = []
    for name in ROBOTS:
        options.note(f"simulator: {name}")
        rows.append(_row(load_robot(name), options.seeds[0]))
    return Measurement("simulator", rows, {"engine": "bullet", "physics_steps": PHYSICS_STEPS, "repeats": REPEATS})


def _row(spec: RobotSpec, seed: int) -> Row:
    control_steps = PHYSICS_STEPS // spec.control.substeps
    lower, upper = spec.action_limits()
    random = np.random.default_rng(seed)
    commands = random.uniform(0.1 * lower, 0.1 * upper, (control_steps, spec.action_size))
    plant = Plant(spec, seed=seed)
    engine = make_engine("bullet", spec)
    try:
        still = [0.0] * len(spec.joints)
        effort = np.zeros((PHYSICS_STEPS, len(spec.joints)))
        effort[:, [spec.joint_names.index(name) for name in spec.action_names]] = np.repeat(
            commands, spec.control.substeps, axis=0
        )[:PHYSICS_STEPS]
        efforts = effort.tolist()

        def run_plant() -> None:
            plant.reset(0)
            for command in commands:
                plant.step(command)

        def run_bare() -> None:
            engine.reset(plant.nominal, still, still)
            step: Callable[[list[float]], object] = engine.step
            for forces in efforts:
                step(forces)

        taken = medians({"plant": run_plant, "bare": run_bare}, REPEATS)
    finally:
        plant.close()
        engine.close()
    steps = control_steps * spec.control.substeps
    return {
        "robot": spec.name,
        "control_steps_per_s": round(control_steps / taken["plant"]),
        "physics_steps_per_s": round(steps / taken["plant"]),
        "bare_physics_steps_per_s": round(len(efforts) / taken["bare"]),
        "share_of_bare": round((steps / taken["plant"]) / (len(efforts) / taken["bare"]), 3),
        "times_real_time": round(steps / taken["plant"] / spec.control.physics_rate, 1),
        "seed": seed,
    }
