"""What delay costs, and what compensation gives back: foreign robots whose commands act later than the model has learned.

The loop is the controller's own core on a simulated clock: a state a period, its plan computed at once, and the command given
to the robot ``extra`` seconds after it was sent. The foreign robots have delays of their own, which stay the model's business.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from forerun.bench.records import Measurement, Options, Row
from forerun.control.controller import Controller
from forerun.control.planning import InlinePlanner
from forerun.control.settings import Settings
from forerun.control.simulation import Reads, Simulation
from forerun.control.states import State
from forerun.control.ticks import Verdict
from forerun.demo.measure import score
from forerun_models.bundle import Bundle, load
from forerun_sim.plant import Plant
from forerun_sim.resources import bundle_folder
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tasks import TaskFunction
from forerun_sim.trial import Trial

ROBOT = "cartpole"
"""Its bundle is trained by its recipe where none is ready."""
ALSO = ("pendulum",)
"""Measured where a ready bundle ships."""
ENGINE = "mujoco"
EXTRA = (0.0, 0.02, 0.04, 0.06)
"""Seconds."""
EPISODES = 2
"""Per seed."""


@dataclass(frozen=True)
class _Outcome:
    total: float
    success: bool
    planned: float
    """Share of the ticks whose command was a plan's."""


def measure(options: Options) -> Measurement:
    """Return and success with each extra delay, with and without compensation: median and range over seeds."""
    rows: list[Row] = []
    used: dict[str, str] = {}
    for name in (ROBOT, *ALSO):
        path = _ready(name)
        if path is None and name in ALSO:
            continue
        spec = load_robot(name)
        bundle = load(path if path is not None else _trained(spec, options), robot=name)
        used[name] = f"{'zoo' if path is not None else 'trained'} {bundle.digest[:12]}"
        for extra in EXTRA:
            for compensated in (False, True):
                options.note(f"delay: {name}, {extra * 1e3:g} ms, {'with' if compensated else 'without'} compensation")
                by_seed = [_episodes(spec, bundle, seed, extra, compensated) for seed in options.seeds]
                rows.append(_row(name, bundle, extra, compensated, by_seed))
    settings = {"engine": ENGINE, "seeds": list(options.seeds), "episodes": EPISODES, "bundles": used}
    return Measurement("delay", rows, settings)


def _ready(robot: str) -> Path | None:
    path = bundle_folder(robot)
    return path if (path / "bundle.json").is_file() else None


def _trained(spec: RobotSpec, options: Options) -> Path:
    """A bundle as the recipe of that name makes it, from simulation alone, on one thread."""
    import torch

    from forerun_models.export import Provenance, export_bundle
    from forerun_models.recipe import load_recipe
    from forerun_models.training.run import train
    from forerun_sim.collect import collect

    options.note(f"delay: training {spec.name}")
    torch.set_num_threads(1)
    recipe, seed = load_recipe(spec.name, spec.name), options.seeds[0]
    collection = recipe.collection
    task = TaskFunction(spec, recipe.task).name
    recordings = collect(spec, episodes=collection.episodes, steps=collection.steps, task=task, seed=seed)
    run = train([one.trial(spec) for one in recordings], spec, recipe, seed, options.work / "run")
    return export_bundle(
        options.work / "bundle", run.model, spec, recipe, run.replay, Provenance(run.trained_on, run.seed, held_out=run.held_out)
    )


def _episodes(spec: RobotSpec, bundle: Bundle, seed: int, extra: float, compensated: bool) -> list[_Outcome]:
    plant = Plant(spec, engine=ENGINE, task=bundle.manifest.task, seed=seed, randomize=False)
    try:
        return [run_episode(plant, bundle, episode, extra, compensated) for episode in range(EPISODES)]
    finally:
        plant.close()


def run_episode(plant: Plant, bundle: Bundle, episode: int, extra: float, compensated: bool) -> _Outcome:
    """One episode on ``plant``, its commands acting ``extra`` seconds late; scored by the plant's true states."""
    spec, task, period = plant.spec, TaskFunction(plant.spec, bundle.manifest.task), plant.spec.control.period
    settings = Settings(seed=plant.seed, compensate_delay=compensated, command_delay=extra)
    controller = Controller(bundle, settings, InlinePlanner())
    held = np.array([joint.interface == "position" for joint in spec.actuated])
    physics = 1.0 / spec.control.physics_rate
    simulation = Simulation(plant, physics, held, math.inf)
    reading: Reads | None = simulation.begin(0.0, np.zeros(len(held)), episode)
    states, actions, planned = [], [], 0
    steps = round(task.task.duration / period)
    for step in range(steps):
        now = step * period
        if reading is not None:
            controller.observe(State(now, reading.position, reading.velocity, 0))
        tick = controller.tick(now)
        command = tick.command if tick.command is not None else np.zeros(len(held))
        controller.sent(now, command)
        # It acts from the physics step on in which it arrives; half a step keeps rounding from choosing which.
        simulation.command(now + extra + physics / 2, command)
        states.append(plant.true_state())
        actions.append(command)
        planned += tick.verdict is Verdict.PLAN
        reading = simulation.advance(now + period)
    trial = Trial(
        np.asarray(states, np.float32),
        np.asarray(actions, np.float32),
        period,
        spec.name,
        source=f"{spec.name}-{plant.seed}-{episode}",
    )
    result = score(trial, task, task.task.duration)
    return _Outcome(result.total, bool(result.success), planned / steps)


def _row(robot: str, bundle: Bundle, extra: float, compensated: bool, by_seed: Sequence[Sequence[_Outcome]]) -> Row:
    row: dict[str, str | int | float] = {
        "robot": robot,
        "task": bundle.manifest.task,
        "extra_delay_ms": round(extra * 1e3, 3),
        "compensated": int(compensated),
    }
    figures = {
        "return": [float(np.mean([one.total for one in outcomes])) for outcomes in by_seed],
        "success": [float(np.mean([one.success for one in outcomes])) for outcomes in by_seed],
        "planned": [float(np.mean([one.planned for one in outcomes])) for outcomes in by_seed],
    }
    for name, values in figures.items():
        row |= {f"{name}_median": round(float(np.median(values)), 3)}
        row |= {f"{name}_min": round(min(values), 3), f"{name}_max": round(max(values), 3)}
    return row | {"seeds": len(by_seed), "episodes_per_seed": len(by_seed[0])}
