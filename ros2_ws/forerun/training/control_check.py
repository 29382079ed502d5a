"""The gate's check **control**: a model that predicts better may control worse.

Parent and candidate drive pairs of episodes, both of a pair from the same state and with the same noise, in a simulated robot
that neither was fitted to: the robot's own simulator, with parameters identified from all real trials of this fine-tuning. It is
a judge only where it knows the robot better than the candidate does, by its error on the real trials that judge; else the check
says why it does not judge, and passes. (It has seen those trials, the candidate has not; but they move a handful of physical
parameters.)

Returns differ from start to start by more than from bundle to bundle; within a pair the start is the same. Pairs are driven one
by one until their differences tell: a candidate is refused where they are below what may be lost by two standard errors, or by
one after the last pair, and passes as soon as they are above it by one. So a few unlucky episodes refuse nobody.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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

_SEGMENTS, _STEPS = 20, 15
"""Of the identification, which takes linear steps from the nominal values alone: a search would add little in seconds."""
_EPISODE = 500_000
"""Number of the first episode, which no collection reaches."""
_FEWEST = 2
"""Pairs before anything is decided."""
_USUAL, _WORTH = 0.05, 2
"""Standard deviation of a pair's difference, a share of what the parent gains, that is expected beforehand, and as how many pairs
this counts: of two that happen to agree nobody knows how much they vary."""
_SURE, _ENOUGH = 2.0, 1.0
"""Standard errors by which a candidate is refused before the last pair; by which it passes, or is refused after the last one."""


def control(parent: Parent, candidate: Bundle, split: Split, verdict: Verdict, seed: int) -> Check:
    """Whether ``candidate`` controls about as well as its ``parent``.

    Args:
        parent: what the candidate began from.
        candidate: with an agent.
        split: the real trials.
        verdict: so far, with the candidate's error on the trials that judge.
        seed: of episodes and planners.

    Returns:
        The row, whose figure is the candidate's return less its parent's, mean over pairs, as a share of what the parent gains
        over doing nothing. Nan where nobody could judge.
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
            return _compared(parent.bundle, candidate, plant, task, values, settings, f"{error:.4g} off on the held-out ones")
        finally:
            plant.close()
    except (InputError, UnstablePhysics) as problem:
        return _open(settings, f"no simulator of this robot: {problem}")


def identified(parent: Parent, split: Split, engine: str, seed: int) -> tuple[dict[str, float], float]:
    """Parameters of ``engine`` that the trials tell, and its error on those that judge, as candidates' errors are taken.

    Raises:
        InputError: the robot cannot be simulated, or no trial is long enough.
    """
    settings = Settings(engine=engine, steps=_STEPS, segments=_SEGMENTS, generations=0, seed=seed)
    whole = rejoined(split.trials)  # what was commanded before a piece begins tells what the drives still do
    fit = identify(parent.robot, whole, whole, settings)
    horizon, model = parent.recipe.finetuning.training.validation_horizon, parent.model
    cuts = windows(split.judge, model.features.history, horizon)
    predictor = SimulatedPredictor(parent.robot, engine, fit.values)
    squared = errors(predictor, cuts, model.features.state_std.numpy())
    return fit.values, float(np.sqrt(squared.mean(axis=(0, 2))).mean())


def _compared(
    parent: Bundle,
    candidate: Bundle,
    plant: Plant,
    task: TaskFunction,
    values: Mapping[str, float],
    settings: ControlCheck,
    judge: str,
) -> Check:
    """Drives pairs until they tell.

    Raises:
        UnstablePhysics: the physics exploded.
    """
    nothing = driven(None, plant, task, values, settings, 0)
    before: list[float] = []
    after: list[float] = []
    decided, gain, gained, error = False, 0.0, 0.0, math.nan
    while not decided:
        for bundle, returns in ((parent, before), (candidate, after)):
            returns.append(driven(bundle, plant, task, values, settings, len(returns)))
        gain = max(abs(mean(before) - nothing), 1e-9)
        differences = [(new - old) / gain for new, old in zip(after, before, strict=True)]
        gained, error = mean(differences), standard_error(differences)
        decided = enough(differences, settings)
    text = (
        f"mean return {mean(after):.4g} against the parent's {mean(before):.4g}, {nothing:.4g} doing nothing, from the same "
        f"{len(before)} start(s) in the simulator identified from these trials ({judge}): {gained:+.3f} of what the parent "
        f"gains, give or take {error:.3f}; {settings.worse:g} may be lost"
    )
    return check("control", gained, -settings.worse - _ENOUGH * error, math.inf, text)


def enough(differences: Sequence[float], settings: ControlCheck) -> bool:
    """Whether ``differences`` of pairs tell, or are all that there may be."""
    count = len(differences)
    if count >= settings.episodes:
        return True
    above = mean(differences) + settings.worse
    error = standard_error(differences)
    return count >= _FEWEST and (above >= _ENOUGH * error or above <= -_SURE * error)


def standard_error(differences: Sequence[float]) -> float:
    """Of the mean of ``differences``, of which few are no measure of how much they vary."""
    count, middle = len(differences), mean(differences)
    squares = sum((one - middle) ** 2 for one in differences) + _WORTH * _USUAL**2
    return math.sqrt(squares / (count - 1 + _WORTH) / count)


def driven(
    bundle: Bundle | None, plant: Plant, task: TaskFunction, values: Mapping[str, float], settings: ControlCheck, number: int
) -> float:
    """The return of an episode under ``bundle``, or under commands of zero.

    Raises:
        UnstablePhysics: the physics exploded.
    """
    seconds, period = min(settings.seconds, task.task.duration), plant.spec.control.period
    idle = np.zeros(plant.spec.action_size)
    policy: Policy = (lambda step, reading: idle) if bundle is None else BundlePolicy(bundle, plant.seed, period)
    return score(drive(policy, plant, _EPISODE + number, seconds, values), task, seconds).total


def _open(settings: ControlCheck, why: str) -> Check:
    return Check("control", math.nan, -settings.worse, math.inf, True, why)
