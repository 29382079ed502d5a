"""How much real data a model of the double pendulum needs: the k-step table after 10, 30 and 100 s of design C.1, whole trials
drawn with each seed. The recipe begins with the URDF, or with its model of the randomized simulator; beside it are networks that
know no physics, and physics refitted to the same trials: by ``forerun identify``, and by the least squares that end the recipe's
training."""

from __future__ import annotations

import time
from collections.abc import Sequence

import numpy as np
import torch

from forerun.bench.double_pendulum import DESIGN, OURS, ROBOT, SIMULATION, UNSEEN, Split, load_history, load_split, table_rows
from forerun.bench.identify_known import fitted
from forerun.bench.logs import fit
from forerun.bench.recipes import NETWORKS, simulated
from forerun.bench.records import Measurement, Options, Row
from forerun.evaluation import evaluate
from forerun_models.dynamics.physical import Physical
from forerun_models.evaluation.kstep import HORIZON, Array, cut, errors, rmse
from forerun_models.evaluation.predictors import Predictor
from forerun_models.recipe import LeastSquares, Recipe, load_recipe
from forerun_models.training.least_squares import fit_physics
from forerun_models.training.run import mirrored
from forerun_models.training.split import hold_out_some
from forerun_models.training.start import build, initialise
from forerun_models.training.windows import Windows
from forerun_sim.identify import Settings, SimulatedPredictor
from forerun_sim.identify.segments import PAST
from forerun_sim.trial import Trial

AMOUNTS = (10.0, 30.0, 100.0)
"""Seconds of real motion to learn from."""
UNPHYSICAL, REFIT, SQUARES = "ensemble of networks", "physics refitted", "physics by least squares"
_STEPS = 6
"""Of least squares, from the URDF on."""
_SEGMENTS = 200


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
    models = (OURS, OURS + SIMULATION, UNPHYSICAL, REFIT, SQUARES)
    names = {_named(model, seconds): (model, seconds) for seconds in AMOUNTS for model in models}
    split, rows = load_split(options), []
    for name in options.chosen(list(names)):
        model, seconds = names[name]
        for seed in options.seeds:
            trials = drawn(split.train, seconds, seed)
            if model in (REFIT, SQUARES):
                found = _physics(split, model, trials, seed, options)
            else:
                found = _trained(split, model, trials, seed, options)
            about = {"seconds": round(sum(len(trial) * trial.period for trial in trials), 1), "learned_trials": len(trials)}
            rows += [{**row, "model": model, "seed": seed, **about} for row in found]
    return Measurement("fewdata", rows, {"recipe": load_recipe(ROBOT, ROBOT).as_data(), "design": DESIGN, "threads": 1})


def _named(model: str, seconds: float) -> str:
    kind, simulation, _ = model.partition(SIMULATION)
    return f"{kind} {seconds:g} s{simulation}"


def _trained(split: Split, model: str, trials: list[Trial], seed: int, options: Options) -> list[Row]:
    recipe = Recipe.model_validate({"robot": ROBOT, **NETWORKS}) if model == UNPHYSICAL else load_recipe(ROBOT, ROBOT)
    kept = f"{model.replace(' ', '-')}-{sum(len(trial) for trial in trials)}"
    start = simulated(split.robot, options) if model.endswith(SIMULATION) else None
    bundle = fit(trials, split.robot, seed, options, recipe, kept, start)
    rows: list[Row] = []
    for part, judges in (("validation", split.validation), ("unseen controller", split.unseen)):
        rows += table_rows(evaluate(bundle.bundle, judges, split.train), part, seed, bundle.seconds, fixed=False)
    return rows


def _physics(split: Split, model: str, trials: list[Trial], seed: int, options: Options) -> list[Row]:
    """Physics found from these trials; as much of them is held out of the search as of a training."""
    learned, apart = hold_out_some(trials, load_recipe(ROBOT, ROBOT).training.holdout, seed, HORIZON + 1)
    predict: Predictor
    began = time.perf_counter()
    if model == REFIT:
        found = fitted(split.robot, learned, apart, Settings("mujoco_urdf", HORIZON, _SEGMENTS, 0, seed), options)
        predict, past = SimulatedPredictor(split.robot, "mujoco_urdf", found.values, found.start), PAST
    else:
        predict, past = _by_least_squares(split, learned, seed), load_history(split.robot)
    seconds = time.perf_counter() - began
    cuts = cut(split.validation, past)
    squared = errors(predict, cuts, split.std)
    numbers = [number for number, trial in enumerate(split.validation) if str(trial.meta["id"]).startswith(UNSEEN)]
    unseen = np.isin(cuts.trial, numbers)
    rows: list[Row] = []
    for part, chosen in (("validation", cuts.trial >= 0), ("unseen controller", unseen)):
        by_step = {f"k{k}": round(value, 4) for k, value in rmse(squared[chosen]).items()}
        rows.append({"trials": part, "train_s": round(seconds, 1), **by_step, "windows": int(chosen.sum())})
    return rows


def _by_least_squares(split: Split, trials: list[Trial], seed: int) -> Predictor:
    """The recipe's physics and observer, from the URDF on, with networks and context that say nothing."""
    torch.set_num_threads(1)
    settings = load_recipe(ROBOT, ROBOT).model.model_copy(update={"members": 1, "elites": 1})
    model, windows = build(split.robot, settings), Windows(mirrored(trials), load_history(split.robot), HORIZON)
    assert isinstance(model, Physical)
    initialise(model, windows, seed)
    with torch.no_grad():
        for silent in (model.network, model.reading):
            silent.weights[-1].zero_(), silent.biases[-1].zero_()
    fit_physics(model, windows, LeastSquares(iterations=_STEPS, horizon=HORIZON), torch.Generator().manual_seed(seed))
    return _open_loop(model)


def _open_loop(model: Physical) -> Predictor:
    def predict(past_states: Array, past_actions: Array, actions: Array) -> Array:
        inputs = [
            [torch.from_numpy(step)[None] for step in np.moveaxis(array, 1, 0)] for array in (past_states, past_actions, actions)
        ]
        with torch.no_grad():
            return torch.cat(model.rollout(*inputs)).transpose(0, 1).numpy()

    return predict
