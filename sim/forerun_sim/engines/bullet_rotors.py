"""Rotor inertia (armature), which PyBullet does not know, and joint friction where it matters for it.

Joints whose parent never turns (and sliders whose parent never moves) carry it in their link, where it is exact: as the same
moment about all axes, or as mass whose weight along the slider is taken back. That costs nothing. Wheels of a robot that moves
about carry it too, about their axis: there contact must feel it, or the solver lets friction act across the wheel where it slips
along. The base feels the wheels' rotors when it turns about their axis, which on a ground it hardly does.

Along chains a link's own inertia would also resist the turning of its parent. There the rotors act as efforts.
With M the mass matrix of PyBullet's robot, W = M^-1, D the rotors and u what was applied, the joints accelerate by a = f + W u,
and f, what they would do by themselves, is known from the last two steps: f' = 2 f1 - f2. An effort t with rotors behind it shall
give a' = f' + W (t - D a'), hence

    a' = (1 + W D)^-1 (f' + W t),    u' = t - D a'.

Whatever W is, a steady motion has u' = t - D a: W decides about transients only, so that it need not be of this very step, and
what touches the robot need not be known (a blow moves the link alone first; the rotor's momentum follows within some ten steps).
It is stable for rotors of any size, unlike the plain feedback t - D a; its error is of second order in the physics step. Joint
damping d counts as D + d dt (implicit Euler), dry friction as the effort, at most ``coulomb``, that stops the joint within the
step. With the symmetric R = (1 + W D)^-1 W = (M + D)^-1, f = a - W u and g = 2 a1 - a2, what ``RotorEfforts`` reckons is

    a' = g + R (t - 2 u1 + u2 - D g).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_sim.actuators import JointRow
from forerun_sim.compiled import compiled
from forerun_sim.engines import rotor_efforts
from forerun_sim.engines.base import gravity_vector
from forerun_sim.engines.mass_matrix import MassMatrix
from forerun_sim.kinematics import ORIGIN, Vector, rotation
from forerun_sim.randomization import Parameters
from forerun_sim.urdf import Urdf

Array = NDArray[np.float64]
_Efforts = compiled("forerun_sim.engines._rotor_efforts", rotor_efforts.RotorEfforts)


class Rotors:
    """The rotors of a robot, each where it can be.

    Attributes:
        carried: mass [kg] and moments of inertia [kg m^2] about its principal axes that a link gets on top of its own.
        turning: whether rotors act as efforts; damping and friction of all joints are then theirs.
        acting: whether ``efforts`` has anything to do.
    """

    def __init__(self, urdf: Urdf, joints: Sequence[str], step: float) -> None:
        """``joints`` are named in the order of all efforts and states here; ``step`` is the physics step [s]."""
        self._urdf = urdf
        self._joints = tuple(joints)
        self._resting = _resting(urdf, joints)
        self._sliders = {name: _axis_in_base(urdf, name) for name in joints if urdf.joints[name].type == "prismatic"}
        self._matrix: MassMatrix | None = None
        self._step = step
        self._model: rotor_efforts.RotorEfforts | None = None
        self._lift: list[float] = []
        self._wheels = _wheels(urdf, joints)
        self.carried: dict[str, tuple[float, Vector]] = {}
        self.turning = self.acting = False

    def reset(self, parameters: Parameters, position: Sequence[float], payload: str) -> None:
        """Begins an episode with the joints at ``position`` [J]. ``payload`` is the link that carries it."""
        self.carried, self._lift, self._model = {}, [], None
        self.turning = self.acting = False
        rotors = parameters.armature
        if not any(rotors[name] for name in self._joints):
            return
        still = [self._resting[name] or name in self._wheels for name in self._joints]
        held = [rotors[name] if rests else 0.0 for name, rests in zip(self._joints, still, strict=True)]
        lift = [0.0] * len(held)
        gravity = np.array(gravity_vector(parameters))
        for slot, name in enumerate(self._joints):
            if name in self._sliders and held[slot]:
                self.carried[self._urdf.joints[name].child] = (held[slot], ORIGIN)
                lift[slot] = -held[slot] * float(gravity @ self._sliders[name])
            elif held[slot]:
                x, y, z = self._wheels.get(name, (1.0, 1.0, 1.0))
                self.carried[self._urdf.joints[name].child] = (0.0, (held[slot] * x * x, held[slot] * y * y, held[slot] * z * z))
        self._lift = lift if any(lift) else []
        self.turning = any(rotors[name] and not rests for name, rests in zip(self._joints, still, strict=True))
        self.acting = self.turning or bool(self._lift)
        if self.turning:
            self._model = self._turning(parameters, held, position, payload)

    def _turning(
        self, parameters: Parameters, held: Sequence[float], position: Sequence[float], payload: str
    ) -> rotor_efforts.RotorEfforts:
        if self._matrix is None:
            self._matrix = MassMatrix(self._urdf, self._joints)
        links = [link for link in parameters.mass if link in self._urdf.links]
        masses = {link: parameters.mass[link] + (parameters.payload if link == payload else 0.0) for link in links}
        factors = {link: parameters.mass[link] / self._urdf.links[link].mass * parameters.inertia[link] for link in links}
        com = parameters.com
        shifts = {link: (com[f"{link}.x"], com[f"{link}.y"], com[f"{link}.z"]) for link in links}
        step, names = self._step, self._joints
        damping = [parameters.damping[name] + parameters.viscous[name] for name in names]
        free = [parameters.armature[name] - here for name, here in zip(names, held, strict=True)]
        rotors = [rotor + step * loss for rotor, loss in zip(free, damping, strict=True)]
        self._matrix.load(masses, factors, shifts, [here + rotor for here, rotor in zip(held, rotors, strict=True)])
        coulomb = [parameters.coulomb[name] for name in names]
        return _Efforts(step, damping, rotors, coulomb, self._matrix.rows, list(position))

    def start(self, velocity: Sequence[float], after: Sequence[float]) -> None:
        """Joints at ``velocity`` [J] that, left alone for one step, would be at ``after``."""
        if self._model is not None:
            change = [(new - old) / self._step for old, new in zip(velocity, after, strict=True)]
            self._model.start([old - (new - old) for old, new in zip(velocity, after, strict=True)], change)

    @property
    def efforts(self) -> Callable[[Sequence[float], Sequence[JointRow]], Sequence[float]]:
        """A function that says what to apply [J] for the motors' effort [J] while the joints are in their states [J]."""
        return self._lifted if self._model is None or self._lift else self._model.efforts

    def _lifted(self, effort: Sequence[float], rows: Sequence[JointRow]) -> Sequence[float]:
        lifted = [one + other for one, other in zip(effort, self._lift, strict=True)]
        return lifted if self._model is None else self._model.efforts(lifted, rows)


def _resting(urdf: Urdf, joints: Sequence[str]) -> dict[str, bool]:
    """Which of the ``joints`` have a rotor that their link can carry."""
    resting = {}
    for name in joints:
        above = [joint for joint in urdf.branch(urdf.joints[name].parent) if joint.name in joints]
        slider = urdf.joints[name].type == "prismatic"
        resting[name] = "base" not in urdf.bodies and not any(slider or joint.type != "prismatic" for joint in above)
    return resting


def _wheels(urdf: Urdf, joints: Sequence[str]) -> dict[str, Vector]:
    """The axis of each wheel, in the wheel's principal axes of inertia: what turns freely at a base that moves, is balanced, and
    carries nothing."""
    found: dict[str, Vector] = {}
    for name in joints:
        joint = urdf.joints[name]
        child = urdf.links[joint.child]
        axis = rotation(child.inertia_rpy).T @ np.array(joint.axis)
        balanced = not any(child.inertia[3:]) and np.abs(axis).max() > 0.9999
        ends = all(other.parent != joint.child for other in urdf.joints.values())
        if "base" in urdf.bodies and joint.type == "continuous" and joint.parent in urdf.rigid and balanced and ends:
            found[name] = (float(axis[0]), float(axis[1]), float(axis[2]))
    return found


def _axis_in_base(urdf: Urdf, joint: str) -> Array:
    """Direction of a joint's axis [3] in the base frame while all joints above stand at 0."""
    turn = np.eye(3)
    for link in reversed(urdf.branch(urdf.joints[joint].child)):
        turn = turn @ rotation(link.rpy)
    return np.asarray(turn @ np.array(urdf.joints[joint].axis))
