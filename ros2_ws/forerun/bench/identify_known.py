"""Known parameters found again, from logs with the sensors' noise on, and after the experiment that a first fit asks for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from forerun.bench.records import Options, Row
from forerun_sim.collect import collect
from forerun_sim.excitation import PolicyFactory
from forerun_sim.identify import Fit, Knows, PlayedFactory, Progress, Settings, design, identify
from forerun_sim.identify.fit import sought_of
from forerun_sim.randomization import stream
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tracking import explore
from forerun_sim.trial import Trial

ENGINES = ("bullet", "mujoco_urdf")
ROBOTS = ("pendulum", "cartpole")
"""Whose parameters are drawn and found again."""
_HELD = 4
"""Episodes that are held out."""


@dataclass(frozen=True)
class Size:
    """Episodes, their control steps, and what a search gets; ``ahead`` steps are predicted."""

    episodes: int = 64
    steps: int = 250
    segments: int = 500
    generations: int = 5
    few: int = 12
    seconds: float = 10.0
    ahead: int = 25


SIZE = Size()


def known_truth(seed: int, options: Options) -> list[Row]:
    """A row a parameter of each robot in each engine: what was drawn, what was found, and how far off that is."""
    rows: list[Row] = []
    for robot in ROBOTS:
        for engine in ENGINES:
            spec = load_robot(robot)
            truth = drawn_truth(spec, engine, seed)
            trials = _logs(spec, truth, engine, seed, SIZE.episodes, SIZE.steps)
            fit = fitted(spec, trials[:-_HELD], trials[-_HELD:], _settings(engine, seed), options)
            about: Row = {"what": "known truth", "robot": robot, "engine": engine, "seed": seed}
            rows += [{**about, **row, **speed(fit)} for row in _compared(fit, truth)]
    return rows


def designed(seed: int, options: Options) -> list[Row]:
    """A row a parameter of the pendulum: found from few logs, from these and more by the default excitation, and from these and
    the experiment that they ask for."""
    spec, engine = load_robot("pendulum"), "mujoco_urdf"
    truth = drawn_truth(spec, engine, seed)
    steps = round(SIZE.seconds * spec.control.rate)
    trials = _logs(spec, truth, engine, seed, SIZE.few + 1, SIZE.steps)
    first, held = trials[:_HELD], trials[-_HELD:]
    fit = fitted(spec, first, held, _settings(engine, seed), options)
    made = design(spec, engine, Knows.of(fit), seconds=SIZE.seconds, seed=seed)
    command = made.recording.command
    further = {
        "first logs": [],
        "and the default excitation": _logs(spec, truth, engine, seed + 1000, 1, steps),
        "and the designed experiment": _logs(spec, truth, engine, seed + 1000, 1, steps, PlayedFactory(command)),
    }
    rows: list[Row] = []
    for name, added in further.items():
        found = fitted(spec, [*first, *added], held, _settings(engine, seed), options) if added else fit
        about: Row = {"what": "designed experiment", "robot": spec.name, "engine": engine, "seed": seed, "model": name}
        rows += [{**about, **row} for row in _compared(found, truth)]
    return rows


def drawn_truth(spec: RobotSpec, engine: str, seed: int) -> dict[str, float]:
    """Each parameter that the robot seeks, 0.7 to 1.4 times its nominal value, within its range."""
    rng = stream(seed, 0, "truth")
    found = {}
    for unknown in sought_of(spec, engine):
        value = unknown.nominal * float(np.exp(rng.uniform(np.log(0.7), np.log(1.4))))
        found[unknown.name] = unknown.value(unknown.coordinate(value))
    return found


def fitted(spec: RobotSpec, trials: Sequence[Trial], judged: Sequence[Trial], settings: Settings, options: Options) -> Fit:
    """A fit that tells how far it is."""

    def tell(progress: Progress) -> None:
        told = f"{progress.stage}, error {progress.error:.4f}, {progress.rate:.0f} segments/s"
        options.note(f"{spec.name} in {settings.engine}: {told}")

    return identify(spec, trials, judged, settings, tell=tell)


def speed(fit: Fit) -> Row:
    """How many segments a fit simulated, in which time."""
    count, seconds = fit.evaluated
    return {"segments": count, "seconds": round(seconds, 1), "segments_per_s": round(count / seconds, 1)}


def _settings(engine: str, seed: int) -> Settings:
    return Settings(engine, SIZE.ahead, SIZE.segments, SIZE.generations, seed)


def _logs(
    spec: RobotSpec,
    truth: Mapping[str, float],
    engine: str,
    seed: int,
    episodes: int,
    steps: int,
    policy: PolicyFactory = explore,
) -> list[Trial]:
    robot = spec.model_copy(update={"nominal": dict(truth)})
    runs = collect(robot, episodes=episodes, seed=seed, steps=steps, randomize=False, engine=engine, policy=policy)
    try:
        return [run.trial(spec) for run in runs]
    finally:
        runs.close()


def _compared(fit: Fit, truth: Mapping[str, float]) -> list[dict[str, str | int | float]]:
    rows: list[dict[str, str | int | float]] = []
    for unknown in fit.sought:
        name, right = unknown.name, truth[unknown.name]
        row: dict[str, str | int | float] = {"parameter": name, "truth": float(f"{right:.5g}")}
        if name in fit.values:
            value, (low, high) = fit.values[name], fit.interval(name)
            row |= {
                "found": float(f"{value:.5g}"),
                "off_percent": round(100.0 * abs(value / right - 1.0), 2),
                "interval": f"{low:.5g} to {high:.5g}",
                "half_width_percent": round(50.0 * (high - low) / right, 2),
                "covered": int(low <= right <= high),
            }
        else:
            row["found"] = "not told"
        rows.append(row)
    return rows
