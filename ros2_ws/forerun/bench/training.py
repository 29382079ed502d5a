"""Speed of training the ensemble as one batched matrix product, against a loop over separate torch modules.

Both take the same number of optimizer steps on the same windows, with the same features, layer sizes and losses, on one thread;
the ensemble's epoch also takes its look at held-out windows. A sample is one window for one member.
"""

from __future__ import annotations

from forerun.bench.records import Measurement, Options, Row
from forerun.bench.timing import medians
from forerun_models.recipe import Phase, Recipe, load_recipe
from forerun_sim.collect import collect
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial

RECIPES = {"cartpole": "cartpole", "double_pendulum": "double_pendulum_sim"}
"""By robot, recipes whose models are ensembles of networks."""
HORIZONS = (1, 10)
STEPS = {1: 40, 10: 8}
"""Optimizer steps of one repeat, by horizon."""
REPEATS = 5
EPISODES = 12


def measure(options: Options) -> Measurement:
    """Samples a second of both, by robot and horizon of the loss."""
    import torch

    torch.set_num_threads(1)
    rows: list[Row] = []
    recipes = {name: load_recipe(recipe, name) for name, recipe in RECIPES.items()}
    for name, recipe in recipes.items():
        spec = load_robot(name)
        trials = [recording.trial(spec) for recording in collect(spec, episodes=EPISODES, seed=options.seeds[0], steps=200)]
        for horizon in HORIZONS:
            options.note(f"training: {name}, rollouts of {horizon}")
            rows.append(_row(name, recipe, trials, horizon, options.seeds[0]))
    settings = {"threads": 1, "repeats": REPEATS, "recipes": {name: recipe.as_data() for name, recipe in recipes.items()}}
    return Measurement("training", rows, settings)


def _row(name: str, recipe: Recipe, trials: list[Trial], horizon: int, seed: int) -> Row:
    from forerun.bench.separate import SeparateMembers
    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.training.start import build, initialise
    from forerun_models.training.trainer import Source, Trainer
    from forerun_models.training.windows import Windows

    steps = STEPS[horizon]
    settings = recipe.training.model_copy(
        update={"phases": (Phase(epochs=10**6, horizon=horizon),), "steps_per_epoch": steps, "patience": 10**6}
    )
    model = build(load_robot(name), recipe.model)
    assert isinstance(model, Ensemble), recipe.model.kind
    windows = Windows(trials, model.features.history, horizon)
    initialise(model, windows, seed)
    trainer = Trainer(model, [Source(windows)], Windows(trials[:1], model.features.history, horizon), settings, seed)
    separate = SeparateMembers(model, windows, settings, seed)
    works = {"batched": lambda: trainer.epoch(), "separate": lambda: separate.train(steps, horizon)}
    taken = medians(works, REPEATS)
    samples = steps * settings.batch * model.members
    return {
        "robot": name,
        "horizon": horizon,
        "samples_per_s": round(samples / taken["batched"]),
        "predicted_states_per_s": round(samples * horizon / taken["batched"]),
        "separate_samples_per_s": round(samples / taken["separate"]),
        "times_separate": round(taken["separate"] / taken["batched"], 2),
        "members": model.members,
        "hidden": recipe.model.hidden,
        "batch": settings.batch,
        "seed": seed,
    }
