"""The gate's check **control**: a model that predicts better may control worse.

Parent and candidate drive the same few episodes, from the same states and with the same noise, in a simulated robot that neither
was fitted to: the robot's own simulator, with parameters identified from all real trials of this fine-tuning. It is a judge only
where it knows the robot better than the candidate does, by its error on the real trials that judge; else the check says why it
does not judge, and passes. (It has seen those trials, the candidate has not; but they move a handful of physical parameters.)
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from importlib.util import find_spec
from statistics import mean

import numpy as np

from forerun.control.agent import BundlePolicy, drive
from forerun.demo.measure import score
from forerun_models.bundle import Bundle
from forerun_models.evaluation.kstep import errors
from forerun_models.recipe import ControlCheck
from forerun_models.training.finetune import Parent, Verdict
from forerun_models.training.gate import Check, check, windows
from forerun_models.training.split import Split, rejoined
from forerun_sim.errors import InputError, UnstablePhysics
from forerun_sim.excitation import Policy
from forerun_sim.identify import Settings, SimulatedPredictor, identify
from forerun_sim.plant import Plant
from forerun_sim.tasks import TaskFunction

_SEGMENTS, _STEPS, _GENERATIONS = 20, 25, 1
"""Of the identification: linear steps from the nominal values do nearly all, in seconds."""
_EPISODE = 500_000
"""Number of the first episode, which no collection reaches."""


def control(parent: Parent, candidate: Bundle, split: Split, verdict: Verdict, seed: int) -> Check:
    """Whether ``candidate`` controls about as well as its ``parent``.

    Args:
        parent: what the candidate began from.
        candidate: with an agent.
        split: the real trials.
        verdict: so far, with the candidate's error on the trials that judge.
        seed: of episodes and planners.

    Returns:
        The row, whose figure is the candidate's mean return less its parent's, as a share of what the parent gains over doing
        nothing. Nan where nobody could judge.
    """
    settings = parent.recipe.finetuning.control
    if not parent.bundle.has_agent or candidate.picture_shape is not None:
        return _open(settings, "an agent of this kind is not driven in simulation")
    engine = "mujoco_urdf" if find_spec("mujoco") else "bullet"
    try:
        values, error = identified(parent, split, engine, seed)
        if not error < verdict.candidate_error:
            theirs = f"{error:.4g} against the candidate's {verdict.candidate_error:.4g}"
            return _open(settings, f"the identified simulator predicts the held-out trials no better, {theirs}: it is no judge")
        task = TaskFunction(parent.robot, candidate.manifest.task)
        plant = Plant(parent.robot, engine=engine, task=task.name, seed=seed, randomize=False)
        try:
            returns = [driven(bundle, plant, task, values, settings) for bundle in (None, parent.bundle, candidate)]
        finally:
            plant.close()
    except (InputError, UnstablePhysics) as problem:
        return _open(settings, f"no simulator of this robot: {problem}")
    nothing, before, after = map(mean, returns)
    figure = (after - before) / max(abs(before - nothing), 1e-9)
    text = (
        f"mean return {after:.4g} against the parent's {before:.4g}, {nothing:.4g} doing nothing, {settings.episodes} episodes "
        f"in the simulator identified from these trials ({error:.4g} off on the held-out ones, the candidate "
        f"{verdict.candidate_error:.4g}); {settings.worse:g} of what the parent gains may be lost"
    )
    return check("control", figure, -settings.worse, math.inf, text)


def identified(parent: Parent, split: Split, engine: str, seed: int) -> tuple[dict[str, float], float]:
    """Parameters of ``engine`` that the trials tell, and its error on those that judge, as candidates' errors are taken.

    Raises:
        InputError: the robot cannot be simulated, or no trial is long enough.
    """
    settings = Settings(engine=engine, steps=_STEPS, segments=_SEGMENTS, generations=_GENERATIONS, seed=seed)
    whole = rejoined(split.trials)  # what was commanded before a piece begins tells what the drives still do
    fit = identify(parent.robot, whole, whole, settings)
    horizon, model = parent.recipe.finetuning.training.validation_horizon, parent.model
    cuts = windows(split.judge, model.features.history, horizon)
    predictor = SimulatedPredictor(parent.robot, engine, fit.values)
    squared = errors(predictor, cuts, model.features.state_std.numpy())
    return fit.values, float(np.sqrt(squared.mean(axis=(0, 2))).mean())


def driven(
    bundle: Bundle | None, plant: Plant, task: TaskFunction, values: Mapping[str, float], settings: ControlCheck
) -> list[float]:
    """Returns of the episodes under ``bundle``, or of one under commands of zero, of which one is like the other.

    Raises:
        UnstablePhysics: the physics exploded.
    """
    seconds, period = min(settings.seconds, task.task.duration), plant.spec.control.period
    idle = np.zeros(plant.spec.action_size)
    found = []
    for number in range(settings.episodes if bundle is not None else 1):
        policy: Policy = (lambda step, reading: idle) if bundle is None else BundlePolicy(bundle, plant.seed, period)
        found.append(score(drive(policy, plant, _EPISODE + number, seconds, values), task, seconds).total)
    return found


def _open(settings: ControlCheck, why: str) -> Check:
    return Check("control", math.nan, -settings.worse, math.inf, True, why)
