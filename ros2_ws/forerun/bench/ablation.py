"""What each idea of the double pendulum's recipe brings: the recipe without it, on the same trials; half as long and with two
members, so that a variant takes two minutes.

Variants are judged on training trials that are held apart here, so that the validation trials stay for the final table: one of
each group, and all trials of one controller (perturbations of the acrobot), which no variant sees.
"""

from __future__ import annotations

from typing import Any

from forerun.bench.double_pendulum import DESIGN, ROBOT, load_split, table_rows
from forerun.bench.logs import fit
from forerun.bench.records import Measurement, Options, Row
from forerun.evaluation import evaluate
from forerun_models.recipe import Recipe, load_recipe

HELD_APART = ("sysid_excitation_f91cfc", "lqr_f2a9d5", "lqr_6f4e1c", "lqr_734aea")
"""How the ids of the trials end that judge."""
CONTROLLER = "perturbation"
"""In the ids of all trials of the controller that is held apart."""

SHORTENED: dict[str, Any] = {
    "model": {"members": 2, "elites": 2},
    "training": {"phases": [{"epochs": epochs, "horizon": horizon} for epochs, horizon in ((3, 10), (4, 25), (6, 50))]},
}
_STEPS = sum(phase["epochs"] for phase in SHORTENED["training"]["phases"])
VARIANTS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "no history: neither observer nor context": {"model": {"history": 1}},
    "history of 6 rows": {"model": {"history": 6}},
    "no network to speak of": {"model": {"hidden": 1}},
    "one-step loss": {"training": {"phases": [{"epochs": _STEPS, "horizon": 1}], "least_squares": None}},
    "no least squares": {"training": {"least_squares": None}},
    "yardstick: displacement": {"training": {"yardstick": "displacement"}},
    "no averaging": {"training": {"averaging": 0.0}},
    "no mirror images": {"training": {"mirror": False}},
    "drives known by heart": {"model": {"rigid_body": {"variety": 0.0}}},
    "four substeps": {"model": {"rigid_body": {"substeps": 4}}},
}
NETWORKS: dict[str, Any] = {
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
"""An ensemble that knows no physics: the recipe before, not shortened."""
_NO_PHYSICS = "no physics (an ensemble of networks)"


def measure(options: Options) -> Measurement:
    """Trains every variant once a seed."""
    split = load_split(options)
    judges = {
        "held apart": [trial for trial in split.train if str(trial.meta["id"]).endswith(HELD_APART)],
        "controller held apart": [trial for trial in split.train if CONTROLLER in str(trial.meta["id"])],
    }
    apart = {str(trial.meta["id"]) for trials in judges.values() for trial in trials}
    learned = [trial for trial in split.train if str(trial.meta["id"]) not in apart]
    rows: list[Row] = []
    names = [*VARIANTS, _NO_PHYSICS]
    for name in options.chosen(names):
        number = names.index(name)
        recipe = networks() if name == _NO_PHYSICS else without(merged(SHORTENED, VARIANTS[name]))
        for seed in options.seeds:
            fitted = fit(learned, split.robot, seed, options, recipe, f"ablation{number}")
            for part, trials in judges.items():
                found = table_rows(evaluate(fitted.bundle, trials, split.train), part, seed, fitted.seconds, fixed=False)
                rows += [{**row, "model": name} for row in found]
    settings = {"recipe": without(SHORTENED).as_data(), "design": DESIGN, "threads": 1}
    return Measurement("ablation", rows, settings)


def networks() -> Recipe:
    """Of the ensemble that knows no physics."""
    return Recipe.model_validate({"robot": ROBOT, **NETWORKS})


def without(changes: dict[str, Any]) -> Recipe:
    """The shipped recipe with ``changes``."""
    return Recipe.model_validate(merged(load_recipe(ROBOT, ROBOT).as_data(), changes))


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, mapping by mapping."""
    return base | {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }
