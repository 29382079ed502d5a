"""From command to joint torque, at the physics rate: delay, servo, saturation, lag, strength."""

from __future__ import annotations

import math
import sys
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from forerun_sim.gravity import GravityCompensation
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Joint


def per_joint(value: float | dict[str, float], joints: Sequence[Joint], default: float = 0.0) -> dict[str, float]:
    """A number per joint name from what robot.yaml gives: one number for all, or some by name."""
    return {joint.name: value.get(joint.name, default) if isinstance(value, dict) else value for joint in joints}


COMPENSATION = 0.01
"""For how long [s] the effort against gravity is held. It is that of the middle of this time, as the velocity foretells it."""

JointRow = Sequence[float]
"""State of one joint: position, velocity, and whatever the engine adds."""


@dataclass(slots=True)
class _Drive:
    """One actuated joint: ``index`` in the state, ``slot`` in the command, and the output of its lag so far."""

    index: int
    slot: int
    servo: str
    stiffness: float
    damping: float
    limit: float
    strength: float
    keep: float
    output: float = 0.0

    def demand(self, command: float, row: JointRow) -> float:
        """Effort that the servo asks for, within the joint's limit."""
        if self.servo == "effort":
            return command
        if self.servo == "position":
            effort = self.stiffness * (command - row[0]) - self.damping * row[1]
        else:
            effort = self.damping * (command - row[1])
        return min(max(effort, -self.limit), self.limit)


class ActuatorModel:
    """The actuators of one episode.

    A command counts from ``delay`` after it was given, to the nearest physics step. The servo of a position or velocity
    interface turns it into an effort, which saturates at the joint's effort limit, follows with the time constant ``lag`` and
    comes out times ``strength``. What holds the robot's own weight comes on top of it: it reaches the motor without delay, and
    does not count for the limit of the command.

    ``give`` takes a command, ``prepare`` looks some physics steps ahead, ``effort`` is then asked once for each of them: where
    all joints are driven by effort, the motors follow from the commands alone, and nothing is left for the loop.
    """

    def __init__(self, joints: Sequence[Joint], step: float, gravity: GravityCompensation | None = None) -> None:
        """``step`` is the physics step [s]; ``gravity`` what the robot does against its own weight, if anything."""
        self._joints = tuple(joints)
        self._step = step
        self._gravity = gravity
        self._held: list[float] = [0.0] * len(self._joints)
        self.reach = max(1, round(COMPENSATION / step)) if gravity is not None else sys.maxsize
        """Physics steps that ``prepare`` may look ahead at most."""
        self._limits = [joint.command_limits for joint in self._joints if joint.actuated]
        self._servos = any(joint.interface in ("position", "velocity") for joint in self._joints)
        self._drives: list[_Drive] = []
        self._queue: deque[tuple[int, list[float]]] = deque()
        self._delay = 0
        self._active: list[float] = []
        self._commands: list[list[float]] = []
        self._produced: list[tuple[float, ...]] = []

    def reset(self, parameters: Parameters, position: Sequence[float]) -> None:
        """Begins an episode at ``position`` [J]: no effort, and position servos told to stay where they are."""
        driven = [(index, joint) for index, joint in enumerate(self._joints) if joint.actuated]
        self._drives = []
        for slot, (index, joint) in enumerate(driven):
            lag = parameters.lag[joint.name]
            self._drives.append(
                _Drive(
                    index=index,
                    slot=slot,
                    servo=joint.interface,
                    stiffness=parameters.stiffness[joint.name],
                    damping=parameters.servo_damping[joint.name],
                    limit=math.inf if joint.effort is None else joint.effort,
                    strength=parameters.strength[joint.name],
                    keep=math.exp(-self._step / lag) if lag > 0 else 0.0,
                )
            )
        self._delay = round(parameters.delay / self._step)
        self._queue.clear()
        self._active = self._clipped([position[index] if joint.interface == "position" else 0.0 for index, joint in driven])

    def _clipped(self, command: Sequence[float]) -> list[float]:
        return [min(max(value, low), high) for value, (low, high) in zip(command, self._limits, strict=True)]

    def give(self, command: Sequence[float], step: int) -> None:
        """A command [A], physical units, given at the beginning of physics step ``step``; it is cut to the command limits."""
        self._queue.append((step + self._delay, self._clipped(command)))

    def prepare(self, step: int, count: int, rows: Sequence[JointRow]) -> None:
        """Looks ``count`` physics steps ahead, from step ``step`` on, where the joints are in the states ``rows``."""
        if self._gravity is not None:
            ahead = 0.5 * count * self._step  # the middle of these steps: what is held over them is right on average
            efforts = self._gravity.efforts([row[0] + ahead * row[1] for row in rows])
            self._held = [effort if joint.actuated else 0.0 for effort, joint in zip(efforts, self._joints, strict=True)]
        self._commands = []
        for ahead in range(step, step + count):
            while self._queue and self._queue[0][0] <= ahead:
                self._active = self._queue.popleft()[1]
            self._commands.append(self._active)
        if not self._servos:
            self._produced = self._motors()

    def _motors(self) -> list[tuple[float, ...]]:
        """Efforts [J] of the motors in each prepared step, where they depend on the commands alone."""
        columns: list[Sequence[float]] = [[held] * len(self._commands) for held in self._held]
        for drive in self._drives:
            output, keep, slot, column = drive.output, drive.keep, drive.slot, []
            held = self._held[drive.index]
            for command in self._commands:
                demand = command[slot]
                output = demand + keep * (output - demand)
                column.append(drive.strength * output + held)
            drive.output = output
            columns[drive.index] = column
        return list(zip(*columns, strict=True))

    def effort(self, ahead: int, rows: Sequence[JointRow]) -> Sequence[float]:
        """Effort of the motors [J] during the prepared step ``ahead``, from the joints' states at its beginning: what a torque
        sensor would show."""
        return self._served(self._commands[ahead], rows) if self._servos else self._produced[ahead]

    def _served(self, command: list[float], rows: Sequence[JointRow]) -> Sequence[float]:
        produced = self._held.copy()
        for drive in self._drives:
            demand = drive.demand(command[drive.slot], rows[drive.index])
            drive.output = demand + drive.keep * (drive.output - demand)
            produced[drive.index] += drive.strength * drive.output
        return produced
