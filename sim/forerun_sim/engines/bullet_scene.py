"""What surrounds the robot in PyBullet: the ground, a base that moves, objects. Their coordinates are joints to the rest.

A free body is placed by its coordinates and read back as coordinates and their time derivatives (see ``spec.scene``). A body that
would begin inside the ground is lifted onto it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import itemgetter
from typing import Any

import pybullet

from forerun_sim.actuators import JointRow
from forerun_sim.engines.free_motion import FreeMotion
from forerun_sim.kinematics import ORIGIN, Vector
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Ground, RobotSpec, SceneObject

Quaternion = tuple[float, float, float, float]
UPRIGHT: Quaternion = (0.0, 0.0, 0.0, 1.0)
_EMPTY = 1e3
"""Height [m] at which nothing touches anything: bodies go there before they are placed, so that no contact of the last episode
lives on in this one."""
_TOUCH = 0.0005
"""How deep [m] a body may begin in the ground."""


class FreeBody:
    """A body that no joint holds, by its coordinates: ``planar`` (x, y, yaw) or ``floating`` (x, y, z, roll, pitch, yaw).

    ``height`` [m] is where the frame of a planar one begins.
    """

    def __init__(self, client: int, body: int, motion: str, height: float = 0.0) -> None:
        self.body = body
        self._motion = FreeMotion(motion, height)
        self.parts = self._motion.parts
        self._client = client
        self.look()

    def look(self) -> None:
        """Takes note of where its centre of mass is, which may have been shifted."""
        info = pybullet.getDynamicsInfo(self.body, -1, self._client)
        self._com: Vector = info[3]
        self._inertial: tuple[Vector, Quaternion] = (info[3], info[4])
        self._to_frame = None if self._inertial == (ORIGIN, UPRIGHT) else pybullet.invertTransform(*self._inertial)

    def lift(self) -> None:
        """Puts it out of the way."""
        pybullet.resetBasePositionAndOrientation(self.body, (0.0, 0.0, _EMPTY), UPRIGHT, self._client)

    def place(self, position: Sequence[float], velocity: Sequence[float]) -> None:
        """Puts it where its coordinates say, moving as their derivatives say."""
        at, angles, speed, spin = self._motion.placed(position, velocity)
        turn = pybullet.getQuaternionFromEuler(angles)
        centre, axes = pybullet.multiplyTransforms(at, turn, *self._inertial)
        pybullet.resetBasePositionAndOrientation(self.body, centre, axes, self._client)
        arm = [there - here for there, here in zip(centre, at, strict=True)]
        along = [own + across for own, across in zip(speed, _cross(spin, arm), strict=True)]
        pybullet.resetBaseVelocity(self.body, along, spin, self._client)

    def rise(self, height: float) -> None:
        """Moves it up by ``height`` [m]; its velocity stays."""
        centre, axes = pybullet.getBasePositionAndOrientation(self.body, self._client)
        motion = pybullet.getBaseVelocity(self.body, self._client)
        pybullet.resetBasePositionAndOrientation(self.body, (centre[0], centre[1], centre[2] + height), axes, self._client)
        pybullet.resetBaseVelocity(self.body, *motion, self._client)

    def rows(self) -> tuple[JointRow, ...]:
        """Its coordinates now, each with its velocity."""
        centre, turn = pybullet.getBasePositionAndOrientation(self.body, self._client)
        along, spin = pybullet.getBaseVelocity(self.body, self._client)
        at = centre
        if self._to_frame is not None:
            at, turn = pybullet.multiplyTransforms(centre, turn, *self._to_frame)
            across = _cross(spin, (at[0] - centre[0], at[1] - centre[1], at[2] - centre[2]))
            along = (along[0] + across[0], along[1] + across[1], along[2] + across[2])
        return self._motion.rows(at, turn, along, spin)


class BulletScene:
    """The ground, the robot's base where it moves, and the objects, in the physics client of the robot.

    Attributes:
        free: the free bodies by name, ``base`` among them, in the order of ``spec.bodies``.
    """

    def __init__(self, spec: RobotSpec, client: int, robot: int) -> None:
        self._client = client
        self._ground = None if spec.ground is None else _plane(client, spec.ground)
        level = 0.0 if spec.ground is None else spec.ground.height
        self.free: dict[str, FreeBody] = {} if spec.base == "fixed" else {"base": FreeBody(client, robot, spec.base)}
        for name, item in spec.objects.items():
            self.free[name] = FreeBody(client, _object(client, item), item.motion, level + item.half_height)
        self._objects = spec.objects
        self._shifts: dict[str, Vector] = dict.fromkeys(spec.objects, ORIGIN)
        names = spec.joint_names
        self._slots = {name: [names.index(f"{name}_{part}") for part in body.parts] for name, body in self.free.items()}
        """Where the coordinates of each body are among the joints."""
        self._inertia = {name: pybullet.getDynamicsInfo(self.free[name].body, -1, client)[2] for name in spec.objects}
        joints = [index for index in range(len(names)) if names[index] not in spec.coordinates]
        order = joints + [slot for slots in self._slots.values() for slot in slots]
        self._order = [order.index(index) for index in range(len(names))]
        """For each joint of robot.yaml: its place where the joints of the URDF come first, then the bodies."""
        self._arrange = picker(self._order)
        self._seen: list[JointRow] = [(0.0, 0.0)] * len(spec.coordinates)
        self._readers: list[Callable[[], tuple[JointRow, ...]]] = [body.rows for body in self.free.values()]
        if spec.bodies or self._ground is not None:
            pybullet.setPhysicsEngineParameter(deterministicOverlappingPairs=1, physicsClientId=client)

    @property
    def objects(self) -> Mapping[str, SceneObject]:
        """The objects by name, as robot.yaml has them."""
        return self._objects

    def drawn(self) -> dict[str, int]:
        """PyBullet's bodies beside the robot, by name: the objects, and ``ground``."""
        ground = {} if self._ground is None else {"ground": self._ground}
        return {name: self.free[name].body for name in self._objects} | ground

    def clear(self) -> None:
        """Takes every free body out of the scene: contacts, and the forces remembered of them, end."""
        for body in self.free.values():
            body.lift()
        if self._ground is not None or self._objects:
            pybullet.performCollisionDetection(self._client)

    def reset(self, parameters: Parameters, position: Sequence[float], velocity: Sequence[float]) -> None:
        """Places the bodies at the coordinates among the joints' ``position`` and ``velocity`` [J]. The robot's joints must
        stand already: it is their posture that may reach into the ground."""
        com = parameters.com
        self._balance({name: (com[f"{name}.x"], com[f"{name}.y"], com[f"{name}.z"]) for name in self._objects})
        for name, item in self._objects.items():
            mass = parameters.mass[name]
            factor = mass / item.mass * parameters.inertia[name]
            moments = tuple(moment * factor for moment in self._inertia[name])
            friction, restitution = parameters.link_friction[name], parameters.restitution[name]
            number, client = self.free[name].body, self._client
            pybullet.changeDynamics(number, -1, mass=mass, localInertiaDiagonal=moments, physicsClientId=client)
            pybullet.changeDynamics(number, -1, lateralFriction=friction, restitution=restitution, physicsClientId=client)
        for name, body in self.free.items():
            slots = self._slots[name]
            body.place([position[slot] for slot in slots], [velocity[slot] for slot in slots])
            if self._ground is not None:
                found = pybullet.getClosestPoints(body.body, self._ground, 0.0, physicsClientId=self._client)
                deepest = min((contact[8] for contact in found), default=0.0)
                if deepest < -_TOUCH:
                    body.rise(-deepest)

    def _balance(self, shifts: dict[str, Vector]) -> None:
        """Moves the objects' centres of mass by ``shifts`` [m]. PyBullet does so for new bodies alone; all are made anew, for
        their order decides in which order contacts are solved. Removed backwards, each gets its number again."""
        if shifts == self._shifts:
            return
        self._shifts = shifts
        for name in reversed(self._objects):
            pybullet.removeBody(self.free[name].body, self._client)
        for name, item in self._objects.items():
            self.free[name].body = _object(self._client, item, shifts[name])
            self.free[name].look()

    def rows(self, joints: Sequence[JointRow]) -> Sequence[JointRow]:
        """The states of all joints of robot.yaml from those of the URDF's: the bodies' coordinates come in between."""
        self._seen = [row for reader in self._readers for row in reader()]
        return self.known(joints)

    def known(self, joints: Sequence[JointRow]) -> Sequence[JointRow]:
        """The same, with the bodies' coordinates as ``rows`` saw them last."""
        return self._arrange([*joints, *self._seen])


def picker(places: Sequence[int]) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """A quick function that takes the values at ``places`` from a sequence."""
    if tuple(places) == tuple(range(places[0], places[0] + len(places))):
        return itemgetter(slice(places[0], places[0] + len(places)))
    return itemgetter(*places)


def _plane(client: int, ground: Ground) -> int:
    shape = pybullet.createCollisionShape(pybullet.GEOM_PLANE, planeNormal=(0.0, 0.0, 1.0), physicsClientId=client)
    body: int = pybullet.createMultiBody(0.0, shape, basePosition=(0.0, 0.0, ground.height), physicsClientId=client)
    pybullet.changeDynamics(body, -1, lateralFriction=ground.friction, restitution=ground.restitution, physicsClientId=client)
    return body


def _object(client: int, item: SceneObject, centre: Vector = ORIGIN) -> int:
    """The object in PyBullet, its centre of mass at ``centre`` [m] in its frame."""
    sizes: dict[str, float | list[float]]
    kind, sizes = pybullet.GEOM_SPHERE, {"radius": item.size[0]}
    if item.shape == "box":
        kind, sizes = pybullet.GEOM_BOX, {"halfExtents": [0.5 * length for length in item.size]}
    elif item.shape == "cylinder":
        kind, sizes = pybullet.GEOM_CYLINDER, {"radius": item.size[0], "height": item.size[1]}
    shape = pybullet.createCollisionShape(kind, physicsClientId=client, **sizes)
    body: int = pybullet.createMultiBody(
        item.mass, shape, basePosition=(0.0, 0.0, _EMPTY), baseInertialFramePosition=centre, physicsClientId=client
    )
    pybullet.changeDynamics(body, -1, linearDamping=0.0, angularDamping=0.0, physicsClientId=client)
    return body


def _cross(one: Sequence[float], other: Sequence[float]) -> Vector:
    return (
        one[1] * other[2] - one[2] * other[1],
        one[2] * other[0] - one[0] * other[2],
        one[0] * other[1] - one[1] * other[0],
    )
