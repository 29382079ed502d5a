"""The next experiment: commands that tell most about the parameters that are still uncertain.

D-optimal design: of many trajectories within the robot's limits, and of variations of the best, the one for which the
determinant of the information (what is known already and what the trajectory adds) is largest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.collect import Recording
from forerun_sim.errors import InputError
from forerun_sim.identify.information import RANGE_PRECISION
from forerun_sim.identify.laboratory import Knows, Laboratory, rest_of
from forerun_sim.identify.trajectories import Recipe
from forerun_sim.plant import Plant
from forerun_sim.randomization import stream
from forerun_sim.spec import RobotSpec
from forerun_sim.tracking import explore

Array = NDArray[np.float64]
_DEFAULTS = 5
"""Episodes of the default excitation that a design is compared with."""
_PARENTS = 4


@dataclass(frozen=True)
class Design:
    """An experiment.

    Attributes:
        recording: commands and the states that are expected, as a log would hold them.
        names: the parameters.
        known, after, default: standard deviation [n] in coordinates of each parameter: before, after this experiment, and after
            one of the same length by the default excitation (the median of five).
        gain, default_gain: logarithm of the information's determinant, over what is known.
        tried: trajectories that were looked at.
    """

    recording: Recording
    names: tuple[str, ...]
    known: Array
    after: Array
    default: Array
    gain: float
    default_gain: float
    tried: int


def design(
    spec: RobotSpec,
    engine: str,
    knows: Knows,
    *,
    seconds: float = 10.0,
    candidates: int = 40,
    seed: int = 0,
    tell: Callable[[float, float], None] = lambda share, gain: None,
) -> Design:
    """The most informative of ``candidates`` experiments of ``seconds`` [s] that begin at rest.

    Raises:
        InputError: the robot takes no commands, or no trajectory keeps within its limits.
    """
    if not spec.actuated:
        raise InputError(f"robot '{spec.name}' takes no commands: no experiment can be designed for it")
    steps = max(2, round(seconds * spec.control.rate))
    laboratory = Laboratory(spec, engine, knows)
    try:
        defaults = [laboratory.added(commands) for commands in _defaults(spec, engine, seed, steps)]
        rng = stream(seed, 0, "design")
        pool: list[tuple[float, Array, Array, Recipe]] = []
        for number in range(candidates):
            recipe = (
                Recipe.drawn(rng, spec, steps)
                if number < candidates // 2 or not pool
                else pool[int(rng.integers(min(_PARENTS, len(pool))))][3].varied(rng)
            )
            commands = recipe.commands(spec, steps)
            added = laboratory.added(commands)
            if added is not None:
                pool.append((knows_gain(knows, added), commands, added, recipe))
                pool.sort(key=lambda entry: -entry[0])
            tell((number + 1) / candidates, pool[0][0] if pool else np.nan)
        if not pool:
            raise InputError(
                f"robot '{spec.name}': no trajectory of {seconds:g} s stays within its limits; ask for a shorter one"
            )
        gain, commands, added, _ = pool[0]
        recording = laboratory.recording(commands, seed)
    finally:
        laboratory.close()
    usable = [other for other in defaults if other is not None]
    default = np.median([_deviations(knows, other) for other in usable], axis=0) if usable else _deviations(knows, None)
    gains = [knows_gain(knows, other) for other in usable] or [0.0]
    names = tuple(unknown.name for unknown in knows.sought)
    return Design(
        recording,
        names,
        _deviations(knows, None),
        _deviations(knows, added),
        default,
        gain,
        float(np.median(gains)),
        candidates,
    )


def knows_gain(knows: Knows, added: Array) -> float:
    """How much the logarithm of the determinant of the information grows by what is ``added`` [n, n]."""
    prior = knows.information + RANGE_PRECISION * np.eye(len(knows.sought))
    return float(np.linalg.slogdet(prior + added)[1] - np.linalg.slogdet(prior)[1])


def _deviations(knows: Knows, added: Array | None) -> Array:
    total = knows.information + RANGE_PRECISION * np.eye(len(knows.sought)) + (0.0 if added is None else added)
    return np.asarray(np.sqrt(np.diag(np.linalg.inv(total))))


def _defaults(spec: RobotSpec, engine: str, seed: int, steps: int) -> list[Array]:
    """Commands [T, A] of the default excitation, from rest."""
    plant, found = Plant(spec, engine=engine, randomize=False, seed=seed), []
    try:
        for episode in range(_DEFAULTS):
            policy = explore(spec, None, stream(seed, episode, "policy"), steps)
            reading = plant.reset(episode, initial=rest_of(spec))
            commands = np.zeros((steps, spec.action_size))
            for step in range(steps):
                commands[step] = policy(step, reading)
                reading = plant.step(commands[step]) or reading
            found.append(commands)
    finally:
        plant.close()
    return found


def expected(design: Design, knows: Knows) -> Mapping[str, tuple[tuple[float, float], tuple[float, float]]]:
    """95 % intervals [SI] by parameter: as known, and as they will be after the experiment."""
    found = {}
    for place, unknown in enumerate(knows.sought):
        at = float(knows.coordinates[place])
        before, after = (unknown.spread(at, 1.96 * float(side[place])) for side in (design.known, design.after))
        found[unknown.name] = (before, after)
    return found
