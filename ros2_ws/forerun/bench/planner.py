"""Speed of one decision of an exported bundle on one thread, and how much of it is the matrix products that it cannot do without.

Speed depends on the sizes, not on the weights, so the model is exported untrained.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from forerun.bench.records import Measurement, Options, Row
from forerun.bench.timing import medians
from forerun_models.bundle import Bundle, load
from forerun_models.recipe import Recipe, load_recipe
from forerun_sim.collect import collect
from forerun_sim.spec import RobotSpec, load_robot

if TYPE_CHECKING:
    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.planners.sampling import SamplingPlanner

ROBOTS = ("cartpole",)
TICKS = 400
WARM_UP = 20
EPISODES = 4


def measure(options: Options) -> Measurement:
    """p50 and p99 of ``act``, model evaluations a second, and the share of the rate of bare matrix products."""
    rows = []
    for name in ROBOTS:
        options.note(f"planner: {name}")
        rows.append(_row(load_robot(name), load_recipe(name, name), options))
    recipes = {name: load_recipe(name, name).planner.model_dump(mode="json") for name in ROBOTS}
    return Measurement("planner", rows, {"threads": 1, "ticks": TICKS, "planner": recipes})


def _row(spec: RobotSpec, recipe: Recipe, options: Options) -> Row:
    seed = options.seeds[0]
    bundle, planner, model = untrained_bundle(spec, recipe, seed, options.work / f"{spec.name}-untrained.bundle")
    ticks = _time_ticks(bundle, seed)
    # Every sequence of every iteration, with the kept elites and, in the last, the mean.
    sequences = sum(planner.populations) + len(planner.populations) * planner.keep + 1
    members, horizon = planner.rollout.members, recipe.planner.horizon
    evaluations = sequences * horizon * members
    flops, bare = _matrix_products(planner, model, horizon)
    p50, p99 = (float(value) for value in np.percentile(ticks, (50, 99)))
    return {
        "robot": spec.name,
        "act_p50_ms": round(p50 * 1e3, 3),
        "act_p99_ms": round(p99 * 1e3, 3),
        "act_max_ms": round(float(ticks.max()) * 1e3, 3),
        "evaluations_per_tick": evaluations,
        "evaluations_per_s": round(evaluations / p50),
        "gflops": round(flops / p50 / 1e9, 2),
        "bare_matmul_gflops": round(flops / bare / 1e9, 2),
        "share_of_matmul_rate": round(bare / p50, 3),
        "members": members,
        "horizon": horizon,
        "samples": recipe.planner.samples,
        "seed": seed,
    }


def untrained_bundle(spec: RobotSpec, recipe: Recipe, seed: int, out: Path) -> tuple[Bundle, SamplingPlanner, Ensemble]:
    """The bundle ``out`` with the sizes of ``recipe``, fitted linearly to a few trials, with its planner and model."""
    import torch

    from forerun_models.export import Provenance, export_bundle
    from forerun_models.planners.make import make_exportable
    from forerun_models.training.start import build, initialise
    from forerun_models.training.windows import Windows

    torch.set_num_threads(1)
    trials = [recording.trial(spec) for recording in collect(spec, episodes=EPISODES, seed=seed, steps=200)]
    model = build(spec, recipe.model)
    initialise(model, Windows(trials, model.features.history, 1), seed)
    export_bundle(out, model, spec, recipe, trials, Provenance({"trials": []}, seed))
    return load(out, robot=spec.name, threads=1), make_exportable(model, spec, recipe), model


def _time_ticks(bundle: Bundle, seed: int) -> NDArray[np.float64]:
    """Seconds of each decision, the carry handed on from tick to tick."""
    manifest, random = bundle.manifest, np.random.default_rng(seed)
    carry, taken = bundle.start(), []
    for tick in range(WARM_UP + TICKS):
        history = 0.1 * random.standard_normal((manifest.history, manifest.state_size + manifest.action_size))
        noise = random.standard_normal(manifest.noise_size).astype(np.float32)
        began = time.perf_counter()
        decision = bundle.act(history, manifest.goal_default, noise, manifest.period if tick else 0.0, 0.0, carry)
        taken.append(time.perf_counter() - began)
        carry = decision.carry
    return np.array(taken[WARM_UP:])


def _matrix_products(planner: SamplingPlanner, model: Ensemble, horizon: int) -> tuple[int, float]:
    """Floating-point operations of the networks' matrix products in one decision, and their median time alone, on one thread."""
    import torch

    members = planner.rollout.members
    shapes = [(weight.shape[1], weight.shape[2]) for weight in model.weights[:-1]]
    # Planning needs no variances; the linear path runs beside the layers.
    shapes += [(model.weights[-1].shape[1], model.state_size), (model.features.size, model.state_size)]
    weights = [torch.randn(members, *shape) for shape in shapes]
    populations = [count + planner.keep for count in planner.populations]
    populations[-1] += 1
    inputs = {count: [torch.randn(members, count, shape[0]) for shape in shapes] for count in populations}
    flops = 2 * horizon * members * sum(populations) * sum(before * after for before, after in shapes)

    def products() -> None:
        for count in populations:
            for _ in range(horizon):
                for given, weight in zip(inputs[count], weights, strict=True):
                    torch.bmm(given, weight)

    with torch.inference_mode():
        return flops, medians({"products": products}, 50)["products"]
