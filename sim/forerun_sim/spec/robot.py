"""A robot as robot.yaml describes it."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, PrivateAttr, field_validator, model_validator

from forerun_sim.errors import InputError
from forerun_sim.spec.base import Distribution, Finite, Strict
from forerun_sim.spec.camera import Camera
from forerun_sim.spec.curriculum import Curriculum
from forerun_sim.spec.hardware import Actuators, Disturbances, Sensors
from forerun_sim.spec.parts import Control, Joint, Safety, Topics
from forerun_sim.spec.randomization import NOT_OF_JOINTS, OF_CAMERAS, Randomization
from forerun_sim.spec.scene import SHIFTS, Base, Ground, SceneObject, coordinates
from forerun_sim.spec.task import Task, parse_feature

PYBULLET_DATA = "pybullet_data:"
"""Prefix of files that come with PyBullet."""


class RobotSpec(Strict):
    """A robot as robot.yaml describes it. ``urdf`` may be absent for robots that exist only as logs.

    ``foreign`` is the file of the second engine's own plant (model and actuators); only that engine reads it. ``base`` says how
    the root link may move, ``ground: true`` puts a plane under the robot, ``objects`` are what it may touch (``spec.scene``).

    ``nominal`` replaces single parameters of the plant, whether they come from this file or from the URDF (``mass.pole: 0.21``;
    named as in ``Parameters.flat``); ``identify`` names those that ``forerun identify`` is to find out, and where to look.
    """

    format: Literal[1]
    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    description: str = ""
    urdf: str | None = None
    foreign: str | None = None
    base: Base = "fixed"
    ground: Ground | None = None
    objects: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], SceneObject] = Field(default_factory=dict)
    joints: Annotated[tuple[Joint, ...], Field(min_length=1)]
    control: Control
    topics: Topics = Topics()
    sensors: Sensors = Sensors()
    actuators: Actuators = Actuators()
    disturbances: Disturbances = Disturbances()
    randomization: Randomization = Randomization()
    curriculum: Curriculum | None = None
    nominal: dict[str, Finite] = Field(default_factory=dict)
    identify: dict[str, Distribution] = Field(default_factory=dict)
    cameras: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")], Camera] = Field(default_factory=dict)
    safety: Safety = Safety()
    tasks: dict[str, Task] = Field(default_factory=dict)
    _folder: Path = PrivateAttr(default=Path())

    @model_validator(mode="after")
    def _names_exist(self) -> RobotSpec:
        names = [joint.name for joint in self.joints]
        if len(set(names)) != len(names):
            raise ValueError(f"joint names must differ: {names}")
        known = set(names)
        for part in ("actuators", "sensors", "randomization", "safety"):
            for key, value in getattr(self, part):
                if isinstance(value, dict) and key not in NOT_OF_JOINTS and not set(value) <= known:
                    raise ValueError(f"{part}.{key}: no joint named {sorted(set(value) - known)}; joints: {names}")
        for key in OF_CAMERAS:
            drawn = getattr(self.randomization, key)
            unseen = sorted({name.partition(".")[0] for name in drawn} - set(self.cameras)) if isinstance(drawn, dict) else []
            if unseen:
                raise ValueError(f"randomization.{key}: no camera named {unseen}; cameras: {list(self.cameras)}")
        for task_name, task in self.tasks.items():
            self._check_task(f"tasks.{task_name}", task)
        return self

    @model_validator(mode="after")
    def _damped_joints_have_gains(self) -> RobotSpec:
        gain = self.safety.damp_gain
        loose = [
            joint.name
            for joint in self.actuated
            if joint.interface == "effort" and not (gain.get(joint.name) if isinstance(gain, dict) else gain)
        ]
        if self.safety.action == "damp" and loose:
            raise ValueError(f"safety.damp_gain: action 'damp' would leave {loose} free; give a gain above 0, or choose 'zero'")
        return self

    @field_validator("ground", mode="before")
    @classmethod
    def _plain_ground(cls, value: Any) -> Any:
        return ({} if value else None) if isinstance(value, bool) else value

    @model_validator(mode="after")
    def _bodies_have_coordinates(self) -> RobotSpec:
        joints = {joint.name: joint for joint in self.joints}
        if "base" in self.objects:
            raise ValueError("objects: 'base' is the robot's own; name the object otherwise")
        for body, motion in self.bodies.items():
            for name in coordinates(body, motion):
                kinds = ("prismatic",) if name.rpartition("_")[2] in SHIFTS else ("continuous", "revolute")
                wanted = f"{{ name: {name}, type: {kinds[0]} }}"
                if name not in joints:
                    raise ValueError(f"joints: a {motion} '{body}' needs its coordinate '{name}': add '- {wanted}'")
                if joints[name].type not in kinds or joints[name].actuated:
                    raise ValueError(f"joints: '{name}' is a coordinate of '{body}', not driven: write '- {wanted}'")
            if motion == "planar" and self.ground is None:
                raise ValueError(f"a planar '{body}' needs something to stand on: add 'ground: true'")
        return self

    @model_validator(mode="after")
    def _commands_last(self) -> RobotSpec:
        timeout, period = self.safety.command_timeout, self.control.period
        if timeout <= period:
            reason = "or the robot would stop between two commands in time"
            raise ValueError(f"safety.command_timeout {timeout:g} s must exceed the control period of {period:g} s, {reason}")
        return self

    def _check_task(self, where: str, task: Task) -> None:
        names = list(self.joint_names)
        for key in ("initial_position", "initial_velocity", "command_limits"):
            unknown = set(getattr(task, key)) - set(names)
            if unknown:
                raise ValueError(f"{where}.{key}: no joint named {sorted(unknown)}; joints: {names}")
        for joint in self.joints:
            if joint.name in task.command_limits:
                if not joint.actuated:
                    raise ValueError(f"{where}.command_limits: joint '{joint.name}' takes no commands")
                (low, high), (lower, upper) = task.command_limits[joint.name], joint.command_limits
                if low < lower or high > upper:
                    exceeded = f"exceeds the joint's [{lower}, {upper}]"
                    raise ValueError(f"{where}.command_limits.{joint.name}: [{low}, {high}] {exceeded}")
        for feature in task.features():
            kind, name = parse_feature(feature)
            allowed = list(self.action_names) if kind == "command" else names
            if kind != "link" and name not in allowed:
                raise ValueError(f"{where}: feature '{feature}': no such joint; allowed: {allowed}")
        if self.urdf is None and any(term.kind == "distance" for outer in task.terms for term in outer.flat()):
            raise ValueError(f"{where}: a distance term needs the robot's urdf")
        if self.urdf is None and any(feature.startswith("link:") for feature in task.features()):
            raise ValueError(f"{where}: a link's feature needs the robot's urdf")

    @property
    def folder(self) -> Path:
        """The folder of robot.yaml, to which its file names are relative. No key of robot.yaml sets it."""
        return self._folder

    def at(self, folder: Path) -> RobotSpec:
        """This robot with its files in ``folder``."""
        placed = self.model_copy()
        placed._folder = folder.resolve()
        return placed

    @property
    def bodies(self) -> dict[str, str]:
        """The motion, planar or floating, of each body that no joint holds: ``base`` where it moves, then the objects."""
        base = {} if self.base == "fixed" else {"base": str(self.base)}
        return base | {name: str(item.motion) for name, item in self.objects.items()}

    @property
    def coordinates(self) -> tuple[str, ...]:
        """Joints that say where a body is, and that the URDF does not have."""
        return tuple(name for body, motion in self.bodies.items() for name in coordinates(body, motion))

    @property
    def joint_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.joints)

    @property
    def actuated(self) -> tuple[Joint, ...]:
        """Joints that take commands, in the order of the commands."""
        return tuple(joint for joint in self.joints if joint.actuated)

    @property
    def action_names(self) -> tuple[str, ...]:
        return tuple(joint.name for joint in self.actuated)

    @property
    def state_size(self) -> int:
        """S: positions, then velocities."""
        return 2 * len(self.joints)

    @property
    def action_size(self) -> int:
        return len(self.actuated)

    def action_limits(self, task: str | None = None) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Lower and upper command limits [A], physical units, narrowed by ``task`` where it says so."""
        narrowed = self.task(task).command_limits if task is not None else {}
        pairs = np.array([narrowed.get(joint.name, joint.command_limits) for joint in self.actuated], dtype=float).reshape(-1, 2)
        return pairs[:, 0], pairs[:, 1]

    def task(self, name: str | None = None) -> Task:
        """The task called ``name``, or the first one.

        Raises:
            InputError: there is no such task.
        """
        if name is None and self.tasks:
            return next(iter(self.tasks.values()))
        if name not in self.tasks:
            raise InputError(f"robot '{self.name}' has no task '{name}'; it has: {', '.join(self.tasks) or 'none'}")
        return self.tasks[name]

    @property
    def has_urdf(self) -> bool:
        """Whether the robot has a URDF that can be here: one of PyBullet's comes with it, and logs need none of it."""
        if self.urdf is None or not self.urdf.startswith(PYBULLET_DATA):
            return self.urdf is not None
        return importlib.util.find_spec(PYBULLET_DATA.rstrip(":")) is not None

    def file(self, relative: str) -> Path:
        """Absolute path of a file that robot.yaml names: relative to itself, or ``pybullet_data:<path>`` of what PyBullet ships.

        Raises:
            InputError: PyBullet's data is not installed.
        """
        if not relative.startswith(PYBULLET_DATA):
            return (self.folder / relative).resolve()
        found = importlib.util.find_spec(PYBULLET_DATA.rstrip(":"))
        if found is None or found.origin is None:
            raise InputError(f"robot '{self.name}': '{relative}' comes with PyBullet: pip install pybullet")
        return Path(found.origin).parent / relative.removeprefix(PYBULLET_DATA)
