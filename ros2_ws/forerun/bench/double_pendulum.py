"""The k-step table on the logs of the DFKI double pendulum, design C.1, beside what a learned model must beat."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun.bench.logs import as_trials, fit, folder_of_logs
from forerun.bench.physics import Physics, with_best_delay
from forerun.bench.recipes import simulated
from forerun.bench.records import Measurement, Options, Row, Unavailable
from forerun.evaluation import Evaluation, evaluate
from forerun_models.evaluation.kstep import cut, errors, rmse
from forerun_models.evaluation.predictors import Predictor
from forerun_models.recipe import load_recipe
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial

ROBOT = "double_pendulum"
DESIGN = "C.1"
UNSEEN = "C.1_pendubot_ilqr_tvlqr_lqr_perturbation"
"""How the trials of the controller begin that training never sees."""
PHYSICS = "published physics"
OURS, SIMULATION = "forerun", " from simulation"
_USUAL = 0.999
"""Of the training rows, those that are no faster than what counts as the speeds of training."""
_STRIDE = 25
"""Rows between the windows on which the delay of the published physics is chosen."""


@dataclass(frozen=True)
class Split:
    """Trials of the protocol: to learn from, to judge by, and those of the latter under the unseen controller."""

    robot: RobotSpec
    train: list[Trial]
    validation: list[Trial]

    @property
    def unseen(self) -> list[Trial]:
        """Validation trials of the controller that training never sees."""
        return [trial for trial in self.validation if str(trial.meta["id"]).startswith(UNSEEN)]

    @property
    def std(self) -> NDArray[np.float64]:
        """The protocol's yardstick [S]."""
        return np.asarray(np.concatenate([trial.states for trial in self.train]).astype(np.float64).std(axis=0))

    def physics(self) -> Physics:
        """The published physics, its delay chosen on the training trials."""
        return with_best_delay(cut(self.train, load_history(self.robot), stride=_STRIDE), self.std)


def load_history(robot: RobotSpec) -> int:
    """Rows of the past that the shipped recipe's model reads."""
    return load_recipe(robot.name, robot.name).model.history or robot.control.history


def protocol_files(folder: Path, part: str) -> list[Path]:
    """Logs of ``part`` (``train`` or ``validation``) that the protocol takes.

    Raises:
        Unavailable: split.json or index.json is missing.
    """
    for name in ("split.json", "index.json"):
        if not (folder / name).is_file():
            raise Unavailable(f"{folder / name}: no such file; it says which trials to use")
    split = json.loads((folder / "split.json").read_text())
    index = {entry["file"]: entry for entry in json.loads((folder / "index.json").read_text())["trials"]}
    chosen = [name for name in split[part] if name.startswith(DESIGN) and "static_noise" not in name]
    return [folder / name for name in chosen if index[name]["grid100Hz"]]


def load_split(options: Options) -> Split:
    """The protocol's trials, by way of bags."""
    folder, robot = folder_of_logs(options, ROBOT), load_robot(ROBOT)
    parts = {
        part: as_trials(protocol_files(folder, part), robot, options.work / "bags" / ROBOT / part)
        for part in ("train", "validation")
    }
    return Split(robot, **parts)


def measure(options: Options) -> Measurement:
    """Trains once a seed, from the URDF on and from a model of the randomized simulator on, and evaluates on the validation
    trials and on the unseen controller."""
    wanted = options.chosen([OURS, OURS + SIMULATION, PHYSICS])
    split = load_split(options)
    physics = split.physics() if PHYSICS in wanted else None
    rows: list[Row] = [] if physics is None else by_speed(split, physics, {"model": PHYSICS, "seed": "", "train_s": ""})
    for model in wanted:
        if model == PHYSICS:
            continue
        start = simulated(split.robot, options) if model.endswith(SIMULATION) else None
        for number, seed in enumerate(options.seeds):
            fitted = fit(split.train, split.robot, seed, options, name=_kept(model), start=start)
            about: Row = {"model": model, "seed": seed, "train_s": round(fitted.seconds, 1)}
            rows += by_speed(split, fitted.bundle.rollout, about)
            beside: dict[str, Predictor] = {} if physics is None else {PHYSICS: physics}
            for name, trials in (("validation", split.validation), ("unseen controller", split.unseen)):
                fixed = number == 0 and model == wanted[0]
                found = table_rows(evaluate(fitted.bundle, trials, split.train, beside), name, seed, fitted.seconds, fixed=fixed)
                rows += [{**row, "model": model} if row["model"] == OURS else row for row in found]
    settings: dict[str, Any] = {
        "recipe": load_recipe(ROBOT, ROBOT).as_data(),
        "physics_delay_s": None if physics is None else physics.delay,
        "design": DESIGN,
        "threads": 1,
    }
    return Measurement("logs", rows, settings)


def _kept(model: str) -> str:
    """Under what name its trainings are kept."""
    return f"{ROBOT}{model.removeprefix(OURS).replace(' ', '-')}"


def by_speed(split: Split, predict: Predictor, about: Row) -> list[Row]:
    """Errors of ``predict`` on windows of the validation trials in which no joint is faster than training shows, and on the
    others; with the median window's."""
    cuts, joints = cut(split.validation, load_history(split.robot)), len(split.robot.joints)
    squared = errors(predict, cuts, split.std)
    usual = np.quantile(np.concatenate([np.abs(trial.states[:, joints:]).max(axis=1) for trial in split.train]), _USUAL)
    beyond = np.abs(cuts.future[..., joints:]).max(axis=(1, 2)) > usual
    rows: list[Row] = []
    for trials, chosen in (("validation, speeds of training", ~beyond), ("validation, faster", beyond)):
        means = {f"k{step}": round(value, 4) for step, value in rmse(squared[chosen]).items()}
        window = np.sqrt(np.median(squared[chosen].mean(axis=2), axis=0))
        medians = {f"median{step}": round(float(window[step - 1]), 4) for step in (10, 50)}
        rows.append({"trials": trials, **about, **means, **medians, "windows": int(chosen.sum())})
    return rows


def table_rows(result: Evaluation, trials: str, seed: int, seconds: float, *, fixed: bool) -> list[Row]:
    """Rows of the table: the bundle's, and with ``fixed`` those of the models that know no seed."""
    rows: list[Row] = []
    for model, by_step in result.rows.items():
        ours = model == "this bundle"
        if ours or fixed:
            about = {"seed": seed, "train_s": round(seconds, 1)} if ours else {"seed": "", "train_s": ""}
            errors = {f"k{step}": round(value, 4) for step, value in by_step.items()}
            rows.append({"trials": trials, "model": OURS if ours else model, **about, **errors, "windows": result.windows})
    return rows
