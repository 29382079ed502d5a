"""The training simulator: PyBullet, without a window, one physics client per engine.

Viscous friction is the joints' damping in PyBullet, Coulomb friction a velocity motor that holds the joint at speed 0 with no
more than that effort: the solver lets it stick, as a real one does. PyBullet's changeDynamics knows no armature (rotor inertia)
and cannot shift a centre of mass: state the rotor's inertia in the URDF where it matters, and give another URDF for the latter.
Self-collision is off and the world is empty, so that friction of links acts only where a robot brings something to touch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pybullet

from forerun_sim.actuators import JointRow
from forerun_sim.engines.base import Bodies, Hardware, gravity_vector
from forerun_sim.errors import ForerunError
from forerun_sim.kinematics import Vector
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec
from forerun_sim.urdf import robot_urdf

GRAVITY = 9.81
_FAST = 1e6
"""Joint velocity [rad/s] at which PyBullet would clip: out of reach, so that exploding physics is seen and not hidden."""


class BulletEngine:
    """The robot's URDF in PyBullet, base fixed. Joints of the URDF that robot.yaml does not name are held at 0.

    Raises:
        InputError: the robot has no URDF, or a broken one.
        ForerunError: PyBullet cannot load it.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.hardware = Hardware(spec.actuators, spec.sensors, spec.disturbances, spec.randomization)
        self._urdf = robot_urdf(spec)
        self._step_size = 1.0 / spec.control.physics_rate
        self._client = pybullet.connect(pybullet.DIRECT)
        flags = pybullet.URDF_USE_INERTIA_FROM_FILE | pybullet.URDF_MAINTAIN_LINK_ORDER
        try:
            self._body = pybullet.loadURDF(str(self._urdf.path), useFixedBase=True, flags=flags, physicsClientId=self._client)
        except pybullet.error as error:
            self.close()
            raise ForerunError(f"{self._urdf.path}: PyBullet cannot load this URDF: {error}") from error
        infos = [
            pybullet.getJointInfo(self._body, i, self._client) for i in range(pybullet.getNumJoints(self._body, self._client))
        ]
        by_joint = {info[1].decode(): index for index, info in enumerate(infos)}
        self._links = {info[12].decode(): index for index, info in enumerate(infos)}
        self._names = spec.joint_names
        self._indices = tuple(by_joint[joint.in_urdf or joint.name] for joint in spec.joints)
        self._last_link = self._urdf.joints[self._names[-1]].child
        self._inertia: dict[str, tuple[float, ...]] = {}
        self._pushes: list[tuple[int, Vector, Vector]] = []
        self._prepare(by_joint)
        mass = {link: self._urdf.links[link].mass for link in self._links if self._urdf.links[link].mass > 0}
        moved = {link: value for link, value in mass.items() if self._urdf.moved(link)}
        surfaces = {link: pybullet.getDynamicsInfo(self._body, self._links[link], self._client) for link in moved}
        friction, restitution = ({link: info[index] for link, info in surfaces.items()} for index in (1, 5))
        damping = {name: self._urdf.joints[name].damping for name in self._names}
        coulomb = {name: self._urdf.joints[name].friction for name in self._names}
        self.bodies = Bodies(moved, friction, restitution, damping, coulomb, dict.fromkeys(self._names, 0.0), GRAVITY)

    def _prepare(self, by_joint: dict[str, int]) -> None:
        """What holds for all episodes: no hidden damping, no default motors, no mass where the URDF gives none."""
        for link, index in self._links.items():
            self._change(index, linearDamping=0.0, angularDamping=0.0, maxJointVelocity=_FAST)
            if self._urdf.links[link].mass <= 0:
                self._change(index, mass=0.0, localInertiaDiagonal=(0.0, 0.0, 0.0))
            self._inertia[link] = pybullet.getDynamicsInfo(self._body, index, self._client)[2]
        self._change(-1, linearDamping=0.0, angularDamping=0.0)
        others = [by_joint[name] for name in self._urdf.movable if name not in self._names]
        if others:
            self._motors(others, pybullet.POSITION_CONTROL, targetPositions=[0.0] * len(others), forces=[1e4] * len(others))
        pybullet.setTimeStep(self._step_size, self._client)

    def _motors(self, indices: Sequence[int], mode: int, **values: Any) -> None:
        pybullet.setJointMotorControlArray(self._body, indices, mode, physicsClientId=self._client, **values)

    def _change(self, link: int, **values: Any) -> None:
        pybullet.changeDynamics(self._body, link, physicsClientId=self._client, **values)

    def reset(self, parameters: Parameters, position: Sequence[float], velocity: Sequence[float]) -> None:
        for link, mass in parameters.mass.items():
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
        for index, where, speed in zip(self._indices, position, velocity, strict=True):
            pybullet.resetJointState(self._body, index, where, speed, physicsClientId=self._client)

    def push(self, link: str, force: Vector, torque: Vector) -> None:
        self._pushes.append((self._links[link], force, torque))

    def _push_all(self) -> None:
        for index, force, torque in self._pushes:
            centre = pybullet.getLinkState(self._body, index, computeForwardKinematics=1, physicsClientId=self._client)[0]
            pybullet.applyExternalForce(self._body, index, force, centre, pybullet.WORLD_FRAME, self._client)
            pybullet.applyExternalTorque(self._body, index, torque, pybullet.WORLD_FRAME, self._client)
        self._pushes.clear()

    def step(self, effort: Sequence[float]) -> None:
        client = self._client
        if self._pushes:
            self._push_all()
        pybullet.setJointMotorControlArray(
            self._body, self._indices, pybullet.TORQUE_CONTROL, forces=effort, physicsClientId=client
        )
        pybullet.stepSimulation(client)

    def states(self) -> Sequence[JointRow]:
        rows: Sequence[JointRow] = pybullet.getJointStates(self._body, self._indices, self._client)
        return rows

    def close(self) -> None:
        if self._client >= 0:
            pybullet.disconnect(self._client)
            self._client = -1
