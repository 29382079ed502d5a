"""What both MuJoCo engines share: a compiled model whose joints take efforts and whose bodies vary between episodes.

All quantities of bodies are MuJoCo's own: ``armature`` and joint friction are its joint's, ``com`` moves the inertial frame, both
exact. Restitution is what a contact as a damped spring gives back: its damping ratio is chosen so that a free bounce keeps that
part of its speed; it is exact for a head-on bounce that lasts many physics steps and too small for shorter ones.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence

import mujoco
import numpy as np
from mujoco import rollout
from numpy.typing import NDArray

from forerun_sim.actuators import JointRow
from forerun_sim.engines.base import Bodies, Hardware, Servo, gravity_vector
from forerun_sim.errors import InputError
from forerun_sim.kinematics import Vector
from forerun_sim.randomization import Parameters

_LOG = logging.getLogger(__name__)
LINK_FRICTION = 0.5
"""Of a link's surface where its model says nothing: PyBullet's."""
_ASIDE = 1e-6
"""Shift [m] of centres of mass while the model is compiled: MuJoCo leaves out what stays 0 in a body whose inertial frame is the
body's own, and would ignore a shift that comes later. Every reset puts the true centre in place."""
_RESOLVED = 4.0
"""Physics steps in the time constant of a bouncing contact, so that the bounce is followed."""
_UNSTABLE = (mujoco.mjtWarning.mjWARN_BADQPOS, mujoco.mjtWarning.mjWARN_BADQVEL, mujoco.mjtWarning.mjWARN_BADQACC)


class MujocoWorld:
    """An engine made of ``spec``, whose joints ``joints`` are named in the order of robot.yaml.

    Args:
        spec: the model, changed here: centres of mass are put aside while it is compiled.
        source: the file to name in messages.
        links: the bodies whose quantities vary.
        carrier: the body that carries the payload.
        period: the time of one ``step`` [s]; MuJoCo takes as many of its own as the model's timestep asks for.
        surfaces: friction and restitution of links, where the model itself does not have them.

    Raises:
        InputError: MuJoCo cannot compile the model.
    """

    def __init__(
        self,
        spec: mujoco.MjSpec,
        source: object,
        hardware: Hardware,
        joints: Sequence[str],
        links: Sequence[str],
        carrier: str,
        period: float,
        surfaces: Mapping[str, tuple[float, float]] | None = None,
    ) -> None:
        self.hardware = hardware
        if mujoco.get_mju_user_warning() is None:
            mujoco.set_mju_user_warning(_LOG.info)  # and not into a file MUJOCO_LOG.TXT where the user happens to stand
        spec.option.disableflags |= mujoco.mjtDisableBit.mjDSBL_AUTORESET
        aside = [body for body in spec.bodies if body.parent is not None and not any(body.ipos)]
        for body in aside:
            body.ipos = (_ASIDE, _ASIDE, _ASIDE)
        try:
            self._model = spec.compile()
        except (ValueError, OSError) as error:
            raise InputError(f"{source}: MuJoCo cannot load this model: {error}") from error
        model = self._model
        for body in aside:
            model.body_ipos[model.body(body.name).id] = 0.0
        self._data = mujoco.MjData(model)
        self._positions = np.array([model.jnt_qposadr[model.joint(name).id] for name in joints], dtype=int)
        self._velocities = np.array([model.jnt_dofadr[model.joint(name).id] for name in joints], dtype=int)
        self._names = tuple(joints)
        self._bodies = {link: int(model.body(link).id) for link in links}
        self._carrier = carrier
        self._inertia, self._centres = model.body_inertia.copy(), model.body_ipos.copy()
        self._solref = model.geom_solref.copy()
        self._repeat = max(1, round(period / model.opt.timestep))
        model.opt.timestep = period / self._repeat
        self._pushed = False
        self.bodies = self._nominal(surfaces or {})

    def _nominal(self, surfaces: Mapping[str, tuple[float, float]]) -> Bodies:
        model = self._model
        mass = {link: float(model.body_mass[body]) for link, body in self._bodies.items()}
        found = {link: surfaces.get(link, (self._surface(body), 0.0)) for link, body in self._bodies.items()}
        friction, restitution = ({link: values[index] for link, values in found.items()} for index in (0, 1))
        damping, coulomb, armature = (
            self._by_joint(values) for values in (model.dof_damping, model.dof_frictionloss, model.dof_armature)
        )
        gravity = float(-model.opt.gravity[2])
        return Bodies(mass, friction, restitution, damping, coulomb, armature, gravity)

    def _surface(self, body: int) -> float:
        """Friction coefficient of a body's surface; of one without a shape, what both engines give a URDF's link."""
        found = self._model.geom_friction[self._model.geom_bodyid == body, 0]
        return float(found[0]) if len(found) else LINK_FRICTION

    def _by_joint(self, values: NDArray[np.float64]) -> dict[str, float]:
        return {name: float(values[dof]) for name, dof in zip(self._names, self._velocities, strict=True)}

    def reset(self, parameters: Parameters, position: Sequence[float], velocity: Sequence[float]) -> None:
        model, data = self._model, self._data
        for link, body in self._bodies.items():
            mass = parameters.mass[link]
            shift = [parameters.com[f"{link}.{axis}"] for axis in "xyz"]
            model.body_mass[body] = mass + (parameters.payload if link == self._carrier else 0.0)
            model.body_inertia[body] = self._inertia[body] * (mass / self.bodies.mass[link] * parameters.inertia[link])
            model.body_ipos[body] = self._centres[body] + shift
            self._touch(body, parameters.link_friction[link], parameters.restitution[link])
        for name, dof in zip(self._names, self._velocities, strict=True):
            model.dof_damping[dof] = parameters.damping[name] + parameters.viscous[name]
            model.dof_frictionloss[dof] = parameters.coulomb[name]
            model.dof_armature[dof] = parameters.armature[name]
        model.opt.gravity[:] = gravity_vector(parameters)
        mujoco.mj_setConst(model, data)
        mujoco.mj_resetData(model, data)
        self._pushed = False
        data.qpos[self._positions] = position
        data.qvel[self._velocities] = velocity
        mujoco.mj_forward(model, data)

    def _touch(self, body: int, friction: float, restitution: float) -> None:
        """How the surface of ``body`` rubs and bounces."""
        geoms = self._model.geom_bodyid == body
        self._model.geom_friction[geoms, 0] = friction
        self._model.geom_solref[geoms] = self._solref[geoms]
        if restitution > 0:
            ratio = damping_ratio(restitution)
            slowest = np.maximum(self._solref[geoms, 0], _RESOLVED * self._model.opt.timestep / ratio)
            self._model.geom_solref[geoms] = np.stack([slowest, np.full(len(slowest), ratio)], axis=-1)

    def push(self, link: str, force: Vector, torque: Vector) -> None:
        wrench = self._data.xfrc_applied[self._bodies[link]]
        wrench[:3] += force
        wrench[3:] += torque
        self._pushed = True

    def step(self, effort: Sequence[float]) -> None:
        self._data.qfrc_applied[self._velocities] = effort
        mujoco.mj_step(self._model, self._data, self._repeat)
        if self._pushed:
            self._data.xfrc_applied[:] = 0.0
            self._pushed = False

    def run(self, efforts: Sequence[Sequence[float]], looked: Sequence[bool]) -> list[Sequence[JointRow]]:
        return self.serve(lambda ahead, _: efforts[ahead], 0, (), looked)[0]

    def serve(
        self, servo: Servo, first: int, rows: Sequence[JointRow], looked: Sequence[bool]
    ) -> tuple[list[Sequence[JointRow]], list[Sequence[float]]]:
        seen: list[Sequence[JointRow]] = []
        efforts: list[Sequence[float]] = []
        for ahead, look in enumerate(looked, first):
            efforts.append(servo(ahead, rows))
            self.step(efforts[-1])
            rows = self.states()
            if look:
                seen.append(rows)
        return seen, efforts

    def states(self) -> Sequence[JointRow]:
        """The joints' states [J]; not a number where MuJoCo found the physics unstable, even if it went on."""
        data = self._data
        if any(data.warning[kind].number for kind in _UNSTABLE):
            return [(math.nan, math.nan)] * len(self._names)
        return list(zip(data.qpos[self._positions].tolist(), data.qvel[self._velocities].tolist(), strict=True))

    def driven(self) -> Sequence[JointRow]:
        """The same."""
        return self.states()

    @property
    def size(self) -> int:
        """Degrees of freedom of the model, of which the robot's joints are some."""
        return int(self._model.nv)

    def dof(self, joint: str) -> int:
        """Which of them is ``joint``'s."""
        return int(self._velocities[self._names.index(joint)])

    def slow(self, timestep: float) -> None:
        """From now on a ``rollout`` takes one physics step in ``timestep`` [s]; the world is good for nothing else then."""
        self._model.opt.timestep = timestep

    def rollout(self, state: NDArray[np.float64], efforts: NDArray[np.float64]) -> NDArray[np.float64]:
        """Futures of ``state`` [S] at once: states [N, T, S] after each of T physics steps under ``efforts`` [N, T, dofs]."""
        count, joints = len(efforts), len(self._names)
        model, data = self._model, self._data
        mujoco.mj_resetData(model, data)
        data.qpos[self._positions], data.qvel[self._velocities] = state[:joints], state[joints:]
        full = np.empty(mujoco.mj_stateSize(model, mujoco.mjtState.mjSTATE_FULLPHYSICS))
        mujoco.mj_getState(model, data, full, mujoco.mjtState.mjSTATE_FULLPHYSICS)
        wanted = int(mujoco.mjtState.mjSTATE_QFRC_APPLIED.value)
        found, _ = rollout.rollout(model, data, np.repeat(full[None], count, axis=0), efforts, control_spec=wanted)
        places = 1 + self._positions, 1 + model.nq + self._velocities
        return np.concatenate([found[:, :, places[0]], found[:, :, places[1]]], axis=2)

    def close(self) -> None:
        """MuJoCo's memory goes with the object."""


def damping_ratio(restitution: float) -> float:
    """Of the spring and damper that give back ``restitution`` of a speed: e = exp(-pi z / sqrt(1 - z^2)), solved for z."""
    loss = -math.log(min(restitution, 0.999))
    return loss / math.hypot(math.pi, loss)
