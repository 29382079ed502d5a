"""The foreign robot: MuJoCo with a model, actuators and sensors of its own, which training never reads.

``foreign`` in robot.yaml names its file (``plant.yaml``: ``model``, an MJCF with joints of robot.yaml's names; ``actuators``,
``sensors`` and ``randomization`` as in robot.yaml). It stands in for the real robot: dry friction that sticks
(``frictionloss``), rotor inertia (``armature``), other masses, motors that lag. Nothing but this file opens it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import mujoco
import numpy as np
from numpy.typing import NDArray

from forerun_sim.actuators import JointRow
from forerun_sim.engines.base import Bodies, Hardware, gravity_vector
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.kinematics import Vector
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Actuators, Disturbances, Randomization, RobotSpec, Sensors, Strict, load_yaml, validate

_TYPES = {
    "prismatic": mujoco.mjtJoint.mjJNT_SLIDE,
    "revolute": mujoco.mjtJoint.mjJNT_HINGE,
    "continuous": mujoco.mjtJoint.mjJNT_HINGE,
}


class ForeignPlant(Strict):
    """plant.yaml of a foreign robot. ``model`` is its MJCF, relative to plant.yaml."""

    format: Literal[1]
    model: str
    actuators: Actuators = Actuators()
    sensors: Sensors = Sensors()
    disturbances: Disturbances = Disturbances()
    randomization: Randomization = Randomization()


class MujocoEngine:
    """The robot's foreign plant in MuJoCo.

    Raises:
        InputError: the robot has no foreign plant, or its files are wrong.
    """

    def __init__(self, spec: RobotSpec) -> None:
        if spec.foreign is None:
            raise InputError(f"robot '{spec.name}' has no 'foreign' plant in its robot.yaml; engine mujoco runs nothing else")
        source = spec.file(spec.foreign)
        plant = validate(ForeignPlant, load_yaml(source), source)
        self.hardware = Hardware(plant.actuators, plant.sensors, plant.disturbances, plant.randomization)
        model_path = (source.parent / plant.model).resolve()
        self._model = _load(model_path)
        self._data = mujoco.MjData(self._model)
        joints = [_joint_id(self._model, joint.name, _TYPES[joint.type], model_path) for joint in spec.joints]
        self._positions = np.array([self._model.jnt_qposadr[joint] for joint in joints])
        self._velocities = np.array([self._model.jnt_dofadr[joint] for joint in joints])
        self._names = spec.joint_names
        self._last = self._model.body(int(self._model.jnt_bodyid[joints[-1]])).name
        self._repeat = self._steps_per_call(1.0 / spec.control.physics_rate)
        self._nominal_inertia = self._model.body_inertia.copy()
        links = [self._model.body(i).name for i in range(1, self._model.nbody) if self._model.body_weldid[i] != 0]
        mass = {link: float(self._model.body(link).mass[0]) for link in links}
        friction = dict.fromkeys(links, float(self._model.geom_friction[:, 0].mean()) if self._model.ngeom else 1.0)
        damping = self._by_joint(self._model.dof_damping)
        coulomb, armature = (self._by_joint(getattr(self._model, key)) for key in ("dof_frictionloss", "dof_armature"))
        gravity = float(-self._model.opt.gravity[2])
        self._pushed = False
        self.bodies = Bodies(mass, friction, dict.fromkeys(links, 0.0), damping, coulomb, armature, gravity)

    def _by_joint(self, values: NDArray[np.float64]) -> dict[str, float]:
        return {name: float(values[dof]) for name, dof in zip(self._names, self._velocities, strict=True)}

    def _steps_per_call(self, period: float) -> int:
        """MuJoCo's steps in one of the plant's: as many as the MJCF's own timestep asks for."""
        steps = max(1, round(period / self._model.opt.timestep))
        self._model.opt.timestep = period / steps
        return int(steps)

    def reset(self, parameters: Parameters, position: Sequence[float], velocity: Sequence[float]) -> None:
        model, data = self._model, self._data
        for link, mass in parameters.mass.items():
            body = model.body(link)
            factor = mass / self.bodies.mass[link] * parameters.inertia[link]
            body.mass[0] = mass + (parameters.payload if link == self._last else 0.0)
            body.inertia[:] = self._nominal_inertia[body.id] * factor
            model.geom_friction[model.geom_bodyid == body.id, 0] = parameters.link_friction[link]
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

    def push(self, link: str, force: Vector, torque: Vector) -> None:
        wrench = self._data.xfrc_applied[self._model.body(link).id]
        wrench[:3] += force
        wrench[3:] += torque
        self._pushed = True

    def step(self, effort: Sequence[float]) -> None:
        self._data.qfrc_applied[self._velocities] = effort
        mujoco.mj_step(self._model, self._data, self._repeat)
        if self._pushed:
            self._data.xfrc_applied[:] = 0.0
            self._pushed = False

    def states(self) -> Sequence[JointRow]:
        data = self._data
        return list(zip(data.qpos[self._positions].tolist(), data.qvel[self._velocities].tolist(), strict=True))

    def close(self) -> None:
        """MuJoCo's memory goes with the object."""


def _load(path: Path) -> mujoco.MjModel:
    try:
        return mujoco.MjModel.from_xml_path(str(path))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: MuJoCo cannot load this model: {error}") from error


def _joint_id(model: mujoco.MjModel, name: str, kind: int, path: Path) -> int:
    found = mujoco.mj_name2id(model, mujoco.mjtObj.mjOBJ_JOINT, name)
    if found < 0:
        names = ", ".join(model.joint(i).name for i in range(model.njnt))
        raise InputError(f"{path}: no joint named '{name}', which robot.yaml has; the model has: {names}")
    if model.jnt_type[found] != kind:
        raise InputError(f"{path}: joint '{name}' moves otherwise than robot.yaml says (slide is prismatic, hinge is a rotation)")
    if model.body(int(model.jnt_bodyid[found])).name == "":
        raise ForerunError(f"{path}: the body of joint '{name}' needs a name")
    index: int = int(found)
    return index
