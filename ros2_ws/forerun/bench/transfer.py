"""What seconds of a robot that nobody here modelled are worth: from randomized simulation to the foreign plants, over DDS.

Curves over seconds of the plant's life, by robot and seed; shares say where a return lies between doing nothing and the oracle:
(R - R_hanging) / (R_oracle - R_hanging), all from the same initial states.

- ``fine-tuned``: the ready bundle, learned in randomized simulation alone (0 s), and what ``forerun finetune`` makes of it.
- ``scratch``: the same recipe trained on the plant's data alone.
- ``identified``: the same planner in a simulator identified from the same data.
- ``oracle``: the same planner in the plant itself, which sees its true state.
- ``changes``: the plant changes after 60 s; the bundle in use goes on and is fine-tuned on what it recorded since. Shares are on
  the scale of the plant as it was.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean, median
from typing import Any

from forerun.bench.pieces import Pieces
from forerun.bench.records import Measurement, Options, Row, need_ros
from forerun.bench.transfer_lab import ENGINE, EVALUATED, IDENTIFICATION, Lab, Setup
from forerun_models.bundle import load
from forerun_sim.resources import bundle_folder
from forerun_sim.spec import load_robot

SEEDS = 3
ROBOTS = ("cartpole", "pendulum")
CURVES = ("fine-tuned", "scratch", "identified", "oracle", "changes")
STAGES = (10, 30, 60, 300)
"""Seconds of the plant's life after which is looked, as far as ``--seconds`` reaches."""
FEW = (10, 60)
"""The same for what is dear: trainings from scratch and identifications."""
SINCE = (10, 30)
"""Seconds since a change after which the bundle is fine-tuned and looked at, until the return is back."""
EPISODES = 3
"""Of each evaluation."""
BEFORE = 60
"""Seconds of the plant's life before it changes."""
PAYLOAD = {"cartpole": 0.1, "pendulum": 0.2}
"""kg, at the last link's centre of mass."""
RECOVERED = 0.05
"""Share of the way from doing nothing to the oracle that a return may be short by."""


def changes(robot: str) -> dict[str, dict[str, Any]]:
    """What happens to the plant of ``robot``, each alone."""
    return {
        "payload": {"to": {"payload": PAYLOAD.get(robot, 0.2)}},
        "weak motor": {"times": {"strength": 0.7}},
        "delay": {"times": {"delay": 2.0}},
        "friction": {"times": {"damping": 3.0, "viscous": 3.0, "coulomb": 3.0}},
    }


def measure(options: Options) -> Measurement:
    """Every curve of every robot, with median and range over seeds."""
    import torch

    need_ros()
    torch.set_num_threads(1)
    robots = options.robots or ROBOTS
    curves = options.chosen(CURVES)
    rows: list[Row] = []
    bundles: dict[str, str] = {}
    for robot in robots:
        setup = _setup(robot, options.seconds)
        bundles[robot] = load(setup.zero_shot, robot=robot).digest[:12]
        rows += robot_rows(setup, curves, options)
    settings = {"engine": ENGINE, "seeds": list(options.seeds), "episodes": EPISODES, "first_episode": EVALUATED}
    settings |= {
        "zero_shot": bundles,
        "stages": [stage for stage in STAGES if stage <= options.seconds],
        "identification": IDENTIFICATION,
        "recovered": RECOVERED,
    }
    return Measurement("transfer", rows, settings | {"changes": {robot: changes(robot) for robot in robots}})


def _setup(robot: str, longest: float) -> Setup:
    spec, bundle = load_robot(robot), bundle_folder(robot)
    task = spec.task(load(bundle, robot=robot).manifest.task)
    return Setup(robot, bundle, task.duration, EPISODES, tuple(stage for stage in STAGES if stage <= longest))


def robot_rows(setup: Setup, curves: Sequence[str], options: Options) -> list[Row]:
    """The rows of one robot."""
    home = (options.kept or options.work) / setup.robot

    def note(where: str) -> Callable[[str], None]:
        return lambda text: options.note(f"transfer: {setup.robot}, {where}: {text}")

    total = _pieces(setup, curves)
    shared = Pieces(home / "shared", note("all seeds"))
    labs = [Lab(setup, seed, Pieces(home / f"seed_{seed}", note(f"seed {seed}"), total), shared) for seed in options.seeds]
    scale = Scale(labs[0].hanging(), labs[0].oracle())
    rows: list[Row] = [scale.row(setup, "hanging", 0, [scale.hanging] * len(labs))]
    if "oracle" in curves:
        rows.append(scale.row(setup, "oracle", 0, [scale.oracle] * len(labs)))
    if "fine-tuned" in curves:
        zero = [lab.evaluate(setup.zero_shot) for lab in labs]
        rows.append(scale.row(setup, "fine-tuned", 0, zero))
        for stage in setup.stages:
            found = [lab.evaluate(lab.tuned(stage)) for lab in labs]
            verdicts = [lab.verdict(stage) for lab in labs]
            row = scale.row(setup, "fine-tuned", stage, found, zero)
            rows.append({**row, "promoted": sum(bool(verdict["promoted"]) for verdict in verdicts)})
    few = [stage for stage in setup.stages if stage in FEW]
    if "scratch" in curves:
        rows += [scale.row(setup, "scratch", stage, [lab.evaluate(lab.scratch(stage)) for lab in labs]) for stage in few]
    if "identified" in curves:
        rows += [scale.row(setup, "identified", stage, [lab.by_identification(stage) for lab in labs]) for stage in few]
    if "changes" in curves:
        for name, change in changes(setup.robot).items():
            rows += _recoveries(setup, labs, scale, name, change)
    return rows


def _pieces(setup: Setup, curves: Sequence[str]) -> int:
    """How many pieces a seed has, if no candidate is refused."""
    few = sum(stage in FEW for stage in setup.stages)
    each = {"fine-tuned": 3 * len(setup.stages), "scratch": 2 * few, "identified": 2 * few, "changes": 4 * (1 + 3 * len(SINCE))}
    return sum(each.get(curve, 0) for curve in curves)


def _recoveries(setup: Setup, labs: Sequence[Lab], scale: Scale, name: str, change: Mapping[str, Any]) -> list[Row]:
    """Rows by seconds since a change, on the ``scale`` of the plant before it; the first with the seconds until the return was
    back (-1: not within the last stage), by seed."""
    before = [mean(lab.evaluate(lab.tuned(BEFORE))["returns"]) for lab in labs]
    margin = RECOVERED * (scale.best - scale.nothing)
    found = [
        lab.recovery(name.replace(" ", "_"), change, lab.tuned(BEFORE), SINCE, wanted=value - margin)
        for lab, value in zip(labs, before, strict=True)
    ]
    back = [_recovered(one, value, margin) for one, value in zip(found, before, strict=True)]
    rows: list[Row] = []
    for stage in (0, *SINCE):
        there = [one[stage] for one in found if stage in one]
        if there:
            row = {**scale.row(setup, "changes", stage, there), "change": name}
            rows.append(row | ({"recovery_s": " ".join(map(str, back))} if stage == 0 else {}))
    return rows


def _recovered(found: Mapping[int, Mapping[str, Any]], before: float, margin: float) -> int:
    """Seconds until the return was within ``margin`` of what it was before the change, or of the best since."""
    returns = {stage: mean(one["returns"]) for stage, one in found.items()}
    wanted = min(before, max(returns.values())) - margin
    return next((stage for stage, value in returns.items() if value >= wanted), -1)


@dataclass(frozen=True)
class Scale:
    """The ends of the scale of returns on one plant: results of doing nothing and of the oracle."""

    hanging: dict[str, Any]
    oracle: dict[str, Any]

    @property
    def nothing(self) -> float:
        """Mean return of doing nothing."""
        return float(mean(self.hanging["returns"]))

    @property
    def best(self) -> float:
        """Mean return of the oracle."""
        return float(mean(self.oracle["returns"]))

    def row(
        self,
        setup: Setup,
        curve: str,
        stage: int,
        found: Sequence[Mapping[str, Any]],
        zero_shot: Sequence[Mapping[str, Any]] | None = None,
    ) -> dict[str, str | int | float]:
        """Evaluations ``found`` by seed after ``stage`` seconds; ``zero_shot`` are those of the bundle that they began from."""
        returns = [mean(one["returns"]) for one in found]
        shares = [(value - self.nothing) / (self.best - self.nothing) for value in returns]
        row: dict[str, str | int | float] = {"robot": setup.robot, "curve": curve, "change": "", "seconds": stage}
        for name, values, digits in (("return", returns, 1), ("share", shares, 3)):
            row |= {f"{name}_median": round(median(values), digits)}
            row |= {f"{name}_min": round(min(values), digits), f"{name}_max": round(max(values), digits)}
        successes = [success for one in found for success in one["successes"]]
        row |= {"successes": sum(successes), "episodes": len(successes)}
        row |= {"returns": " ".join(f"{value:.1f}" for value in returns)}
        if zero_shot is not None:
            worse = [new < mean(old["returns"]) for new, old in zip(returns, zero_shot, strict=True)]
            row |= {"below_zero_shot": sum(worse)}
        return row
