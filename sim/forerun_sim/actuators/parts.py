"""What a drive is made of: the law of its interface, its motor, its gear."""

from __future__ import annotations

import math
from typing import NamedTuple

from forerun_sim.errors import InputError
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Joint

CREEP = 0.02
"""[rad/s or m/s]"""


class Law(NamedTuple):
    """What an interface asks of the motor: ``forward * command - stiffness * position - damping * speed``.

    An ``effort`` interface forwards the command. A ``velocity`` interface is a proportional servo, effort = damping * (command -
    speed); it never reaches a commanded speed quite, as it has no integral. A ``position`` interface is the PD servo of
    hobby-class bus servos (their firmware's integral gain is 0 as delivered): effort = stiffness * (command - position) - damping
    * speed. Servos are evaluated once a physics step, on the true state at its beginning.
    """

    forward: float
    stiffness: float
    damping: float

    @classmethod
    def of(cls, joint: Joint, parameters: Parameters) -> Law:
        """The law of this joint's interface, with this episode's gains."""
        stiffness, damping = parameters.stiffness[joint.name], parameters.servo_damping[joint.name]
        if joint.interface == "position":
            return cls(stiffness, stiffness, damping)
        if joint.interface == "velocity":
            return cls(damping, 0.0, damping)
        return cls(1.0, 0.0, 0.0)


class Motor(NamedTuple):
    """A motor that gives at most ``limit`` of effort, follows with a first-order lag, of which it ``keep``s that share of the
    difference in a physics step (exact for an effort that is asked for all through the step), and is ``strength`` times as
    strong as stated.

    With a ``no_load_speed`` the limit in the direction of motion falls linearly to 0 at that speed, as a DC motor's does at
    its highest voltage, and is 0 beyond; against the motion the motor brakes with all of it.
    """

    limit: float
    keep: float
    strength: float
    no_load_speed: float

    @classmethod
    def of(cls, joint: Joint, parameters: Parameters, step: float) -> Motor:
        """This joint's motor in this episode; ``step`` is the physics step [s].

        Raises:
            InputError: a torque-speed curve without a limit of effort.
        """
        lag, no_load_speed = parameters.lag[joint.name], parameters.no_load_speed[joint.name]
        if no_load_speed > 0 and joint.effort is None:
            raise InputError(
                f"joint '{joint.name}': actuators.no_load_speed is where its limit of effort falls to 0: state 'effort' in joints"
            )
        limit = math.inf if joint.effort is None else joint.effort
        keep = math.exp(-step / lag) if lag > 0 else 0.0
        return cls(limit, keep, parameters.strength[joint.name], no_load_speed)


class Losses(NamedTuple):
    """Friction that Coulomb's does not have: a slow drive's ``stiction``, which falls with speed as exp(-(v / ``speed``)^2)
    (Stribeck, in the form of Armstrong-Helouvry et al. 1994), and the ``share`` of the effort that the teeth of its gear lose.

    Sticking is the engine's matter (``coulomb``): below ``CREEP`` these losses fade out, so that they never drive a joint.
    """

    stiction: float
    speed: float
    share: float

    def left(self, effort: float, speed: float) -> float:
        """What is left of ``effort`` at ``speed``."""
        slowness = speed / self.speed
        lost = self.share * abs(effort) + (self.stiction * math.exp(-slowness * slowness) if abs(slowness) < 6.0 else 0.0)
        return effort - lost * math.tanh(speed / CREEP)


class Gear:
    """A gear with play: the rotor can lead or trail the joint by half of it.

    Touching a flank, the rotor moves with the joint and the effort passes; when the effort reverses, the rotor leaves that flank
    and crosses the play under it while the joint gets nothing. It crosses with the joint's ``armature`` as inertia, and at once
    where there is none (an effort-driven joint then feels no play). It meets the other flank without a rebound.

    A servo's own encoder is on the rotor's side: it holds the rotor where it is told, and the joint is off by half the play.
    What the robot reports is the joint. Exactness: a gain of the servo counts as inertia of the rotor as far as the physics step
    demands it (linearly implicit Euler), so that light rotors do not ring; the engine's joint keeps the rotor's inertia while
    it crosses, and the flanks' impact gives the joint no impulse.
    """

    __slots__ = ("_half", "_inertia", "_step", "lead", "speed")

    def __init__(self, half: float, inertia: float, step: float) -> None:
        """``half`` the play between both flanks [rad or m], ``inertia`` of the crossing rotor [kg m^2 or kg], ``step`` [s]."""
        self._half = half
        self._inertia = inertia
        self._step = step
        self.lead = 0.0
        """How far the rotor is ahead of the joint [rad or m]; it begins in the middle."""
        self.speed: float | None = None
        """Of the rotor while it crosses the play; else it moves with the joint."""

    def take(self, lead: float, speed: float | None) -> None:
        """Puts the rotor where another gear's was, within this play."""
        self.lead = min(max(lead, -self._half), self._half)
        self.speed = speed

    def passed(self, effort: float, speed: float) -> float:
        """What arrives at the joint of the motor's ``effort`` in this physics step, while it has ``speed``."""
        lead, half = self.lead, self._half
        if effort * lead > 0 and not -half < lead < half:
            self.speed = None
            return effort
        if self._inertia <= 0:
            self.lead = math.copysign(half, effort) if effort else lead
            return effort
        own = (speed if self.speed is None else self.speed) + self._step * effort / self._inertia
        lead += self._step * (own - speed)
        if -half < lead < half:
            self.lead, self.speed = lead, own
        else:
            self.lead, self.speed = math.copysign(half, lead), None
        return 0.0


class Figures(NamedTuple):
    """All numbers of one drive, as ``drives.Drives`` takes them: the number of its ``joint`` [J], its ``Law`` and ``Motor``, its
    ``Gear`` (``half`` is 0 where there is none) and its ``Losses`` (``stiction`` and ``share`` are 0 where there are none)."""

    joint: int
    forward: float
    stiffness: float
    damping: float
    limit: float
    keep: float
    strength: float
    no_load_speed: float
    half: float
    inertia: float
    stiction: float
    slow: float
    share: float

    @classmethod
    def of(cls, number: int, joint: Joint, parameters: Parameters, step: float) -> Figures:
        """Those of ``joint``, ``number`` among all [J], in this episode; ``step`` is the physics step [s].

        Raises:
            InputError: a torque-speed curve without a limit of effort.
        """
        law, motor, name = Law.of(joint, parameters), Motor.of(joint, parameters, step), joint.name
        return cls(
            number,
            *law,
            *motor,
            half=0.5 * max(parameters.backlash[name], 0.0),
            inertia=parameters.armature[name] + step * law.damping + step * step * law.stiffness,
            stiction=max(parameters.stiction[name], 0.0),
            slow=max(parameters.stiction_speed[name], 1e-6),
            share=max(parameters.gear_loss[name], 0.0),
        )

    @property
    def feedback(self) -> bool:
        """Whether the effort depends on the joint's state."""
        return bool(self.stiffness or self.damping or self.no_load_speed or self.half or self.stiction or self.share)
