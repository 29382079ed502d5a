"""The k-step table on the logs of the SO-ARM101: position commands, 80 to 160 ms from command to position."""

from __future__ import annotations

from forerun.bench.double_pendulum import table_rows
from forerun.bench.logs import as_trials, fit, folder_of_logs
from forerun.bench.records import Measurement, Options, Row
from forerun.evaluation import evaluate
from forerun_models.recipe import load_recipe
from forerun_models.training.split import hold_out
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial

ROBOT = "so101"
SPLIT_SEED = 0
FRACTION = 0.2
"""Of the rows, held out by whole motions; the same motions for every training seed."""


def split(trials: list[Trial]) -> tuple[list[Trial], list[Trial]]:
    """Motions to learn from and motions to judge by."""
    return hold_out(trials, FRACTION, SPLIT_SEED)


def measure(options: Options) -> Measurement:
    """Trains once a seed and evaluates on motions that training never saw."""
    robot = load_robot(ROBOT)
    files = sorted(folder_of_logs(options, ROBOT).glob("*.npz"))
    learned, unseen = split(as_trials(files, robot, options.work / "bags" / ROBOT))
    rows: list[Row] = []
    for number, seed in enumerate(options.seeds):
        fitted = fit(learned, robot, seed, options)
        result = evaluate(fitted.bundle, unseen, learned)
        rows += table_rows(result, "unseen motions", seed, fitted.seconds, fixed=number == 0)
    settings = {
        "recipe": load_recipe(ROBOT, ROBOT).as_data(),
        "unseen_motions": [str(trial.meta["id"]) for trial in unseen],
        "split_seed": SPLIT_SEED,
        "threads": 1,
    }
    return Measurement("so101", rows, settings)
