"""The double pendulum as a rigid-body simulator with the published parameters sees it: what a learned model must be held against.

    M(q) ddq = tau - C(q, dq) + G(q) - b dq - cf atan(100 dq)

q = (shoulder, elbow), 0 hangs down, the elbow relative to the upper arm. Inertias are about the joints' axes; the rotors turn
``gear`` times as fast as the joints and the elbow's motor sits at the shoulder.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_models.evaluation.kstep import Cuts, errors, rmse

Array = NDArray[np.float32]
Floats = NDArray[np.float64]

_STIFFNESS = 100.0
"""[s/rad] of the smoothed Coulomb friction, cf atan(100 dq)."""


@dataclass(frozen=True)
class Parameters:
    """A double pendulum; the defaults are those published for design C.1. SI; ``inertia`` is about each joint's axis."""

    mass: tuple[float, float] = (0.5235, 0.6256)
    length: tuple[float, float] = (0.2, 0.3)
    centre: tuple[float, float] = (0.2, 0.2557)
    inertia: tuple[float, float] = (0.03189, 0.05087)
    viscous: tuple[float, float] = (0.001, 0.001)
    coulomb: tuple[float, float] = (0.16, 0.12)
    rotor: float = 6.29e-5
    gear: float = 6.0
    gravity: float = 9.81


def mass_matrix(p: Parameters, elbow: Floats) -> tuple[Floats, Floats, Floats]:
    """M11, M12, M22 at the elbow angles [N]."""
    coupling = p.mass[1] * p.length[0] * p.centre[1] * np.cos(elbow)
    geared = p.gear**2 * p.rotor
    upper = p.inertia[0] + p.inertia[1] + p.mass[1] * p.length[0] ** 2 + 2 * coupling + p.rotor + geared
    return upper, p.inertia[1] + coupling - p.gear * p.rotor, np.full_like(coupling, p.inertia[1] + geared)


def derivative(p: Parameters, state: Floats, torque: Floats) -> Floats:
    """Time derivative [N, 4] of ``state`` [N, 4] under ``torque`` [N, 2]."""
    q1, q2, v1, v2 = state.T
    m11, m12, m22 = mass_matrix(p, q2)
    centrifugal = p.mass[1] * p.length[0] * p.centre[1] * np.sin(q2)
    lower = p.mass[1] * p.gravity * p.centre[1] * np.sin(q1 + q2)
    upper = p.gravity * (p.mass[0] * p.centre[0] + p.mass[1] * p.length[0]) * np.sin(q1) + lower
    speed = state[:, 2:]
    friction = np.array(p.viscous) * speed + np.array(p.coulomb) * np.arctan(_STIFFNESS * speed)
    force = torque - friction
    first = force[:, 0] + centrifugal * (2 * v1 * v2 + v2**2) - upper
    second = force[:, 1] - centrifugal * v1**2 - lower
    determinant = m11 * m22 - m12**2
    return np.stack([v1, v2, (m22 * first - m12 * second) / determinant, (m11 * second - m12 * first) / determinant], axis=1)


def energy(p: Parameters, state: Floats) -> Floats:
    """Kinetic and potential energy [N] of ``state`` [N, 4]; 0 where both links hang at rest."""
    q1, q2, v1, v2 = state.T
    m11, m12, m22 = mass_matrix(p, q2)
    upper = p.gravity * (p.mass[0] * p.centre[0] + p.mass[1] * p.length[0]) * (1 - np.cos(q1))
    potential = upper + p.mass[1] * p.gravity * p.centre[1] * (1 - np.cos(q1 + q2))
    return np.asarray(0.5 * m11 * v1**2 + m12 * v1 * v2 + 0.5 * m22 * v2**2 + potential)


def advance(p: Parameters, state: Floats, torque: Floats, step: float) -> Floats:
    """``state`` [N, 4] after one Runge-Kutta step of fourth order under a constant ``torque`` [N, 2]."""
    a = derivative(p, state, torque)
    b = derivative(p, state + step / 2 * a, torque)
    c = derivative(p, state + step / 2 * b, torque)
    d = derivative(p, state + step * c, torque)
    return np.asarray(state + step / 6 * (a + 2 * b + 2 * c + d))


@dataclass(frozen=True)
class Physics:
    """A predictor as the k-step protocol wants it: open loop from the logged state.

    The action of a step is the mean command over it; it acts ``delay`` [s] later. The friction is stiff: ``substeps`` of 2 ms
    at most keep it stable.
    """

    parameters: Parameters = Parameters()
    delay: float = 0.0
    period: float = 0.01
    substeps: int = 5

    def __call__(self, past_states: Array, past_actions: Array, actions: Array) -> Array:
        """States [N, H, 4] after past_states [N, K, 4], past_actions [N, K-1, 2] and actions [N, H, 2]."""
        whole, part = divmod(self.delay / self.period, 1.0)
        reach = int(whole) + 1
        first = past_actions[:, :1] if past_actions.shape[1] else actions[:, :1]
        given = np.concatenate([np.repeat(first, reach, axis=1), past_actions, actions], axis=1).astype(np.float64)
        # Column of the action that arrives at the end of step 0; the one before it still acts during `part` of the step.
        newest = given.shape[1] - actions.shape[1] - int(whole)
        state, predicted = past_states[:, -1].astype(np.float64), []
        for step in range(actions.shape[1]):
            before, after = given[:, newest + step - 1], given[:, newest + step]
            for substep in range(self.substeps):
                old = float(np.clip(part * self.substeps - substep, 0.0, 1.0))
                state = advance(self.parameters, state, old * before + (1 - old) * after, self.period / self.substeps)
            predicted.append(state)
        return np.stack(predicted, axis=1).astype(np.float32)


def with_best_delay(cuts: Cuts, std: Floats, longest: float = 0.02, resolution: float = 0.001) -> Physics:
    """The published physics with that delay between 0 and ``longest`` [s] whose errors on ``cuts`` are least, mean over the k."""

    def error(delay: float) -> float:
        return float(np.mean(list(rmse(errors(Physics(delay=delay), cuts, std)).values())))

    return Physics(delay=min((number * resolution for number in range(round(longest / resolution) + 1)), key=error))
