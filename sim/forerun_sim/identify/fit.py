"""From logs to parameters: what the logs can tell, the search, and how sure the result is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forerun_sim.errors import InputError
from forerun_sim.identify.checkpoint import Checkpoint, fingerprint
from forerun_sim.identify.fitting import Fitting
from forerun_sim.identify.objective import Objective
from forerun_sim.identify.result import Fit, Progress, Settings
from forerun_sim.identify.segments import clear_of_stops, cut, smoothed, yardstick
from forerun_sim.identify.simulate import Simulation
from forerun_sim.identify.unknowns import Unknown, unknowns
from forerun_sim.identify.work import Crew
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial
from forerun_sim.urdf import robot_urdf

Array = NDArray[np.float64]

_USUAL = Settings()


def identify(
    spec: RobotSpec,
    trials: Sequence[Trial],
    held_out: Sequence[Trial],
    settings: Settings = _USUAL,
    *,
    checkpoint: Path | None = None,
    stopped: Callable[[], bool] = lambda: False,
    tell: Callable[[Progress], None] = lambda progress: None,
) -> Fit:
    """Fits the simulator of ``spec`` to ``trials``.

    Args:
        spec: the robot.
        trials: to learn from, simulated or real.
        held_out: to judge by; never looked at before the end.
        settings: how.
        checkpoint: file of the search's state: written after each generation, gone on from where it fits, removed at the end.
        stopped: asked after each generation; True ends the search with what is best so far.
        tell: hears how far it is.

    Raises:
        InputError: no such engine, parameter or range, or no trial is long enough.
    """
    train = cut(trials, _reach(trials, settings.steps), settings.segments)
    judged = cut(held_out, min(train.steps, _reach(held_out, settings.steps)), settings.segments)
    if judged.steps < train.steps:
        train = cut(trials, judged.steps, settings.segments)
    train = clear_of_stops(train, _stops(spec), spec.control.period)
    crew = Crew(spec, settings.engine, train.join(judged), settings.workers)
    try:
        sought = sought_of(spec, settings.engine)
        saved = Checkpoint.of(checkpoint, fingerprint(spec, trials, settings))
        objective = Objective(crew, sought, smoothed(train, spec.control.period), yardstick(trials))
        return Fitting(crew, objective, sought, settings, tell, stopped).run(saved)
    finally:
        crew.close()


def sought_of(spec: RobotSpec, engine: str) -> tuple[Unknown, ...]:
    """The unknowns of ``spec`` in ``engine``."""
    simulation = Simulation(spec, engine)
    try:
        return unknowns(spec, simulation.nominal)
    finally:
        simulation.close()


def _stops(spec: RobotSpec) -> Array:
    """The least and the most position [2, J] that the robot's joints can have, infinite where nothing stops them."""
    stops = np.array([[-np.inf], [np.inf]]) * np.ones(len(spec.joints))
    joints = {} if spec.urdf is None else robot_urdf(spec).joints
    for place, name in enumerate(spec.joint_names):
        joint = joints.get(name)
        if joint is None or joint.type == "continuous" or joint.lower is None or joint.upper is None:
            continue
        if joint.lower < joint.upper:
            stops[:, place] = joint.lower, joint.upper
    return stops


def _reach(trials: Sequence[Trial], steps: int) -> int:
    longest = max((len(trial) for trial in trials), default=0)
    if longest < 2:
        raise InputError("there is no trial with at least two rows to identify from, or none is held out")
    return min(steps, longest - 1)


def nominal_values(spec: RobotSpec, engine: str) -> dict[str, float]:
    """All nominal parameters of ``spec`` in ``engine``, by name."""
    simulation = Simulation(spec, engine)
    try:
        return simulation.nominal.flat()
    finally:
        simulation.close()
