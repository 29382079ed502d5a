"""What each idea of the double pendulum's recipe brings: the recipe without it, on the same trials.

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

VARIANTS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "no history (no observer, no context)": {"model": {"history": 1}},
    "history of 6 rows": {"model": {"history": 6}},
    "no network to speak of": {"model": {"hidden": 1}},
    "one member": {"model": {"members": 1, "elites": 1}, "planner": {"members": 1}},
    "one-step loss": {"training": {"phases": [{"epochs": 25, "horizon": 1}], "least_squares": None}},
    "no least squares": {"training": {"least_squares": None}},
    "yardstick: displacement": {"training": {"yardstick": "displacement"}},
    "no averaging": {"training": {"averaging": 0.0}},
    "no mirror images": {"training": {"mirror": False}},
    "drives known by heart": {"model": {"rigid_body": {"variety": 0.0}}},
    "four substeps": {"model": {"rigid_body": {"substeps": 4}}},
}


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
    for number, (name, changes) in enumerate(VARIANTS.items()):
        if options.only and name not in options.only:
            continue
        recipe = without(changes)
        for seed in options.seeds:
            fitted = fit(learned, split.robot, seed, options, recipe, f"ablation{number}")
            for part, trials in judges.items():
                found = table_rows(evaluate(fitted.bundle, trials, split.train), part, seed, fitted.seconds, fixed=False)
                rows += [{**row, "model": name} for row in found]
    return Measurement("ablation", rows, {"recipe": load_recipe(ROBOT, ROBOT).as_data(), "design": DESIGN, "threads": 1})


def without(changes: dict[str, Any]) -> Recipe:
    """The shipped recipe with ``changes``."""
    return Recipe.model_validate(_merged(load_recipe(ROBOT, ROBOT).as_data(), changes))


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, mapping by mapping."""
    return base | {
        key: _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }
