"""The training simulator: PyBullet, without a window, one physics client per engine.

Viscous friction is the joints' damping in PyBullet, Coulomb friction a velocity motor that holds the joint at speed 0 with no
more than that effort: the solver lets it stick, as a real one does. PyBullet's changeDynamics knows no armature (rotor inertia)
and cannot shift a centre of mass: state the rotor's inertia in the URDF where it matters, and give another URDF for the latter.
Self-collision is off. Ground, objects and a base that moves are ``bullet_scene``'s.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pybullet

from forerun_sim.actuators import JointRow
from forerun_sim.engines.base import Bodies, Hardware, gravity_vector
from forerun_sim.engines.bullet_scene import BulletScene
from forerun_sim.errors import ForerunError
from forerun_sim.kinematics import Vector
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec
from forerun_sim.urdf import robot_urdf
from forerun_sim.urdf_checks import check_meshes

GRAVITY = 9.81
_FAST = 1e6
"""Joint velocity [rad/s] at which PyBullet would clip: out of reach, so that exploding physics is seen and not hidden."""


_GRAIN = 1e-4
"""Mass [kg] of a root link that the URDF gives none: PyBullet holds a body still whose base has none."""


class BulletEngine:
    """The robot's URDF in PyBullet, with its scene. Joints of the URDF that robot.yaml does not name are held at 0.

    Raises:
        InputError: the robot has no URDF, or a broken one.
        ForerunError: PyBullet cannot load it.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.hardware = Hardware(spec.actuators, spec.sensors, spec.disturbances, spec.randomization)
        self._urdf = robot_urdf(spec)
        check_meshes(self._urdf)
        self._step_size = 1.0 / spec.control.physics_rate
        self._client = pybullet.connect(pybullet.DIRECT)
        flags = pybullet.URDF_USE_INERTIA_FROM_FILE | pybullet.URDF_MAINTAIN_LINK_ORDER
        try:
            self._body = pybullet.loadURDF(
                str(self._urdf.path), useFixedBase=spec.base == "fixed", flags=flags, physicsClientId=self._client
            )
        except pybullet.error as error:
            self.close()
            raise ForerunError(f"{self._urdf.path}: PyBullet cannot load this URDF: {error}") from error
        infos = [
            pybullet.getJointInfo(self._body, i, self._client) for i in range(pybullet.getNumJoints(self._body, self._client))
        ]
        by_joint = {info[1].decode(): index for index, info in enumerate(infos)}
        self._links = {info[12].decode(): index for index, info in enumerate(infos)} | {self._urdf.root: -1}
        driven = [(slot, joint) for slot, joint in enumerate(spec.joints) if joint.name not in spec.coordinates]
        self._slots = tuple(slot for slot, _ in driven)
        self._names = tuple(joint.name for _, joint in driven)
        self._indices = tuple(by_joint[joint.in_urdf or joint.name] for _, joint in driven)
        self._last_link = self._urdf.carrier if spec.base != "fixed" else self._urdf.joints[self._names[-1]].child
        self._inertia: dict[str, tuple[float, ...]] = {}
        self._pushes: list[tuple[int, int, Vector, Vector]] = []
        self._prepare(by_joint)
        self._scene = BulletScene(spec, self._client, self._body)
        self._free = bool(spec.bodies)
        mass = {link: self._urdf.links[link].mass for link in self._links if self._urdf.links[link].mass > 0}
        moved = {link: value for link, value in mass.items() if self._urdf.moved(link)}
        surfaces = {link: pybullet.getDynamicsInfo(self._body, self._links[link], self._client) for link in moved}
        friction, restitution = ({link: info[index] for link, info in surfaces.items()} for index in (1, 5))
        damping = {name: self._urdf.joints[name].damping for name in self._names}
        coulomb = {name: self._urdf.joints[name].friction for name in self._names}
        for name, item in self._scene.objects.items():
            moved[name], friction[name], restitution[name] = item.mass, item.friction, item.restitution
        self.bodies = Bodies(moved, friction, restitution, damping, coulomb, dict.fromkeys(self._names, 0.0), GRAVITY)

    def _prepare(self, by_joint: dict[str, int]) -> None:
        """What holds for all episodes: no hidden damping, no default motors, no mass where the URDF gives none."""
        for link, index in self._links.items():
            self._change(index, linearDamping=0.0, angularDamping=0.0, maxJointVelocity=_FAST)
            if self._urdf.links[link].mass <= 0:
                mass = _GRAIN if index < 0 and self._urdf.moved(link) else 0.0
                self._change(index, mass=mass, localInertiaDiagonal=(mass, mass, mass))
            self._inertia[link] = pybullet.getDynamicsInfo(self._body, index, self._client)[2]
        others = [by_joint[name] for name in self._urdf.movable if name not in self._names]
        if others:
            self._motors(others, pybullet.POSITION_CONTROL, targetPositions=[0.0] * len(others), forces=[1e4] * len(others))
        pybullet.setTimeStep(self._step_size, self._client)

    def _motors(self, indices: Sequence[int], mode: int, **values: Any) -> None:
        pybullet.setJointMotorControlArray(self._body, indices, mode, physicsClientId=self._client, **values)

    def _change(self, link: int, **values: Any) -> None:
        pybullet.changeDynamics(self._body, link, physicsClientId=self._client, **values)

    def reset(self, parameters: Parameters, position: Sequence[float], velocity: Sequence[float]) -> None:
        self._scene.clear()
        for link, mass in parameters.mass.items():
            if link in self._scene.objects:
                continue
            factor = mass / self.bodies.mass[link] * parameters.inertia[link]
            carried = parameters.payload if link == self._last_link else 0.0
            self._change(
                self._links[link],
                mass=mass + carried,
                localInertiaDiagonal=tuple(moment * factor for moment in self._inertia[link]),
                lateralFriction=parameters.link_friction[link],
                restitution=parameters.restitution[link],
            )
        for name, index in zip(self._names, self._indices, strict=True):
            self._change(index, jointDamping=parameters.damping[name] + parameters.viscous[name])
        coulomb = [parameters.coulomb[name] for name in self._names]
        self._motors(self._indices, pybullet.VELOCITY_CONTROL, targetVelocities=[0.0] * len(coulomb), forces=coulomb)
        self._pushes.clear()
        pybullet.setGravity(*gravity_vector(parameters), self._client)
        for slot, index in zip(self._slots, self._indices, strict=True):
            pybullet.resetJointState(self._body, index, position[slot], velocity[slot], physicsClientId=self._client)
        self._scene.reset(parameters, position, velocity)

    def push(self, link: str, force: Vector, torque: Vector) -> None:
        free = self._scene.free.get("base" if self._links.get(link) == -1 else link)
        body, index = (self._body, self._links[link]) if free is None else (free.body, -1)
        self._pushes.append((body, index, force, torque))

    def _push_all(self) -> None:
        for body, index, force, torque in self._pushes:
            if index < 0:
                centre = pybullet.getBasePositionAndOrientation(body, self._client)[0]
            else:
                centre = pybullet.getLinkState(body, index, computeForwardKinematics=1, physicsClientId=self._client)[0]
            pybullet.applyExternalForce(body, index, force, centre, pybullet.WORLD_FRAME, self._client)
            pybullet.applyExternalTorque(body, index, torque, pybullet.WORLD_FRAME, self._client)
        self._pushes.clear()

    def step(self, effort: Sequence[float]) -> None:
        client = self._client
        if self._pushes:
            self._push_all()
        forces = [effort[slot] for slot in self._slots] if self._free else effort
        pybullet.setJointMotorControlArray(
            self._body, self._indices, pybullet.TORQUE_CONTROL, forces=forces, physicsClientId=client
        )
        pybullet.stepSimulation(client)

    def states(self) -> Sequence[JointRow]:
        rows: Sequence[JointRow] = pybullet.getJointStates(self._body, self._indices, self._client)
        return self._scene.rows(rows) if self._free else rows

    def driven(self) -> Sequence[JointRow]:
        rows: Sequence[JointRow] = pybullet.getJointStates(self._body, self._indices, self._client)
        return self._scene.known(rows) if self._free else rows

    def close(self) -> None:
        if self._client >= 0:
            pybullet.disconnect(self._client)
            self._client = -1
