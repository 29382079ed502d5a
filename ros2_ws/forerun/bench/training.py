"""Speed of training the ensemble as one batched matrix product, against a loop over separate torch modules and the bare products.

All take the same number of optimizer steps on the same windows, with the same features, layer sizes and losses, on one thread;
the ensemble's epoch also takes its look at held-out windows. A sample is one window for one member. Times are the processor's,
medians in turns. "Products" are the layers' matrix products of the same shapes, forward and backward, and nothing else.
"""

from __future__ import annotations

import resource
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from forerun.bench.records import Measurement, Options, Row
from forerun.bench.timing import turns
from forerun_models.recipe import ModelSettings, Phase, load_recipe
from forerun_sim.collect import collect
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial

REPEATS = 5
EPISODES = 12
SAMPLES = 2000
"""Predicted rows, of one member, of one repeat at least."""


@dataclass(frozen=True)
class Case:
    """Sizes of one row; ``transitions`` 0 takes simulated trials, else as many random ones."""

    robot: str = "cartpole"
    recipe: str = "cartpole"
    horizon: int = 1
    members: int = 7
    hidden: int = 64
    layers: int = 2
    batch: int = 256
    transitions: int = 0


_BASE = Case()
CASES = {
    "cartpole": _BASE,
    "cartpole-10": replace(_BASE, horizon=10),
    "double_pendulum": replace(_BASE, robot="double_pendulum", recipe="double_pendulum_sim"),
    "double_pendulum-10": replace(_BASE, robot="double_pendulum", recipe="double_pendulum_sim", horizon=10),
    **{f"members-{n}": replace(_BASE, members=n) for n in (1, 3, 14)},
    **{f"hidden-{n}": replace(_BASE, hidden=n) for n in (128, 256, 512)},
    "hidden-200x4": replace(_BASE, hidden=200, layers=4),
    **{f"batch-{n}": replace(_BASE, batch=n) for n in (32, 64, 1024)},
    **{f"data-{n:.0e}".replace("e+0", "e"): replace(_BASE, transitions=n) for n in (10**4, 10**5, 10**6, 10**7)},
}
"""Row -> what is measured: two robots, one and ten steps; then one size at a time changed from ``cartpole``."""


def measure(options: Options) -> Measurement:
    """Samples a second of both, times the loop of modules, and share of the products' rate, by row."""
    import torch

    torch.set_num_threads(1)
    rows: list[Row] = []
    for name in options.chosen(list(CASES)):
        options.note(f"training: {name}")
        rows.append({"row": name, **_row(CASES[name], options.seeds[0])})
    return Measurement("training", rows, {"threads": 1, "repeats": REPEATS, "clock": "processor"})


def _row(case: Case, seed: int) -> Row:
    from forerun.bench.separate import SeparateMembers
    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.training.start import build, initialise
    from forerun_models.training.trainer import Source, Trainer
    from forerun_models.training.windows import Windows

    recipe, trials = load_recipe(case.recipe, case.recipe), _trials(case, seed)
    sizes = {"members": case.members, "elites": min(case.members, 5), "hidden": case.hidden, "layers": case.layers}
    model = build(load_robot(case.robot), ModelSettings.model_validate(recipe.model.model_dump() | sizes))
    assert isinstance(model, Ensemble), recipe.model.kind
    steps = max(4, SAMPLES // (case.batch * case.horizon))
    settings = recipe.training.model_copy(
        update={
            "phases": (Phase(epochs=10**6, horizon=case.horizon),),
            "steps_per_epoch": steps,
            "patience": 10**6,
            "batch": case.batch,
        }
    )
    windows = Windows(trials, model.features.history, case.horizon)
    initialise(model, windows, seed)
    held_out = Windows([trials[0].part(0, 200)], model.features.history, case.horizon)
    trainer = Trainer(model, [Source(windows)], held_out, settings, seed)
    separate = SeparateMembers(model, windows, settings, seed)
    works: dict[str, Callable[[], object]] = {
        "batched": trainer.epoch,
        "separate": lambda: separate.train(steps, case.horizon),
        "products": _products(model, steps * case.horizon, case.batch),
    }
    taken = {name: float(np.median(times.cpu)) for name, times in turns(works, REPEATS).items()}
    samples = steps * case.batch * case.members
    return {
        "robot": case.robot,
        "horizon": case.horizon,
        "samples_per_s": round(samples / taken["batched"]),
        "predicted_states_per_s": round(samples * case.horizon / taken["batched"]),
        "separate_samples_per_s": round(samples / taken["separate"]),
        "times_separate": round(taken["separate"] / taken["batched"], 2),
        "share_of_products": round(taken["products"] / taken["batched"], 3),
        "members": case.members,
        "hidden": case.hidden,
        "layers": case.layers,
        "batch": case.batch,
        "transitions": sum(len(trial) for trial in trials),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "seed": seed,
    }


def _trials(case: Case, seed: int) -> list[Trial]:
    spec = load_robot(case.robot)
    if not case.transitions:
        return [recording.trial(spec) for recording in collect(spec, episodes=EPISODES, seed=seed, steps=200)]
    random, count = np.random.default_rng(seed), 1000
    period, joints = spec.control.period, len(spec.joints)

    def trial() -> Trial:
        velocity = random.standard_normal((count, joints), np.float32)
        states = np.concatenate([np.cumsum(period * velocity, axis=0, dtype=np.float32), velocity], axis=1)
        return Trial(states, random.standard_normal((count, spec.action_size), np.float32), period, spec.name)

    return [trial() for _ in range(case.transitions // count)]


def _products(model: object, times: int, batch: int) -> Callable[[], object]:
    """The products of ``times`` steps forward and backward: layer, gradient of its input, gradient of its weights."""
    import torch

    weights = [weight.detach() for weight in model.weights]  # type: ignore[attr-defined]
    width = {size: torch.randn(len(weights[0]), batch, size) for weight in weights for size in weight.shape[1:]}

    def work() -> None:
        for _ in range(times):
            for weight in weights:
                before, after = (width[size] for size in weight.shape[1:])
                torch.bmm(before, weight)
                torch.bmm(after, weight.transpose(1, 2))
                torch.bmm(before.transpose(1, 2), after)

    return work
