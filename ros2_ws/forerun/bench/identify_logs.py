"""Simulators fitted to real logs: the double pendulum of the k-step protocol, the servos of the SO-ARM101."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from forerun.bench.double_pendulum import UNSEEN, load_split
from forerun.bench.identify_known import fitted, speed
from forerun.bench.logs import as_trials, folder_of_logs
from forerun.bench.records import Options, Row, Unavailable
from forerun.bench.so101 import split
from forerun_models.evaluation.kstep import STRIDE, Cuts, cut, errors, rmse
from forerun_models.evaluation.predictors import Predictor, persistence
from forerun_sim.identify import Fit, Settings, SimulatedPredictor
from forerun_sim.identify.fit import nominal_values
from forerun_sim.identify.segments import PAST
from forerun_sim.spec import RobotSpec, load_robot

Array = NDArray[np.float32]
ENGINE = "bullet"
"""What is judged, and whose parameters are sought."""
_SERVOS = ("stiffness", "servo_damping", "coulomb", "viscous", "delay")
"""What is sought of the SO-ARM101: gains, friction and delay; the rest stays as its robot.yaml has it."""
_LAGS, _DELAYS = np.arange(0.0, 0.201, 0.01), np.arange(0, 9)
"""First-order lags [s] and delays [control steps] that are tried for each servo."""


@dataclass(frozen=True)
class Size:
    """What the searches get, and between how many rows windows of the SO-ARM101 begin."""

    segments: int = 200
    generations: int = 5
    servo_segments: int = 100
    servo_generations: int = 0
    servo_stride: int = 50


SIZE = Size()


def double_pendulum(seed: int, options: Options) -> list[Row]:
    """The k-step table on the validation trials and on the unseen controller's: published physics and the refit, in PyBullet.

    A fifth of the training trials is held out of the search.
    """
    logs = load_split(replace(options, work=options.work / f"seed-{seed}"))
    learned = [trial for number, trial in enumerate(logs.train) if number % 5 != 4]
    judged = [trial for number, trial in enumerate(logs.train) if number % 5 == 4]
    settings = Settings(ENGINE, 50, SIZE.segments, SIZE.generations, seed)
    fit = fitted(logs.robot, learned, judged, settings, options)
    about = _about("double pendulum", logs.robot, seed)
    rows = _inner(about, fit)
    cuts = cut(logs.validation, PAST)
    unseen = [number for number, trial in enumerate(logs.validation) if str(trial.meta["id"]).startswith(UNSEEN)]
    models: dict[str, Mapping[str, float]] = {"published": {}} if seed == options.seeds[0] else {}
    for name, values in (models | {"refit": fit.values}).items():
        options.note(f"double_pendulum: {name} physics on validation trials")
        squared = errors(SimulatedPredictor(logs.robot, ENGINE, values, fit.start), cuts, logs.std)
        for part, chosen in (("validation", cuts.trial >= 0), ("unseen controller", np.isin(cuts.trial, unseen))):
            rows.append(about | {"model": name, "trials": part, "windows": int(chosen.sum())} | _table(squared[chosen]))
    return rows + _estimates(about, logs.robot, fit)


def so101(seed: int, options: Options) -> list[Row]:
    """Errors on motions that no fit saw: the robot as its robot.yaml has it, with servos identified, and simpler models."""
    robot = load_robot("so101")
    if robot.urdf is None:
        raise Unavailable("so101 has no URDF here")
    kept = {name: distribution for name, distribution in robot.identify.items() if name.partition(".")[0] in _SERVOS}
    robot = robot.model_copy(update={"identify": kept})
    files = sorted(folder_of_logs(options, "so101").glob("*.npz"))
    train, unseen = split(as_trials(files, robot, options.work / "bags" / "so101-identify" / str(seed)))
    learned, judged = split(train)
    settings = Settings(ENGINE, 25, SIZE.servo_segments, SIZE.servo_generations, seed)
    fit = fitted(robot, learned, judged, settings, options)
    about = _about("so101", robot, seed)
    rows = _inner(about, fit)
    cuts = cut(unseen, PAST, stride=SIZE.servo_stride)
    std = np.asarray(np.concatenate([trial.states for trial in train]).astype(np.float64).std(axis=0))
    models: dict[str, Predictor] = {"refit": SimulatedPredictor(robot, ENGINE, fit.values, fit.start)}
    if seed == options.seeds[0]:
        models |= {
            "nominal simulator": SimulatedPredictor(robot, ENGINE, {}, fit.start),
            "first-order lag and delay": Follower.of(robot, cut(train, PAST, stride=5 * STRIDE), std),
            "persistence": persistence,
        }
    for name, model in models.items():
        options.note(f"so101: {name} on unseen motions")
        found = _table(errors(model, cuts, std))
        rows.append(about | {"model": name, "trials": "unseen motions", "windows": len(cuts)} | found)
    return rows + _estimates(about, robot, fit)


@dataclass(frozen=True)
class Follower:
    """Each joint follows its command with a first-order lag: it keeps ``keep`` [J] of its distance in a control ``period`` [s],
    from a command ``late`` [J] control steps ago."""

    keep: NDArray[np.float64]
    late: NDArray[np.int64]
    period: float

    @classmethod
    def of(cls, robot: RobotSpec, cuts: Cuts, std: NDArray[np.float64]) -> Follower:
        """The best lag and delay of each joint on ``cuts``, over all steps ahead."""
        joints, period = len(robot.joints), robot.control.period
        keep, late, least = np.zeros(joints), np.zeros(joints, dtype=np.int64), np.full(joints, np.inf)
        for lag in _LAGS:
            for delay in _DELAYS:
                kept = np.full(joints, np.exp(-period / lag) if lag else 0.0)
                tried = cls(kept, np.full(joints, delay), period)
                found = errors(tried, cuts, std)[..., :joints].mean(axis=(0, 1))
                better = found < least
                keep[better], late[better], least[better] = kept[better], delay, found[better]
        return cls(keep, late, period)

    def __call__(self, past_states: Array, past_actions: Array, actions: Array) -> Array:
        """States [N, H, S]."""
        joints, steps = len(self.keep), actions.shape[1]
        commands = np.concatenate([past_actions, actions], axis=1).astype(np.float64)
        place = past_states[:, -1, :joints].astype(np.float64)
        found = np.zeros((len(actions), steps, 2 * joints), dtype=np.float32)
        for step in range(steps):
            rows = np.maximum(past_actions.shape[1] + step - self.late, 0)
            target = commands[:, rows, np.arange(joints)]
            moved = target + self.keep * (place - target)
            found[:, step] = np.concatenate([moved, (moved - place) / self.period], axis=1)
            place = moved
        return found


def _about(what: str, robot: RobotSpec, seed: int) -> dict[str, str | int | float]:
    return {"what": what, "robot": robot.name, "engine": ENGINE, "seed": seed}


def _table(squared: NDArray[np.float64]) -> dict[str, float]:
    return {f"k{k}": round(value, 4) for k, value in rmse(squared).items()}


def _inner(about: Mapping[str, str | int | float], fit: Fit) -> list[Row]:
    """What the fit itself says of the training trials that it held out."""
    return [
        {**about, "model": side, "trials": "held-out training"} | {f"k{k}": round(value, 4) for k, value in values.items()}
        for side, values in fit.errors.items()
    ]


def _estimates(about: Mapping[str, str | int | float], robot: RobotSpec, fit: Fit) -> list[Row]:
    before = nominal_values(robot, ENGINE)
    return [
        {
            **about,
            "parameter": name,
            "nominal": float(f"{before[name]:.5g}"),
            "found": float(f"{value:.5g}"),
            "interval": "{:.4g} to {:.4g}".format(*fit.interval(name)),
            **speed(fit),
        }
        for name, value in fit.values.items()
    ]
