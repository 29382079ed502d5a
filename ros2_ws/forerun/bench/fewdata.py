"""How much real data a model of the double pendulum needs: the k-step table after 30 and 100 s of design C.1, whole trials drawn
with each seed, beside networks that know no physics and physics refitted to the same trials."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from forerun.bench.double_pendulum import DESIGN, ROBOT, UNSEEN, Split, load_split, table_rows
from forerun.bench.identify_known import fitted
from forerun.bench.logs import fit
from forerun.bench.records import Measurement, Options, Row
from forerun.evaluation import evaluate
from forerun_models.evaluation.kstep import HORIZON, cut, errors, rmse
from forerun_models.recipe import Recipe, load_recipe
from forerun_models.training.split import hold_out_some
from forerun_sim.identify import Settings, SimulatedPredictor
from forerun_sim.identify.segments import PAST
from forerun_sim.trial import Trial

AMOUNTS = (30.0, 100.0)
"""Seconds of real motion to learn from."""
OURS, NETWORKS, REFIT = "forerun", "ensemble of networks", "physics refitted"
_SEGMENTS = 200
_LEARNED = {
    "model": {"members": 7, "elites": 5, "hidden": 64, "history": 8},
    "training": {
        "batch": 64,
        "steps_per_epoch": 100,
        "phases": [{"epochs": epochs, "horizon": horizon} for epochs, horizon in ((3, 1), (8, 5), (12, 10), (14, 25))],
        "learning_rate": 5e-3,
        "weight_decay": 0.2,
        "holdout": 0.15,
        "validation_horizon": 50,
        "mirror": True,
    },
}
"""The ensemble that the table of all training data has too."""


def drawn(trials: Sequence[Trial], seconds: float, seed: int) -> list[Trial]:
    """Whole trials in an order drawn with ``seed``, as many as it takes to have ``seconds`` of them."""
    found: list[Trial] = []
    for index in np.random.default_rng(seed).permutation(len(trials)):
        if sum(len(trial) * trial.period for trial in found) >= seconds:
            break
        found.append(trials[index])
    return found


def measure(options: Options) -> Measurement:
    """Every model after each amount of data and seed, on the validation trials and those of the unseen controller."""
    names = {f"{model} {seconds:g} s": (model, seconds) for seconds in AMOUNTS for model in (OURS, NETWORKS, REFIT)}
    split, rows = load_split(options), []
    for name in options.chosen(list(names)):
        model, seconds = names[name]
        for seed in options.seeds:
            trials = drawn(split.train, seconds, seed)
            found = _refitted(split, trials, seed, options) if model == REFIT else _trained(split, model, trials, seed, options)
            about = {"seconds": round(sum(len(trial) * trial.period for trial in trials), 1), "learned_trials": len(trials)}
            rows += [{**row, "model": model, "seed": seed, **about} for row in found]
    return Measurement("fewdata", rows, {"recipe": load_recipe(ROBOT, ROBOT).as_data(), "design": DESIGN, "threads": 1})


def _trained(split: Split, model: str, trials: list[Trial], seed: int, options: Options) -> list[Row]:
    recipe = load_recipe(ROBOT, ROBOT) if model == OURS else Recipe.model_validate({"robot": ROBOT, **_LEARNED})
    kept = f"{model.replace(' ', '-')}-{sum(len(trial) for trial in trials)}"
    bundle = fit(trials, split.robot, seed, options, recipe, kept)
    rows: list[Row] = []
    for part, judges in (("validation", split.validation), ("unseen controller", split.unseen)):
        rows += table_rows(evaluate(bundle.bundle, judges, split.train), part, seed, bundle.seconds, fixed=False)
    return rows


def _refitted(split: Split, trials: list[Trial], seed: int, options: Options) -> list[Row]:
    """Physics as ``forerun identify`` finds it from these trials, as much of them held out of the search as of a training."""
    learned, judged = hold_out_some(trials, load_recipe(ROBOT, ROBOT).training.holdout, seed, HORIZON + 1)
    found = fitted(split.robot, learned, judged, Settings("mujoco_urdf", HORIZON, _SEGMENTS, 0, seed), options)
    cuts = cut(split.validation, PAST)
    squared = errors(SimulatedPredictor(split.robot, "mujoco_urdf", found.values, found.start), cuts, split.std)
    numbers = [number for number, trial in enumerate(split.validation) if str(trial.meta["id"]).startswith(UNSEEN)]
    unseen = np.isin(cuts.trial, numbers)
    rows: list[Row] = []
    for part, chosen in (("validation", cuts.trial >= 0), ("unseen controller", unseen)):
        by_step = {f"k{k}": round(value, 4) for k, value in rmse(squared[chosen]).items()}
        rows.append({"trials": part, "train_s": round(found.evaluated[1], 1), **by_step, "windows": int(chosen.sum())})
    return rows
