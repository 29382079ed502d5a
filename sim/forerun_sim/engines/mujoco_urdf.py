"""The robot's own URDF in MuJoCo, with robot.yaml's actuators, sensors and friction: what PyBullet runs, in a second engine.

The same meaning as engine bullet: joints that robot.yaml does not name are held at 0 (here they are rigid), the stops of
the joints are those of the URDF, links of one robot pass through each other. Dry friction and stops are as hard as MuJoCo makes
them: two physics steps of time constant. In an empty world or over a ground plane; a base that moves is a free joint of MuJoCo's.
"""

from __future__ import annotations

from collections.abc import Sequence

import mujoco
import numpy as np

from forerun_sim.actuators import JointRow
from forerun_sim.engines.base import Hardware
from forerun_sim.engines.free_motion import FreeMotion
from forerun_sim.engines.mujoco_world import LINK_FRICTION, MujocoWorld
from forerun_sim.errors import InputError
from forerun_sim.kinematics import Vector, rotation
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Ground, RobotSpec
from forerun_sim.urdf import Link, Urdf, UrdfJoint, robot_urdf
from forerun_sim.urdf_checks import check_meshes
from forerun_sim.urdf_shapes import Shape, find_mesh
from forerun_sim.urdf_xml import read_urdf

GRAVITY = 9.81
_TYPES = {
    "prismatic": mujoco.mjtJoint.mjJNT_SLIDE,
    "revolute": mujoco.mjtJoint.mjJNT_HINGE,
    "continuous": mujoco.mjtJoint.mjJNT_HINGE,
}
_GEOMS = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
    "mesh": mujoco.mjtGeom.mjGEOM_MESH,
}
_HARD = (0.99, 0.9999, 0.001, 0.5, 2.0)
"""Impedance of stops: almost all of a force that MuJoCo's soft constraints can hold back."""
_STUCK = (0.9999, 0.9999, 0.001, 0.5, 2.0)
_DULL = 2.5
"""Damping ratio of contacts without restitution: critical damping would still throw back what sank in during a step."""
_TOUCH = 0.0005
"""How deep [m] a base may begin in the ground."""
_ROBOT, _WORLD = 1, 2
"""Bits of what touches what: links touch the world and not each other."""


class MujocoUrdfEngine(MujocoWorld):
    """The robot's URDF in MuJoCo.

    Raises:
        InputError: the robot has no URDF, a broken one, or one that MuJoCo cannot run; or there are objects about.
    """

    def __init__(self, spec: RobotSpec) -> None:
        urdf = robot_urdf(spec)
        if spec.objects:
            free = ", ".join(spec.objects)
            raise InputError(f"robot '{spec.name}': engine mujoco_urdf has no objects, and {free} is one: use engine bullet")
        period = 1.0 / spec.control.physics_rate
        model = _model(urdf, spec, period)
        links = [name for name in _outwards(urdf) if urdf.links[name].mass > 0 and urdf.moved(name)]
        hardware = Hardware(spec.actuators, spec.sensors, spec.disturbances, spec.randomization)
        own = [name for name in spec.joint_names if name not in spec.coordinates]
        carrier = urdf.joints[own[-1]].child if spec.base == "fixed" else urdf.carrier
        self._ground = Ground() if spec.ground is None else spec.ground
        self._free = None if spec.base == "fixed" else FreeMotion(spec.base)
        order = [*spec.coordinates, *own]
        self._own = [spec.joint_names.index(name) for name in own]
        self._coordinates = [spec.joint_names.index(name) for name in spec.coordinates]
        self._arrange = [order.index(name) for name in spec.joint_names]
        super().__init__(model, urdf.path, hardware, own, links, carrier, period, _surfaces(urdf))

    def reset(self, parameters: Parameters, position: Sequence[float], velocity: Sequence[float]) -> None:
        super().reset(parameters, [position[slot] for slot in self._own], [velocity[slot] for slot in self._own])
        if self._free is None:
            return
        model, data, coordinates = self._model, self._data, self._coordinates
        place, angles, along, spin = self._free.placed([position[at] for at in coordinates], [velocity[at] for at in coordinates])
        data.qpos[:7] = [*place, *_quaternion(angles)]
        data.qvel[:6] = [*along, *(rotation(angles).T @ spin)]
        mujoco.mj_forward(model, data)
        deepest = min((contact.dist for contact in data.contact), default=0.0)
        if deepest < -_TOUCH:  # a base that would begin inside the ground is lifted onto it
            data.qpos[2] -= deepest
            mujoco.mj_forward(model, data)

    def _touch(self, body: int, friction: float, restitution: float) -> None:
        super()._touch(body, friction * self._ground.friction, restitution * self._ground.restitution)

    def step(self, effort: Sequence[float]) -> None:
        super().step([effort[slot] for slot in self._own])

    def states(self) -> Sequence[JointRow]:
        rows = super().states()
        if self._free is None:
            return rows
        w, x, y, z = self._data.qpos[3:7].tolist()
        turn = np.zeros(9)
        mujoco.mju_quat2Mat(turn, self._data.qpos[3:7])
        spin = (turn.reshape(3, 3) @ self._data.qvel[3:6]).tolist()
        base = self._free.rows(self._data.qpos[:3].tolist(), (x, y, z, w), self._data.qvel[:3].tolist(), spin)
        found = [*base, *rows]
        return [found[slot] for slot in self._arrange]


def _outwards(urdf: Urdf) -> list[str]:
    """The links as PyBullet numbers them, branch by branch, the root last: so both engines draw the same for a link."""
    found: list[str] = []

    def follow(link: str) -> None:
        for joint in urdf.joints.values():
            if joint.parent == link:
                found.append(joint.child)
                follow(joint.child)

    follow(urdf.root)
    return [*found, urdf.root]


def _surfaces(urdf: Urdf) -> dict[str, tuple[float, float]]:
    """Friction and restitution of the links that state them in a <contact>, as PyBullet reads it."""
    found = {}
    for link in read_urdf(urdf.path).findall("link"):
        stated = []
        for key, default in (("lateral_friction", LINK_FRICTION), ("restitution", 0.0)):
            element = link.find(f"contact/{key}")
            stated.append(default if element is None else float(element.get("value", default)))
        found[link.get("name", "")] = (stated[0], stated[1])
    return found


def _model(urdf: Urdf, spec: RobotSpec, period: float) -> mujoco.MjSpec:
    """``urdf`` as a MuJoCo model, with the ground of ``spec``. ``period`` is the physics step [s]."""
    model = mujoco.MjSpec()
    model.option.timestep = period
    model.option.gravity = (0.0, 0.0, -GRAVITY)
    # Semi-implicit Euler as in PyBullet, but implicit in the joints' damping, which stays stable where that is large.
    model.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    model.option.cone, model.option.impratio = mujoco.mjtCone.mjCONE_ELLIPTIC, 10.0  # friction without slip, as PyBullet's
    model.compiler.degree = False
    bodies = {urdf.root: model.worldbody}
    if spec.base != "fixed":
        bodies[urdf.root] = _body(model.worldbody, None, urdf.links[urdf.root])
        bodies[urdf.root].add_freejoint()
    if spec.ground is not None:
        _lay(model, spec.ground)
        check_meshes(urdf)
    for name in sorted(urdf.links, key=lambda link: len(urdf.branch(link))):
        if name != urdf.root:
            joint = urdf.parents[name]
            bodies[name] = _body(bodies[joint.parent], joint, urdf.links[name])
            if joint.name in spec.joint_names:
                _joint(bodies[name], joint, period)
        if spec.ground is not None:
            for shape in urdf.links[name].shapes:
                if shape.role == "collision" and shape.kind in _GEOMS:
                    _geom(model, bodies[name], shape, urdf, period)
    return model


def _body(parent: mujoco.MjsBody, joint: UrdfJoint | None, link: Link) -> mujoco.MjsBody:
    body = parent.add_body(name=link.name)
    if joint is not None:
        body.pos, body.quat = joint.xyz, _quaternion(joint.rpy)
    body.explicitinertial = True
    if link.mass <= 0:
        return body
    body.mass, body.ipos = link.mass, link.com
    turn = rotation(link.inertia_rpy)
    xx, yy, zz, xy, xz, yz = link.inertia
    inertia = turn @ np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]]) @ turn.T
    body.fullinertia = [inertia[index] for index in ((0, 0), (1, 1), (2, 2), (0, 1), (0, 2), (1, 2))]
    return body


def _joint(body: mujoco.MjsBody, joint: UrdfJoint, period: float) -> None:
    stiff = (2.0 * period, 1.0)
    made = body.add_joint(name=joint.name, type=_TYPES[joint.type], axis=joint.axis)
    made.damping, made.frictionloss = _damping(made, joint.damping), joint.friction
    made.solref_friction, made.solimp_friction = stiff, _STUCK
    made.solref_limit, made.solimp_limit = stiff, _HARD
    lower, upper = joint.lower, joint.upper
    limited = joint.type != "continuous" and lower is not None and upper is not None and lower < upper
    made.limited = mujoco.mjtLimited.mjLIMITED_TRUE if limited else mujoco.mjtLimited.mjLIMITED_FALSE
    if limited:
        made.range = (lower, upper)


def _damping(made: mujoco.MjsJoint, value: float) -> float | list[float]:
    """``value`` in the shape that this MuJoCo wants it: some versions take a polynomial."""
    kind = np.asarray(made.damping)
    return value if kind.ndim == 0 else [value, *[0.0] * (len(kind) - 1)]


def _geom(model: mujoco.MjSpec, body: mujoco.MjsBody, shape: Shape, urdf: Urdf, period: float) -> None:
    geom = body.add_geom(type=_GEOMS[shape.kind], pos=shape.xyz, quat=_quaternion(shape.rpy))
    geom.contype, geom.conaffinity, geom.mass, geom.priority = _ROBOT, _WORLD, 0.0, 1
    geom.friction[0] = LINK_FRICTION
    geom.solref, geom.solimp = (2.0 * period, _DULL), _HARD
    if shape.kind == "mesh":
        path = find_mesh(shape.mesh, urdf.path)
        name = f"{body.name}_{len(model.meshes)}"
        model.add_mesh(name=name, file=str(path), scale=shape.size)
        geom.meshname = name
    elif shape.kind == "box":
        geom.size = [0.5 * edge for edge in shape.size]
    else:
        geom.size = [shape.size[0], 0.5 * shape.size[1] if len(shape.size) > 1 else 0.0, 0.0]


def _lay(model: mujoco.MjSpec, ground: Ground) -> None:
    plane = model.worldbody.add_geom(type=mujoco.mjtGeom.mjGEOM_PLANE, pos=(0.0, 0.0, ground.height), size=(0.0, 0.0, 1.0))
    plane.contype, plane.conaffinity = _WORLD, _ROBOT


def _quaternion(rpy: Vector) -> list[float]:
    """Quaternion w, x, y, z of roll, pitch, yaw as URDF means them."""
    found = np.zeros(4)
    mujoco.mju_mat2Quat(found, rotation(rpy).flatten())
    return [float(value) for value in found]
