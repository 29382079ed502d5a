"""What a physics engine is to the rest: joints that take efforts and have a state. ``ENGINES`` lists them."""

from __future__ import annotations

import importlib
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forerun_sim.actuators import JointRow
from forerun_sim.errors import InputError
from forerun_sim.kinematics import Vector
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Actuators, Disturbances, Randomization, RobotSpec, Sensors


@dataclass(frozen=True)
class Hardware:
    """What the engine's robot is built of, beside its bodies."""

    actuators: Actuators
    sensors: Sensors
    disturbances: Disturbances
    randomization: Randomization


@dataclass(frozen=True)
class Bodies:
    """The engine's robot as its model file has it: ``mass`` [kg], ``friction`` and ``restitution`` per moved link; ``damping``,
    ``coulomb`` and ``armature`` per joint (joint order of robot.yaml); ``gravity`` [m/s^2]."""

    mass: dict[str, float]
    friction: dict[str, float]
    restitution: dict[str, float]
    damping: dict[str, float]
    coulomb: dict[str, float]
    armature: dict[str, float]
    gravity: float
    surfaces: tuple[str, ...] = ()


@dataclass(frozen=True)
class Image:
    """What a camera saw at ``time`` [s]: ``rgb`` uint8 [H, W, 3], and ``depth`` float32 [H, W], the distance [m] from the plane
    of the camera along its axis; where nothing is, it is the camera's ``far``."""

    rgb: NDArray[np.uint8]
    depth: NDArray[np.float32]
    time: float = 0.0


def gravity_vector(parameters: Parameters) -> tuple[float, float, float]:
    """Gravity [m/s^2] in the base frame: down, turned about x, then about y."""
    size, about_x, about_y = parameters.gravity, parameters.gravity_tilt["x"], parameters.gravity_tilt["y"]
    return (
        -size * math.cos(about_x) * math.sin(about_y),
        size * math.sin(about_x),
        -size * math.cos(about_x) * math.cos(about_y),
    )


Servo = Callable[[int, Sequence[JointRow]], Sequence[float]]
"""Efforts of the motors [J] in a prepared physics step, by its number, from the joints' states at its beginning."""


class Engine(Protocol):
    """Rigid bodies on joints, in the joint order of robot.yaml, SI. One physics step at a time."""

    hardware: Hardware
    bodies: Bodies

    def reset(self, parameters: Parameters, position: Sequence[float], velocity: Sequence[float]) -> None:
        """Puts the joints at ``position`` and ``velocity`` [J] and takes over what ``parameters`` says about bodies."""

    def push(self, link: str, force: Vector, torque: Vector) -> None:
        """``force`` [N] at the centre of mass of ``link`` and ``torque`` [N m], world frame, during the next ``step`` alone.
        Pushes before the same step add up; ``reset`` forgets them. ``link`` is one of ``bodies.mass``."""

    def step(self, effort: Sequence[float]) -> None:
        """One physics step under the actuators' ``effort`` [J]. Friction of joints is the engine's own matter."""

    def run(self, efforts: Sequence[Sequence[float]], looked: Sequence[bool]) -> list[Sequence[JointRow]]:
        """A physics step under each of ``efforts`` [steps, J], in turn; as ``step``, but quicker. Returns the states after those
        steps that are ``looked`` at [steps]."""

    def states(self) -> Sequence[JointRow]:
        """The joints' states [J] now, each beginning with position and velocity."""

    def serve(
        self, servo: Servo, first: int, rows: Sequence[JointRow], looked: Sequence[bool]
    ) -> tuple[list[Sequence[JointRow]], list[Sequence[float]]]:
        """The same under the efforts that ``servo`` asks for in the steps from number ``first`` on, from the states at the
        beginning of each: ``rows``, then those that follow, in which the coordinates of bodies that move freely may be the last
        ones that were looked at. Returns the states after the steps ``looked`` at, and the efforts [steps, J]."""

    def driven(self) -> Sequence[JointRow]:
        """The same for servos: the coordinates of bodies that move freely may be those of the last ``states``."""

    def close(self) -> None:
        """Gives the engine's memory back. May be called twice."""


ENGINES = {
    "bullet": "forerun_sim.engines.bullet:BulletEngine",
    "mujoco": "forerun_sim.engines.mujoco:MujocoEngine",
    "mujoco_urdf": "forerun_sim.engines.mujoco_urdf:MujocoUrdfEngine",
}
"""The robot's own URDF in PyBullet, its foreign plant in MuJoCo, its own URDF in MuJoCo."""


def make_engine(name: str, spec: RobotSpec) -> Engine:
    """The engine called ``name`` with the robot ``spec`` in it.

    Raises:
        InputError: there is no such engine, its package is not installed, or the robot has no model for it.
    """
    if name not in ENGINES:
        raise InputError(f"no engine named '{name}'; there are: {', '.join(ENGINES)}")
    module, _, kind = ENGINES[name].partition(":")
    try:
        factory: Any = getattr(importlib.import_module(module), kind)
    except ModuleNotFoundError as error:
        raise InputError(f"engine '{name}' needs the package '{error.name}': pip install '{error.name}'") from error
    engine: Engine = factory(spec)
    return engine
