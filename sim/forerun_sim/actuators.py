"""From command to joint torque, at the physics rate: delay, servo, saturation, lag, strength, friction."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from forerun_sim.randomization import Parameters
from forerun_sim.spec import Actuators, Joint

COULOMB_SPEED = 0.01
"""Speed [rad/s or m/s] over which Coulomb friction turns its sign: ``coulomb * tanh(dq / 0.01)``."""


def per_joint(value: float | dict[str, float], joints: Sequence[Joint], default: float = 0.0) -> dict[str, float]:
    """A number per joint name from what robot.yaml gives: one number for all, or some by name."""
    return {joint.name: value.get(joint.name, default) if isinstance(value, dict) else value for joint in joints}


@dataclass(slots=True)
class _Drive:
    """One actuated joint: ``index`` in the state, ``slot`` in the command, and the output of its lag so far."""

    index: int
    slot: int
    stiffness: float
    damping: float
    follows_position: bool
    follows_velocity: bool
    limit: float
    strength: float
    gain: float
    output: float = 0.0


class ActuatorModel:
    """The actuators of one episode. Friction acts on every joint, driven or not.

    A command counts from ``delay`` after it was given, to the nearest physics step. The servo of a position or velocity
    interface turns it into an effort, which saturates at the joint's effort limit, follows with the time constant ``lag`` and
    comes out times ``strength``. Friction (``viscous * dq + coulomb * tanh(dq / 0.01)``) is an effort too, because PyBullet's
    changeDynamics knows no joint friction of Coulomb's kind: a joint at rest under a load below ``coulomb`` creeps, slower
    than 0.03 rad/s, where a real one sticks.
    """

    def __init__(self, joints: Sequence[Joint], actuators: Actuators, step: float) -> None:
        """``step`` is the physics step [s]."""
        self._joints = tuple(joints)
        self._actuators = actuators
        self._step = step
        driven = [joint for joint in self._joints if joint.actuated]
        self._limits = [joint.command_limits for joint in driven]
        self._drives: list[_Drive] = []
        self._friction: list[tuple[int, float, float]] = []
        self._queue: deque[tuple[int, list[float]]] = deque()
        self._delay = 0
        self._active: list[float] = []
        self._plain = False
        self.produced: list[float] = [0.0] * len(self._joints)
        """Effort of each motor in the last physics step [J], before friction: what a torque sensor would show."""

    def reset(self, parameters: Parameters, position: Sequence[float]) -> None:
        """Begins an episode at ``position`` [J]: no effort, and position servos told to stay where they are."""
        stiffness = per_joint(self._actuators.stiffness, self._joints)
        damping = per_joint(self._actuators.damping, self._joints)
        self._drives = []
        for index, joint in enumerate(self._joints):
            if joint.actuated:
                lag = parameters.lag[joint.name]
                self._drives.append(
                    _Drive(
                        index=index,
                        slot=len(self._drives),
                        stiffness=stiffness[joint.name],
                        damping=damping[joint.name],
                        follows_position=joint.interface == "position",
                        follows_velocity=joint.interface == "velocity",
                        limit=math.inf if joint.effort is None else joint.effort,
                        strength=parameters.strength[joint.name],
                        gain=1.0 - math.exp(-self._step / lag) if lag > 0 else 1.0,
                    )
                )
        self._plain = not any(drive.follows_position or drive.follows_velocity for drive in self._drives)
        friction = ((i, parameters.viscous[joint.name], parameters.coulomb[joint.name]) for i, joint in enumerate(self._joints))
        self._friction = [row for row in friction if row[1] or row[2]]
        self._delay = round(parameters.delay / self._step)
        self._queue.clear()
        self._active = self.clipped([position[drive.index] if drive.follows_position else 0.0 for drive in self._drives])
        self.produced = [0.0] * len(self._joints)

    def clipped(self, command: Sequence[float]) -> list[float]:
        """``command`` [A] within the joints' command limits."""
        return [min(max(value, low), high) for value, (low, high) in zip(command, self._limits, strict=True)]

    def give(self, command: Sequence[float], step: int) -> None:
        """A command [A], physical units, given at the beginning of physics step ``step``."""
        self._queue.append((step + self._delay, self.clipped(command)))

    def effort(self, step: int, position: Sequence[float], velocity: Sequence[float]) -> list[float]:
        """Net effort on each joint [J] during physics step ``step``, from the state at its beginning."""
        while self._queue and self._queue[0][0] <= step:
            self._active = self._queue.popleft()[1]
        active = self._active
        net = [0.0] * len(self._joints)
        produced = net.copy()
        for drive in self._drives:
            demand = active[drive.slot]
            index = drive.index
            if not self._plain:
                if drive.follows_position:
                    demand = drive.stiffness * (demand - position[index]) - drive.damping * velocity[index]
                elif drive.follows_velocity:
                    demand = drive.damping * (demand - velocity[index])
                if demand > drive.limit:
                    demand = drive.limit
                elif demand < -drive.limit:
                    demand = -drive.limit
            drive.output += drive.gain * (demand - drive.output)
            produced[index] = net[index] = drive.strength * drive.output
        for index, viscous, coulomb in self._friction:
            speed = velocity[index]
            net[index] -= viscous * speed + coulomb * math.tanh(speed / COULOMB_SPEED)
        self.produced = produced
        return net
