"""The training simulator: PyBullet, without a window, one physics client per engine.

Viscous friction is the joints' damping in PyBullet, Coulomb friction a velocity motor that holds the joint at speed 0 with no
more than that effort: the solver lets it stick, as a real one does (a stuck chain creeps by less than 1 mrad/s). PyBullet's
changeDynamics knows no armature and no centre of mass: rotors are made as ``bullet_rotors`` says; a robot whose centres of mass
are others than in the last episode is loaded anew (``bullet_urdf``), which is exact, takes 0.1 ms for the cartpole and 0.6 ms
for an arm of twelve links, and costs nothing per step. Restitution is PyBullet's: a link's bounce gives back at most that part
of its speed, less by chance of where the last step before the contact ends, and with many steps a second nothing.
Self-collision is off. Ground, objects and a base that moves are ``bullet_scene``'s.
"""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pybullet

from forerun_sim.actuators import JointRow
from forerun_sim.compiled import compiled
from forerun_sim.engines import bullet_steps
from forerun_sim.engines.base import Bodies, Hardware, Image, Servo, gravity_vector
from forerun_sim.engines.bullet_camera import BulletCameras
from forerun_sim.engines.bullet_dynamics import Dynamics
from forerun_sim.engines.bullet_rotors import Rotors
from forerun_sim.engines.bullet_scene import BulletScene, picker
from forerun_sim.engines.bullet_urdf import ShiftedUrdf
from forerun_sim.errors import ForerunError
from forerun_sim.kinematics import ORIGIN, Vector
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec
from forerun_sim.urdf import robot_urdf
from forerun_sim.urdf_checks import check_meshes

GRAVITY = 9.81
_command, _step, _read = pybullet.setJointMotorControlArray, pybullet.stepSimulation, pybullet.getJointStates
_Steps = compiled("forerun_sim.engines._bullet_steps", bullet_steps.Steps)
_FRESH = 500
"""Robots loaded until the whole world is made anew: PyBullet keeps 2 kB of each that it removed."""


class BulletEngine:
    """The robot's URDF in PyBullet, with its scene. Joints of the URDF that robot.yaml does not name are held at 0.

    Raises:
        InputError: the robot has no URDF, or a broken one.
        ForerunError: PyBullet cannot load it.
    """

    def __init__(self, spec: RobotSpec) -> None:
        self.hardware = Hardware(spec.actuators, spec.sensors, spec.disturbances, spec.randomization)
        self._spec = spec
        self._urdf = robot_urdf(spec)
        check_meshes(self._urdf)
        self._client = pybullet.connect(pybullet.DIRECT)
        self._disconnect = weakref.finalize(self, pybullet.disconnect, self._client)
        """PyBullet keeps a client, of 28 MB, until it is told: also where nobody closes the engine."""
        touched = spec.ground is not None or bool(spec.bodies)
        self._files = ShiftedUrdf(self._urdf, (["collision"] if touched else []) + (["visual"] if spec.cameras else []))
        driven = [(slot, joint) for slot, joint in enumerate(spec.joints) if joint.name not in spec.coordinates]
        self._slots = tuple(slot for slot, _ in driven)
        self._names = tuple(joint.name for _, joint in driven)
        self._own = picker(self._slots)
        """Takes what belongs to the URDF's joints, in their order, of what belongs to all."""
        self._nothing = (0.0,) * len(driven)
        self._last_link = self._urdf.carrier if spec.base != "fixed" else self._urdf.joints[self._names[-1]].child
        self._pushes: list[tuple[int, int, Vector, Vector]] = []
        self._shifts: dict[str, Vector] = {}
        self._loaded = 0
        if all(link.mass > 0 for link in self._urdf.links.values()):
            self._load(self._urdf.path)
        else:  # PyBullet would complain on standard output of each link without a mass
            complete = ShiftedUrdf(self._urdf, ["collision", "visual"])
            self._load(complete.write({}))
            complete.close()
        self._indices = tuple(self._by_joint[joint.in_urdf or joint.name] for _, joint in driven)
        joints = dict(zip(self._names, self._indices, strict=True))
        self._dynamics = Dynamics(self._client, self._urdf, self._links, joints, self._last_link)
        self._prepare()
        self._scene = BulletScene(spec, self._client, self._body)
        self._free = bool(spec.bodies)
        self._rotors = Rotors(self._urdf, self._names, 1.0 / spec.control.physics_rate)
        self._cameras = self._watch()
        self._steps = self._stepped()
        self.bodies = self._nominal()

    def _nominal(self) -> Bodies:
        mass = {link: self._urdf.links[link].mass for link in self._links if self._urdf.links[link].mass > 0}
        moved = {link: value for link, value in mass.items() if self._urdf.moved(link)}
        surfaces = {link: pybullet.getDynamicsInfo(self._body, self._links[link], self._client) for link in moved}
        friction, restitution = ({link: info[index] for link, info in surfaces.items()} for index in (1, 5))
        damping = {name: self._urdf.joints[name].damping for name in self._names}
        coulomb = {name: self._urdf.joints[name].friction for name in self._names}
        for name, item in self._scene.objects.items():
            moved[name], friction[name], restitution[name] = item.mass, item.friction, item.restitution
        drawn = () if self._cameras is None else self._cameras.surfaces
        return Bodies(moved, friction, restitution, damping, coulomb, dict.fromkeys(self._names, 0.0), GRAVITY, drawn)

    def _stepped(self) -> bullet_steps.Steps:
        calls, about = (_command, _step, _read), (self._body, self._indices, self._client)
        scene = self._scene
        others = (self._own, scene.rows, scene.known) if self._free else (None, None, None)
        return _Steps(*calls, *about, pybullet.TORQUE_CONTROL, self._nothing, *others)

    def _watch(self) -> BulletCameras | None:
        if not self._spec.cameras:
            return None
        return BulletCameras(self._client, self._body, self._spec.cameras, self._links, self._scene.drawn())

    def _load(self, path: Path) -> None:
        fixed = self._spec.base == "fixed"
        # What is written for one robot bears the name of what was written for another.
        pybullet.setPhysicsEngineParameter(enableFileCaching=int(path == self._urdf.path), physicsClientId=self._client)
        try:
            # Links in an order of PyBullet's own: it simulates wrongly a link that stands before its parent.
            flags = pybullet.URDF_USE_INERTIA_FROM_FILE
            if not self._spec.cameras:  # nobody looks, and reading the meshes of an arm takes a second
                flags |= pybullet.URDF_IGNORE_VISUAL_SHAPES
            self._body = pybullet.loadURDF(str(path), useFixedBase=fixed, flags=flags, physicsClientId=self._client)
        except pybullet.error as error:
            self.close()
            raise ForerunError(f"{self._urdf.path}: PyBullet cannot load this URDF: {error}") from error
        if self._loaded == 0:
            count = pybullet.getNumJoints(self._body, self._client)
            infos = [pybullet.getJointInfo(self._body, index, self._client) for index in range(count)]
            self._by_joint = {info[1].decode(): index for index, info in enumerate(infos)}
            self._links = {info[12].decode(): index for index, info in enumerate(infos)} | {self._urdf.root: -1}
        self._loaded += 1

    def _prepare(self) -> None:
        """What holds for all episodes: no hidden damping, no default motors."""
        self._dynamics.load(self._body)
        self._held = others = [self._by_joint[name] for name in self._urdf.movable if name not in self._names]
        if others:
            self._motors(others, pybullet.POSITION_CONTROL, targetPositions=[0.0] * len(others), forces=[1e4] * len(others))
        pybullet.setTimeStep(1.0 / self._spec.control.physics_rate, self._client)

    def _shift(self, shifts: dict[str, Vector]) -> None:
        """Loads the robot with its centres of mass off by ``shifts`` [m]. It keeps its number in PyBullet."""
        self._shifts = shifts
        path, client = self._files.write(shifts), self._client
        fresh = self._loaded % _FRESH == 0
        if fresh:
            pybullet.resetSimulation(physicsClientId=client)
        else:
            pybullet.removeBody(self._body, client)
        self._load(path)
        self._prepare()
        if fresh:
            self._scene = BulletScene(self._spec, client, self._body)
        elif "base" in self._scene.free:
            self._scene.free["base"].look()
        self._cameras = self._watch()
        self._steps = self._stepped()

    def _motors(self, indices: Sequence[int], mode: int, **values: Any) -> None:
        pybullet.setJointMotorControlArray(self._body, indices, mode, physicsClientId=self._client, **values)

    def reset(self, parameters: Parameters, position: Sequence[float], velocity: Sequence[float]) -> None:
        com = parameters.com
        links = [link for link in parameters.mass if link in self._links] if any(com.values()) else []
        shifts = {link: (com[f"{link}.x"], com[f"{link}.y"], com[f"{link}.z"]) for link in links}
        shifts = {link: shift for link, shift in shifts.items() if shift != ORIGIN}
        if shifts != self._shifts:
            self._shift(shifts)
        self._scene.clear()
        self._rotors.reset(parameters, [position[slot] for slot in self._slots], self._last_link)
        acting = self._rotors.turning
        self._dynamics.reset(parameters, self._rotors.carried, damped=not acting)
        coulomb = [0.0 if acting else parameters.coulomb[name] for name in self._names]
        self._motors(self._indices, pybullet.VELOCITY_CONTROL, targetVelocities=[0.0] * len(coulomb), forces=coulomb)
        self._pushes.clear()
        pybullet.setGravity(*gravity_vector(parameters), self._client)
        self._place(position, velocity)
        if acting:
            self._try(position, velocity)
        self._scene.reset(parameters, position, velocity)
        if self._cameras is not None:
            self._cameras.reset(parameters)

    @property
    def client(self) -> int:
        """PyBullet's world."""
        return int(self._client)

    @property
    def robot(self) -> int:
        """The robot's number in it."""
        return int(self._body)

    def picture(self, name: str) -> Image:
        """What the robot's camera ``name`` sees now."""
        assert self._cameras is not None, "a robot without cameras is asked for no picture"
        return self._cameras.picture(name)

    def _place(self, position: Sequence[float], velocity: Sequence[float]) -> None:
        if self._slots:
            at, speed = [(position[slot],) for slot in self._slots], [(velocity[slot],) for slot in self._slots]
            pybullet.resetJointStatesMultiDof(self._body, self._indices, at, speed, physicsClientId=self._client)
        for index in self._held:
            pybullet.resetJointState(self._body, index, 0.0, 0.0, physicsClientId=self._client)

    def _try(self, position: Sequence[float], velocity: Sequence[float]) -> None:
        """Tells the rotors how the robot moves by itself, by a step that is taken back. One whose base moves is not where it will
        be; its rotors learn it within the first steps."""
        before = [velocity[slot] for slot in self._slots]
        after = before
        if self._spec.base == "fixed":
            pybullet.stepSimulation(self._client)
            after = [row[1] for row in pybullet.getJointStates(self._body, self._indices, self._client)]
            self._place(position, velocity)
        self._rotors.start(before, after)

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
        self.run((effort,), (False,))

    def run(self, efforts: Sequence[Sequence[float]], looked: Sequence[bool]) -> list[Sequence[JointRow]]:
        if self._pushes:
            self._push_all()
        rotors = self._rotors.efforts if self._rotors.acting else None
        return self._steps.run(efforts, looked, rotors, self._rotors.turning)

    def serve(
        self, servo: Servo, first: int, rows: Sequence[JointRow], looked: Sequence[bool]
    ) -> tuple[list[Sequence[JointRow]], list[Sequence[float]]]:
        if self._pushes:
            self._push_all()
        return self._steps.serve(servo, first, rows, looked, self._rotors.efforts if self._rotors.acting else None)

    def states(self) -> Sequence[JointRow]:
        rows: Sequence[JointRow] = _read(self._body, self._indices, self._client)
        return self._scene.rows(rows) if self._free else rows

    def driven(self) -> Sequence[JointRow]:
        rows: Sequence[JointRow] = _read(self._body, self._indices, self._client)
        return self._scene.known(rows) if self._free else rows

    def close(self) -> None:
        self._files.close()
        self._disconnect()
        self._client = -1
