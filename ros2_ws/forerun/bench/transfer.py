"""What seconds of a robot that nobody here modelled are worth: from randomized simulation to the foreign plants, over DDS.

Curves over seconds of the plant's life, by robot and seed; shares say where a return lies between doing nothing and the oracle:
(R - R_hanging) / (R_oracle - R_hanging), all from the same initial states; nan for robots without an oracle (``Ahead`` takes
drives that are told efforts alone).

- ``fine-tuned``: the ready bundle, learned in randomized simulation alone (0 s), and what ``forerun finetune`` makes of it.
- ``scratch``: the same recipe trained on the plant's data alone.
- ``identified``: the same planner in a simulator identified from the same data.
- ``oracle``: the same planner in the plant itself, which sees its true state; of acrobot and pendubot (``--robot``; without
  ``identified`` and ``changes``) a trajectory that knows the plant (``transfer_swing``).
- ``changes``: the plant changes after 60 s; the bundle in use goes on and is fine-tuned on what it recorded since
  (``transfer_changes``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from forerun.bench import transfer_swing
from forerun.bench.pieces import Pieces
from forerun.bench.records import Measurement, Options, Row, need_ros
from forerun.bench.transfer_changes import RECOVERED, SINCE, changes, recoveries
from forerun.bench.transfer_lab import ENGINE, EVALUATED, IDENTIFICATION, Lab, Setup
from forerun.bench.transfer_scale import Scale
from forerun.bench.transfer_zero import simulated
from forerun_models.bundle import load
from forerun_sim.spec import load_robot

SEEDS = 3
ROBOTS = ("cartpole", "pendulum")
CURVES = ("fine-tuned", "scratch", "identified", "oracle", "changes")
STAGES = (10, 30, 60, 300)
"""Seconds of the plant's life after which is looked, as far as ``--seconds`` reaches."""
FEW = (10, 60)
"""The same for what is dear: trainings from scratch and identifications."""
EPISODES = 3
"""Of each evaluation."""


def measure(options: Options) -> Measurement:
    """Every curve of every robot, with median and range over seeds."""
    import torch

    need_ros()
    torch.set_num_threads(1)
    robots = options.robots or ROBOTS  # or tasks of transfer_swing, which are measured when they are asked for
    curves = options.chosen(CURVES)
    rows: list[Row] = []
    bundles: dict[str, str] = {}
    for robot in robots:
        setup = _setup(robot, options.seconds, _shared(robot, options))
        bundles[robot] = load(setup.zero_shot, robot=setup.robot).digest[:12]
        rows += robot_rows(setup, curves, options)
    settings = {"engine": ENGINE, "seeds": list(options.seeds), "episodes": EPISODES, "first_episode": EVALUATED}
    settings |= {
        "zero_shot": bundles,
        "stages": [stage for stage in STAGES if stage <= options.seconds],
        "identification": IDENTIFICATION,
        "recovered": RECOVERED,
    }
    return Measurement("transfer", rows, settings | {"changes": {robot: changes(robot) for robot in robots}})


def _shared(robot: str, options: Options) -> Pieces:
    """The pieces that do not depend on a seed."""
    home = (options.kept or options.work) / robot / "shared"
    return Pieces(home, lambda text: options.note(f"transfer: {robot}, all seeds: {text}"))


def _setup(name: str, longest: float, shared: Pieces) -> Setup:
    bundle, robot = simulated(name, shared), transfer_swing.ROBOT if name in transfer_swing.TASKS else name
    task = load_robot(robot).task(load(bundle, robot=robot).manifest.task)
    stages = tuple(stage for stage in STAGES if stage <= longest)
    return Setup(robot, bundle, task.duration, EPISODES, stages, name=name)


def robot_rows(setup: Setup, curves: Sequence[str], options: Options) -> list[Row]:
    """The rows of one robot."""
    home = (options.kept or options.work) / setup.title

    def note(where: str) -> Callable[[str], None]:
        return lambda text: options.note(f"transfer: {setup.title}, {where}: {text}")

    total = _pieces(setup, curves)
    shared = _shared(setup.title, options)
    labs = [Lab(setup, seed, Pieces(home / f"seed_{seed}", note(f"seed {seed}"), total), shared) for seed in options.seeds]
    scale = Scale(labs[0].hanging(), labs[0].oracle())
    rows: list[Row] = [scale.row(setup, "hanging", 0, [scale.hanging] * len(labs))]
    if "oracle" in curves and scale.oracle is not None:
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
            rows += recoveries(setup, labs, name, change)
    return rows


def _pieces(setup: Setup, curves: Sequence[str]) -> int:
    """How many pieces a seed has, if no candidate is refused."""
    few = sum(stage in FEW for stage in setup.stages)
    each = {"fine-tuned": 3 * len(setup.stages), "scratch": 2 * few, "identified": 2 * few, "changes": 4 * (1 + 3 * len(SINCE))}
    return sum(each.get(curve, 0) for curve in curves)
