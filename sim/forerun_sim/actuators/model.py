"""The actuators of all joints of a robot, put together."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from itertools import repeat

from forerun_sim.actuators.delay import DelayLine
from forerun_sim.actuators.parts import Gear, Law, Losses, Motor
from forerun_sim.gravity import GravityCompensation
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Joint

COMPENSATION = 0.02
"""For how long [s] the effort against gravity is held. It is that of the middle of this time, as the velocity foretells it."""


def per_joint(value: float | dict[str, float], joints: Sequence[Joint], default: float = 0.0) -> dict[str, float]:
    """A number per joint name from what robot.yaml gives: one number for all, or some by name."""
    return {joint.name: value.get(joint.name, default) if isinstance(value, dict) else value for joint in joints}


JointRow = Sequence[float]
"""State of one joint: position, velocity, and whatever the engine adds."""


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
        self._laws: list[Law] = []
        self._rows: list[tuple[int, float, float, float, float, float, float, Gear | None, Losses | None]] = []
        self._outputs: list[float] = []
        self._gravity = gravity
        self._held = [0.0] * len(self._joints)
        self._reach = max(1, round(COMPENSATION / step)) if gravity is not None else sys.maxsize
        self._still: list[Iterable[float]] = [repeat(0.0)] * len(self._joints)
        self._lags = False
        self._asked: list[list[float]] = []
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
        self._outputs = [0.0] * len(self._driven)
        idle = [position[index] if joint.interface == "position" else 0.0 for index, joint in self._driven]
        self._line.reset(parameters.delay / self._step, self._clipped(idle))

    def alter(self, parameters: Parameters, step: int) -> None:
        """Goes on as other drives from physics step ``step`` on: motors and gears are where they were, and commands under way
        arrive when they would have, but none after one that is given now."""
        gears = [row[7] for row in self._rows]
        if not self._lags and not self.feedback:  # without a lag a motor gives what it is told
            self._outputs = list(self._line.active)
        self._build(parameters)
        for row, before in zip(self._rows, gears, strict=True):
            if row[7] is not None and before is not None:
                row[7].take(before)
        self._line.alter(parameters.delay / self._step, step)

    def _build(self, parameters: Parameters) -> None:
        self._laws, self._rows = [Law.of(joint, parameters) for _, joint in self._driven], []
        self.feedback = False
        for (index, joint), law in zip(self._driven, self._laws, strict=True):
            motor, losses = Motor.of(joint, parameters, self._step), Losses.of(joint, parameters)
            play, top = parameters.backlash[joint.name], motor.no_load_speed
            gear = Gear(play, parameters.armature[joint.name], law, self._step) if play > 0 else None
            self._rows.append((index, law.stiffness, law.damping, motor.limit, motor.keep, motor.strength, top, gear, losses))
            self.feedback |= gear is not None or top > 0 or losses is not None or bool(law.stiffness or law.damping)
        self.newest = self.feedback
        self.newest |= self._gravity is not None
        self._lags = any(keep for _, _, _, _, keep, *_ in self._rows)

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
        if not self.feedback:
            self.ahead = self._forwarded(parts)
            return
        self._asked = []
        for steps, command in parts:
            self._asked += [[law.forward * value for law, value in zip(self._laws, command, strict=True)]] * steps

    def _forwarded(self, parts: Sequence[tuple[int, Sequence[float]]]) -> list[Sequence[float]]:
        """Efforts [J] of each step, where they follow from the commands alone (which never exceed the joints' limits)."""
        if not self._lags:
            rows: list[Sequence[float]] = []
            for steps, command in parts:
                row = self._held.copy()
                for (index, _, _, _, _, strength, *_), demand in zip(self._rows, command, strict=True):
                    row[index] += strength * demand
                rows += [row] * steps
            return rows
        columns, outputs = self._still.copy(), self._outputs
        for slot, (index, _, _, _, keep, strength, *_) in enumerate(self._rows):
            held, output, column = self._held[index], outputs[slot], []
            for steps, command in parts:
                demand = command[slot]
                for _ in range(steps):
                    output = demand + keep * (output - demand)
                    column.append(held + strength * output)
            outputs[slot], columns[index] = output, column
        return list(zip(*columns, strict=False))

    def effort(self, ahead: int, rows: Sequence[JointRow]) -> Sequence[float]:
        """Effort of the motors [J] during the prepared step ``ahead``, from the joints' states at its beginning: what a torque
        sensor would show. To be asked once for each step."""
        # The motor's law, curve and lag stand here in full: a call for each of twelve joints would cost as much as a third of the
        # physics.
        produced, outputs = self._held.copy(), []
        for asked, output, drive in zip(self._asked[ahead], self._outputs, self._rows, strict=True):
            index, stiffness, damping, limit, keep, strength, no_load_speed, gear, losses = drive
            row = rows[index]
            position = row[0]
            speed = felt = row[1]
            if gear is not None:
                position += gear.lead
                felt = speed if gear.speed is None else gear.speed
            demand = asked - stiffness * position - damping * felt
            if no_load_speed and demand * felt > 0:
                limit *= max(0.0, 1.0 - abs(felt) / no_load_speed)
            demand = limit if demand > limit else -limit if demand < -limit else demand
            if keep:
                demand += keep * (output - demand)
            outputs.append(demand)
            passed = strength * demand
            if gear is not None:
                passed = gear.passed(passed, speed)
            produced[index] += passed if losses is None else losses.left(passed, speed)
        self._outputs = outputs
        return produced
