"""Identification shown three ways: known parameters found again, the real double pendulum, the servos of the SO-ARM101."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

import numpy as np

from forerun.bench.double_pendulum import load_split
from forerun.bench.logs import as_trials, folder_of_logs
from forerun.bench.records import Measurement, Options, Row, Unavailable
from forerun.bench.so101 import split
from forerun_models.evaluation.kstep import Cuts, cut, errors, rmse
from forerun_sim.collect import collect
from forerun_sim.identify import Fit, Progress, Settings, SimulatedPredictor, identify
from forerun_sim.identify.fit import nominal_values, sought_of
from forerun_sim.identify.segments import PAST
from forerun_sim.randomization import stream
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial

SEEDS = 1
ENGINES = ("bullet", "mujoco_urdf")
ROBOTS = ("pendulum", "cartpole")
"""Whose parameters are drawn and found again."""
EPISODES, STEPS = 20, 250
SEGMENTS, GENERATIONS = 200, 30
"""Of the searches for known parameters and for the double pendulum's."""
_SERVOS = ("stiffness", "servo_damping", "coulomb", "viscous", "delay")
"""What is sought of the SO-ARM101: gains, friction and delay; the rest stays as its robot.yaml has it."""
SEARCHED_IN = "mujoco_urdf"
"""Engine of the searches on real logs: both mean the same, and it knows rotors, so that it steps a few times as fast."""


def measure(options: Options) -> Measurement:
    """All three; real logs are left out where they are not on this machine."""
    rows: list[Row] = []
    for seed in options.seeds:
        for engine in ENGINES:
            for robot in ROBOTS:
                rows += known_truth(robot, engine, seed, options)
        for part in (double_pendulum, so101):
            try:
                rows += part(seed, options)
            except Unavailable as reason:
                options.note(f"left out: {reason}")
    settings = {"episodes": EPISODES, "steps": STEPS, "workers": _workers(), "search_on_logs": SEARCHED_IN}
    return Measurement("identify", rows, settings)


def known_truth(name: str, engine: str, seed: int, options: Options) -> list[Row]:
    """A row a parameter: what was drawn, what was found, and how far off that is."""
    spec = load_robot(name)
    truth = drawn_truth(spec, engine, seed)
    runs = collect(
        spec.model_copy(update={"nominal": truth}), episodes=EPISODES, seed=seed, steps=STEPS, randomize=False, engine=engine
    )
    try:
        trials = [run.trial(spec) for run in runs]
    finally:
        runs.close()
    fit = _fit(spec, trials[:-4], trials[-4:], Settings(engine, 25, SEGMENTS, GENERATIONS, seed, _workers()), options)
    rows: list[Row] = []
    for place, unknown in enumerate(fit.sought):
        told = unknown.name in fit.values
        found = unknown.value(float(fit.coordinates[place]))
        off = abs(found / truth[unknown.name] - 1.0)
        low, high = fit.interval(unknown.name) if told else (np.nan, np.nan)
        row: Row = {
            "what": "known truth",
            "robot": name,
            "engine": engine,
            "seed": seed,
            "parameter": unknown.name,
            "truth": float(f"{truth[unknown.name]:.5g}"),
            "found": float(f"{found:.5g}") if told else "not told",
            "off_percent": round(100.0 * off, 2) if told else "",
            "interval": f"{low:.4g} to {high:.4g}" if told else "",
            **_speed(fit),
        }
        rows.append(row)
    return rows


def drawn_truth(spec: RobotSpec, engine: str, seed: int) -> dict[str, float]:
    """Each parameter that the robot seeks, 0.7 to 1.4 times its nominal value, within its range."""
    rng = stream(seed, 0, "truth")
    found = {}
    for unknown in sought_of(spec, engine):
        value = unknown.nominal * float(np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
        found[unknown.name] = unknown.value(unknown.coordinate(value))
    return found


def double_pendulum(seed: int, options: Options) -> list[Row]:
    """The k-step table on the validation trials: the published physics and the refit, each in both engines."""
    logs = load_split(options)
    trials = [trial for number, trial in enumerate(logs.train) if number % 5 != 4]
    judged = [trial for number, trial in enumerate(logs.train) if number % 5 == 4]
    fit = _fit(logs.robot, trials, judged, Settings(SEARCHED_IN, 50, SEGMENTS, GENERATIONS, seed, _workers()), options)
    parts = (("validation", logs.validation), ("unseen controller", logs.unseen))
    rows: list[Row] = []
    for engine in ENGINES:
        for name, values in (("published", {}), ("refit", fit.values)):
            for part, chosen in parts:
                options.note(f"double_pendulum: {name} physics in {engine} on {part}")
                found = k_step(logs.robot, engine, values, fit, cut(chosen, PAST), logs.std)
                rows.append(_about("double pendulum", logs.robot, engine, seed) | {"model": name, "trials": part} | found)
    return rows + _estimates("double pendulum", logs.robot, fit, seed)


def so101(seed: int, options: Options) -> list[Row]:
    """Errors on unseen motions before and after, and the estimates."""
    robot = load_robot("so101")
    if robot.urdf is None:
        raise Unavailable("so101 has no URDF here")
    kept = {name: distribution for name, distribution in robot.identify.items() if name.partition(".")[0] in _SERVOS}
    robot = robot.model_copy(update={"identify": kept})
    files = sorted(folder_of_logs(options, "so101").glob("*.npz"))
    learned, unseen = split(as_trials(files, robot, options.work / "bags" / "so101-identify"))
    fit = _fit(robot, learned, unseen, Settings(SEARCHED_IN, 25, 100, 15, seed, _workers()), options)
    rows: list[Row] = []
    for side, values in fit.errors.items():
        table = {f"k{k}": round(value, 4) for k, value in values.items()}
        rows.append(_about("so101", robot, SEARCHED_IN, seed) | {"model": side, "trials": "unseen motions"} | table)
    return rows + _estimates("so101", robot, fit, seed)


def k_step(
    robot: RobotSpec,
    engine: str,
    values: Mapping[str, float],
    fit: Fit,
    cuts: Cuts,
    std: np.ndarray[tuple[int, ...], np.dtype[np.float64]],
) -> dict[str, str | int | float]:
    """The protocol's errors of ``robot`` with ``values`` in ``engine``; windows begin as those of ``fit``."""
    predictor = SimulatedPredictor(robot, engine, values, fit.start, _workers())
    found = rmse(errors(predictor, cuts, std))
    return {**{f"k{k}": round(value, 4) for k, value in found.items()}, "windows": len(cuts)}


def _about(what: str, robot: RobotSpec, engine: str, seed: int) -> dict[str, str | int | float]:
    return {"what": what, "robot": robot.name, "engine": engine, "seed": seed}


def _estimates(what: str, robot: RobotSpec, fit: Fit, seed: int) -> list[Row]:
    before = nominal_values(robot, SEARCHED_IN)
    return [
        _about(what, robot, SEARCHED_IN, seed)
        | {
            "parameter": name,
            "nominal": float(f"{before[name]:.5g}"),
            "found": float(f"{value:.5g}"),
            "interval": "{:.4g} to {:.4g}".format(*fit.interval(name)),
            **_speed(fit),
        }
        for name, value in fit.values.items()
    ]


def _speed(fit: Fit) -> dict[str, str | int | float]:
    count, seconds = fit.evaluated
    return {"segments": count, "seconds": round(seconds, 1), "segments_per_s": round(count / seconds, 1)}


def _fit(spec: RobotSpec, trials: Sequence[Trial], judged: Sequence[Trial], settings: Settings, options: Options) -> Fit:
    def tell(progress: Progress) -> None:
        options.note(
            f"{spec.name} in {settings.engine}: {progress.stage}, error {progress.error:.4f}, {progress.rate:.0f} segments/s"
        )

    return identify(spec, trials, judged, settings, tell=tell)


def _workers() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
