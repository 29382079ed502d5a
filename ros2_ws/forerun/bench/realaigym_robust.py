"""How often acrobot and pendubot still stand at the end where the plant is not what the bundle knows.

Seven criteria, each a few values; the share of successes of each, and the mean of the seven. How the leaderboards' protocol is
read here: each value alone, in one attempt of 10 s; no fine-tuning; the bundle's graph is asked at every sample, on a simulated
clock.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from forerun.bench.realaigym_score import score
from forerun_models.bundle import Bundle, load
from forerun_sim.errors import UnstablePhysics
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot

Array = NDArray[np.float64]

SECONDS = 10.0
PUSHES, PUSHED = 3, 0.1
"""Torque pushes an attempt on both joints, and how long each lasts [s]."""


@dataclass(frozen=True)
class Case:
    """An attempt: the plant's ``factors`` and ``values``, ``noise`` of the torque on the driven joint (standard deviation) and
    size of ``pushes`` [N m]."""

    factors: Mapping[str, float] = field(default_factory=dict)
    values: Mapping[str, float] = field(default_factory=dict)
    noise: float = 0.0
    pushes: float = 0.0


def _each(*names: str) -> Callable[[float], dict[str, float]]:
    return lambda value: dict.fromkeys(names, value)


_COULOMB, _STRENGTH = _each("coulomb.shoulder", "coulomb.elbow"), _each("strength.shoulder", "strength.elbow")
CRITERIA: dict[str, tuple[Case, ...]] = {
    "model": tuple(
        Case(factors={name: factor})
        for name in ("mass.upper", "mass.lower", "inertia.upper", "inertia.lower")
        for factor in (0.75, 1.25)
    ),
    "friction": tuple(Case(values=_COULOMB(value)) for value in (0.01, 0.03, 0.06, 0.1)),  # N m
    "velocity_noise": tuple(Case(values={"velocity_noise": value}) for value in (0.1, 0.2, 0.35, 0.5)),  # rad/s
    "torque_noise": tuple(Case(noise=value) for value in (0.25, 0.5, 0.8, 1.1)),  # N m
    "weak_motors": tuple(Case(values=_STRENGTH(value)) for value in (0.95, 0.9, 0.8, 0.7)),
    "delay": tuple(Case(values={"delay": value}) for value in (0.01, 0.02, 0.03, 0.04)),  # s
    "pushes": tuple(Case(pushes=value) for value in (0.25, 0.5, 0.75, 1.0)),  # N m
}


def share(bundle: Path, robot: str, task: str, criterion: str, seed: int) -> float:
    """Share of successes of ``bundle`` in the cases of ``criterion``."""
    loaded = load(bundle, robot=robot)
    found = [attempt(loaded, robot, task, case, seed + number) for number, case in enumerate(CRITERIA[criterion])]
    return float(np.mean(found))


def attempt(bundle: Bundle, robot: str, task: str, case: Case, seed: int, seconds: float = SECONDS) -> bool:
    """Whether ``bundle`` succeeds in ``case``."""
    spec = load_robot(robot)
    plant = Plant(spec, engine="mujoco", task=task, seed=seed, randomize=False)
    parameters = {name: plant.parameters[name] * factor for name, factor in case.factors.items()} | dict(case.values)
    period, lower, upper = spec.control.period, *spec.action_limits(task)
    steps = round(seconds / period)
    reading = plant.reset(0, parameters=parameters)
    disturbance = _disturbance(case, steps, period, (upper > lower).astype(float), np.random.default_rng(seed))
    goal, carry, command = bundle.manifest.goal_default.astype(np.float32), bundle.start(), np.zeros(spec.action_size)
    rows = [np.concatenate([reading.position, reading.velocity, command])] * bundle.manifest.history
    states = []
    try:
        for step in range(steps):
            rows = [*rows[1:], np.concatenate([reading.position, reading.velocity, command])]
            history = np.asarray(rows, np.float32)
            decision = bundle.act(history, goal, np.zeros(0, np.float32), period if step else 0.0, 0.0, carry)
            carry, command = decision.carry, decision.plan[0].astype(float)
            rows[-1][-spec.action_size :] = command
            states.append(plant.true_state())
            reading = plant.step(command + disturbance[step]) or reading
    except UnstablePhysics:
        return False
    finally:
        plant.close()
    return score(np.asarray(states), np.zeros((steps, spec.action_size)), period).success


def _disturbance(case: Case, steps: int, period: float, driven: Array, rng: np.random.Generator) -> Array:
    """Torques [steps, A] beside the commands."""
    found = case.noise * rng.normal(size=(steps, 1)) * driven
    length = round(PUSHED / period)
    for begin in rng.integers(0, steps - length, PUSHES):
        found[begin : begin + length] += case.pushes * rng.choice((-1.0, 1.0), size=len(driven))
    return found
