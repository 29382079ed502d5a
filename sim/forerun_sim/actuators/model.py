"""The actuators of all joints of a robot, put together."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from forerun_sim.actuators import drives
from forerun_sim.actuators.delay import DelayLine
from forerun_sim.actuators.drives import JointRow
from forerun_sim.actuators.parts import Figures
from forerun_sim.compiled import compiled
from forerun_sim.gravity import GravityCompensation
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Joint

_Drives = compiled("forerun_sim.actuators._drives", drives.Drives)
COMPENSATION = 0.02
"""For how long [s] the effort against gravity is held. It is that of the middle of this time, as the velocity foretells it."""


def per_joint(value: float | dict[str, float], joints: Sequence[Joint], default: float = 0.0) -> dict[str, float]:
    """A number per joint name from what robot.yaml gives: one number for all, or some by name."""
    return {joint.name: value.get(joint.name, default) if isinstance(value, dict) else value for joint in joints}


class ActuatorModel:
    """The actuators of one episode.

    ``give`` takes a command, ``prepare`` looks some physics steps ahead. Where nothing depends on the joints' states
    (``feedback`` is False: effort interfaces without play and torque-speed curve), ``ahead`` then has the efforts of all these
    steps; otherwise ``effort`` is asked once for each of them, in turn, with the state at its beginning.

    What holds the robot's own weight comes on top of all: it reaches the joint without delay, does not count for the limits, and
    is found anew every ``COMPENSATION`` seconds.
    """

    def __init__(self, joints: Sequence[Joint], step: float, gravity: GravityCompensation | None = None) -> None:
        """``step`` is the physics step [s]; ``gravity`` what the robot does against its own weight, if anything."""
        self._joints = tuple(joints)
        self._driven = [(index, joint) for index, joint in enumerate(self._joints) if joint.actuated]
        self._step = step
        self._limits = [joint.command_limits for _, joint in self._driven]
        self._line = DelayLine()
        self._drives = _Drives((), step)
        self.effort = self._drives.effort
        """Effort of the motors [J] in a prepared step, by its number and the joints' states at its beginning (``Drives``)."""
        self._gravity = gravity
        self._held = [0.0] * len(self._joints)
        self._reach = max(1, round(COMPENSATION / step)) if gravity is not None else sys.maxsize
        self._lags = False
        self.feedback = False
        """Whether efforts depend on the joints' states in this episode."""
        self.newest = False
        """Whether ``prepare`` or ``effort`` look at the joints' states in this episode."""
        self.ahead: list[Sequence[float]] = []
        """Efforts [J] of the motors in each prepared step, without feedback."""

    def reset(self, parameters: Parameters, position: Sequence[float]) -> None:
        """Begins an episode at ``position`` [J]: no effort, and position servos told to stay where they are.

        Raises:
            InputError: a torque-speed curve without a limit of effort.
        """
        self._build(parameters)
        idle = [position[index] if joint.interface == "position" else 0.0 for index, joint in self._driven]
        self._line.reset(parameters.delay / self._step, self._clipped(idle))

    def alter(self, parameters: Parameters, step: int) -> None:
        """Goes on as other drives from physics step ``step`` on: motors and gears are where they were, and commands under way
        arrive when they would have, but none after one that is given now."""
        moving = self._drives.moving()
        if not self._lags and not self.feedback:  # without a lag a motor gives what it is told
            moving = [(output, lead, speed) for output, (_, lead, speed) in zip(self._line.active, moving, strict=True)]
        self._build(parameters)
        self._drives.resume(moving)
        self._line.alter(parameters.delay / self._step, step)

    def _build(self, parameters: Parameters) -> None:
        figures = [Figures.of(index, joint, parameters, self._step) for index, joint in self._driven]
        self._drives = _Drives(figures, self._step)
        self.effort = self._drives.effort
        self._lags = any(drive.keep for drive in figures)
        self.feedback = any(drive.feedback for drive in figures)
        self.newest = self.feedback or self._gravity is not None

    def _clipped(self, command: list[float]) -> list[float]:
        for value, (low, high) in zip(command, self._limits, strict=True):
            if not low <= value <= high:
                return [min(max(value, low), high) for value, (low, high) in zip(command, self._limits, strict=True)]
        return command

    def give(self, command: list[float], step: int) -> None:
        """A command [A], physical units, given at the beginning of physics step ``step``; it is cut to the command limits."""
        self._line.give(self._clipped(command), step)

    def reach(self, step: int) -> int:
        """How many physics steps ``prepare`` may look ahead at most, from step ``step`` on."""
        return self._reach - step % self._reach

    def prepare(self, step: int, count: int, rows: Sequence[JointRow]) -> None:
        """Looks ``count`` physics steps ahead, from step ``step`` on, where the joints are in the states ``rows``."""
        if self._gravity is not None and step % self._reach == 0:
            middle = 0.5 * self._reach * self._step
            efforts = self._gravity.efforts([row[0] + middle * row[1] for row in rows])
            self._held = [effort if joint.actuated else 0.0 for effort, joint in zip(efforts, self._joints, strict=True)]
        parts = self._line.during(step, count)
        if self.feedback:
            self._drives.ask(parts, self._held)
        else:
            self.ahead = self._drives.forwarded(parts, self._held)
