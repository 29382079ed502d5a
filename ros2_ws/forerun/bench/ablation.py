"""What each idea of the double pendulum's recipe brings: the recipe without it, on the same trials; half as long and with two
members, so that a variant takes two minutes.

Variants are judged on training trials that are held apart here, so that the validation trials stay for the final table: one of
each group, and all trials of one controller (perturbations of the acrobot), which no variant sees.
"""

from __future__ import annotations

from typing import Any

from forerun.bench.double_pendulum import DESIGN, ROBOT, load_split, table_rows
from forerun.bench.logs import fit
from forerun.bench.recipes import NETWORKS, changed, merged
from forerun.bench.records import Measurement, Options, Row
from forerun.evaluation import evaluate
from forerun_models.recipe import Recipe

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
_NO_PHYSICS = "no physics (an ensemble of networks)"
"""The recipe before, which is not shortened."""


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
        recipe = _recipe(name)
        for seed in options.seeds:
            fitted = fit(learned, split.robot, seed, options, recipe, f"ablation{number}")
            for part, trials in judges.items():
                found = table_rows(evaluate(fitted.bundle, trials, split.train), part, seed, fitted.seconds, fixed=False)
                rows += [{**row, "model": name} for row in found]
    settings = {"recipe": changed(ROBOT, SHORTENED).as_data(), "design": DESIGN, "threads": 1}
    return Measurement("ablation", rows, settings)


def _recipe(name: str) -> Recipe:
    if name == _NO_PHYSICS:
        return Recipe.model_validate({"robot": ROBOT, **NETWORKS})
    return changed(ROBOT, merged(SHORTENED, VARIANTS[name]))
