"""The foreign robot: MuJoCo with a model, actuators and sensors of its own, which training never reads.

``foreign`` in robot.yaml names its file (``plant.yaml``: ``model``, an MJCF with joints of robot.yaml's names; ``actuators``,
``sensors`` and ``randomization`` as in robot.yaml). It stands in for the real robot: dry friction that sticks
(``frictionloss``), rotor inertia (``armature``), other masses, motors that lag. Nothing but this file opens it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import mujoco

from forerun_sim.engines.base import Hardware
from forerun_sim.engines.mujoco_world import MujocoWorld
from forerun_sim.errors import InputError
from forerun_sim.spec import (
    Actuators,
    Disturbances,
    Joint,
    Randomization,
    RobotSpec,
    Sensors,
    Strict,
    load_yaml,
    validate,
)

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


class MujocoEngine(MujocoWorld):
    """The robot's foreign plant in MuJoCo.

    Raises:
        InputError: the robot has no foreign plant, or its files are wrong.
    """

    def __init__(self, spec: RobotSpec) -> None:
        if spec.foreign is None:
            wanted = "engine mujoco runs nothing else; mujoco_urdf runs the robot's URDF"
            raise InputError(f"robot '{spec.name}' has no 'foreign' plant in its robot.yaml; {wanted}")
        source = spec.file(spec.foreign)
        plant = validate(ForeignPlant, load_yaml(source), source)
        hardware = Hardware(plant.actuators, plant.sensors, plant.disturbances, plant.randomization)
        model_path = (source.parent / plant.model).resolve()
        model = _load(model_path)
        carriers = [_carrier(model, joint, model_path) for joint in spec.joints]
        links = [body.name for body in model.bodies if _moved(body)]
        super().__init__(model, model_path, hardware, spec.joint_names, links, carriers[-1], 1.0 / spec.control.physics_rate)


def _load(path: Path) -> mujoco.MjSpec:
    try:
        return mujoco.MjSpec.from_file(str(path))
    except (ValueError, OSError) as error:
        raise InputError(f"{path}: MuJoCo cannot load this model: {error}") from error


def _carrier(model: mujoco.MjSpec, joint: Joint, path: Path) -> str:
    """The body that ``joint`` moves, which the model must have as robot.yaml says."""
    found = model.joint(joint.name)
    if found is None:
        names = ", ".join(other.name for other in model.joints)
        raise InputError(f"{path}: no joint named '{joint.name}', which robot.yaml has; the model has: {names}")
    if found.type != _TYPES[joint.type]:
        reason = "moves otherwise than robot.yaml says (slide is prismatic, hinge is a rotation)"
        raise InputError(f"{path}: joint '{joint.name}' {reason}")
    if not found.parent.name:
        raise InputError(f"{path}: the body of joint '{joint.name}' needs a name")
    return str(found.parent.name)


def _moved(body: mujoco.MjsBody) -> bool:
    """Whether a joint lies between the world and ``body``."""
    while body is not None and body.parent is not None:
        if body.joints:
            return True
        body = body.parent
    return False
