"""What each idea of the double pendulum's recipe brings: the recipe without it, on the same trials.

Variants are judged on training trials that are held apart here, one of each group, so that the validation trials stay for the
final table.
"""

from __future__ import annotations

from typing import Any

from forerun.bench.double_pendulum import DESIGN, ROBOT, load_split, table_rows
from forerun.bench.logs import fit
from forerun.bench.records import Measurement, Options, Row
from forerun.evaluation import evaluate
from forerun_models.recipe import Recipe, load_recipe
from forerun_sim.trial import Trial

HELD_APART = ("sysid_excitation_f91cfc", "lqr_f2a9d5", "perturbation_dc9c23", "lqr_6f4e1c", "lqr_734aea")
"""How the ids of the trials end that judge."""

VARIANTS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "no history (no observer, no context)": {"model": {"history": 1}},
    "history of 6 rows": {"model": {"history": 6}},
    "no network to speak of": {"model": {"hidden": 1}},
    "one member": {"model": {"members": 1, "elites": 1}},
    "one-step loss": {"training": {"phases": [{"epochs": 14, "horizon": 1}]}},
    "yardstick: displacement": {"training": {"yardstick": "displacement"}},
    "no averaging": {"training": {"averaging": 0.0}},
    "no mirror images": {"training": {"mirror": False}},
    "four substeps": {"model": {"rigid_body": {"substeps": 4}}},
}


def measure(options: Options) -> Measurement:
    """Trains every variant once a seed."""
    split = load_split(options)
    judges = [trial for trial in split.train if _apart(trial)]
    learned = [trial for trial in split.train if not _apart(trial)]
    rows: list[Row] = []
    for number, (name, changes) in enumerate(VARIANTS.items()):
        if options.only and name not in options.only:
            continue
        recipe = Recipe.model_validate(_merged(load_recipe(ROBOT, ROBOT).as_data(), changes))
        for seed in options.seeds:
            fitted = fit(learned, split.robot, seed, options, recipe, f"ablation{number}")
            result = evaluate(fitted.bundle, judges, split.train)
            rows += [{**row, "model": name} for row in table_rows(result, "held apart", seed, fitted.seconds, fixed=False)]
    return Measurement("ablation", rows, {"recipe": load_recipe(ROBOT, ROBOT).as_data(), "design": DESIGN, "threads": 1})


def _apart(trial: Trial) -> bool:
    return str(trial.meta["id"]).endswith(HELD_APART)


def _merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, mapping by mapping."""
    return base | {
        key: _merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }
