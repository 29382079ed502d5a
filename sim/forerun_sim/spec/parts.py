"""The parts of a robot as data: joints, rates, topics, what is safe."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from forerun_sim.spec.base import Interval, NonNegative, NumberPerName, Positive, Strict


class Joint(Strict):
    """A joint, its command interface and its limits (SI: rad or m, rad/s or m/s, Nm or N).

    ``slew`` limits how fast the command may change, in command units per second. ``deceleration`` is what the actuator can
    brake with at least, for the braking distance of a joint with position limits. ``in_urdf`` is the joint's name in the URDF,
    where the robot's messages call it otherwise.
    """

    name: str
    in_urdf: str | None = None
    type: Literal["revolute", "continuous", "prismatic"]
    interface: Literal["effort", "velocity", "position", "none"] = "none"
    position: Interval | None = None
    velocity: Positive | None = None
    effort: Positive | None = None
    slew: Positive | None = None
    deceleration: Positive | None = None

    @field_validator("position")
    @classmethod
    def _ordered(cls, value: Interval | None) -> Interval | None:
        if value is not None and value[0] >= value[1]:
            raise ValueError(f"the limits are reversed or empty: [{value[0]}, {value[1]}]; write [lower, upper]")
        return value

    @model_validator(mode="after")
    def _complete(self) -> Joint:
        needed = {"effort": "effort", "velocity": "velocity", "position": "position"}.get(self.interface)
        if needed is not None and getattr(self, needed) is None:
            raise ValueError(f"joint '{self.name}' is commanded by {self.interface} and needs a limit '{needed}'")
        if self.type == "continuous" and self.position is not None:
            raise ValueError(f"joint '{self.name}' is continuous and can have no position limits; make it revolute")
        return self

    @property
    def actuated(self) -> bool:
        return self.interface != "none"

    @property
    def command_limits(self) -> Interval:
        """Lower and upper limit of the command, in command units. Only for actuated joints."""
        if self.interface == "position":
            assert self.position is not None
            return self.position
        bound = self.effort if self.interface == "effort" else self.velocity
        assert bound is not None, f"joint '{self.name}' is not actuated"
        return (-bound, bound)


class Control(Strict):
    """Rates [Hz] and delays [s] of the control loop. ``physics_rate`` is a whole multiple of ``rate``, and so is ``command_rate``
    where commands are to come more often than the model's steps (``rate`` if absent).

    ``command_delay``: from sending a command until it acts, beyond what the model knows already. A model learns the delay of the
    plant that its logs come from (``actuators.delay``, and on a robot that of its drives and bus), and the controller measures
    its own computing time; neither is stated here, or it would count twice.
    """

    rate: Positive
    physics_rate: Positive = 1000.0
    history: Annotated[int, Field(ge=1, le=64)] = 4
    command_delay: Annotated[float, Field(ge=0, le=1)] = 0.0
    command_rate: Positive | None = None

    @model_validator(mode="after")
    def _multiple(self) -> Control:
        ratio = self.physics_rate / self.rate
        if ratio < 1 or abs(ratio - round(ratio)) > 1e-9:
            raise ValueError(f"physics_rate {self.physics_rate} must be a whole multiple of rate {self.rate}")
        ratio = (self.command_rate or self.rate) / self.rate
        if ratio < 1 or abs(ratio - round(ratio)) > 1e-9:
            raise ValueError(f"command_rate {self.command_rate} must be a whole multiple of rate {self.rate}")
        return self

    @property
    def period(self) -> float:
        """Control period [s]."""
        return 1.0 / self.rate

    @property
    def substeps(self) -> int:
        """Physics steps in one control period."""
        return round(self.physics_rate / self.rate)


class Topics(Strict):
    """Relative names, so that remapping and namespaces work."""

    joint_states: str = "joint_states"
    commands: str = "commands"


Recovery = Literal["resume", "latch"]
"""How a stop ends: by itself, or by ``~/reset`` alone."""


class Safety(Strict):
    """What the controller does when it must not plan on. ``action``: ``zero`` effort or velocity, ``hold`` the commanded
    position, ``damp`` (effort = -damp_gain * dq, within limits; one gain, or one per joint: a joint of small inertia swings
    if it is above inertia times control rate). A state older than ``stale_after`` [s] is never used; after
    ``max_misses`` ticks in a row without a plan the robot stops. A plan whose disagreement exceeds ``disagreement_factor`` times
    the bundle's threshold (that 99 % of held-out data stay below; 0: no limit) is not executed, nor one that leads farther from
    all states of the training data than the root of that factor times what is usual; after ``max_disagreeing`` such plans in a
    row the robot stops.

    ``on_stale``, ``on_misses``, ``on_disagreement`` say how a stop ends: ``latch``, by ``~/reset`` alone, or ``resume``, by
    itself after ``recover_after`` good ticks in a row.

    ``command_timeout`` [s] is the robot's own part: its side (guard, drives, simulator) lets no command act that is older. Then
    effort and velocity are 0, and the last position is held."""

    action: Literal["zero", "hold", "damp"] = "zero"
    damp_gain: NumberPerName = 0.0
    stale_after: Positive = 0.1
    max_misses: Annotated[int, Field(ge=1)] = 5
    velocity_margin: Positive = 1.2
    disagreement_factor: NonNegative = 10.0
    max_disagreeing: Annotated[int, Field(ge=1)] = 5
    recover_after: Annotated[int, Field(ge=1)] = 10
    on_stale: Recovery = "latch"
    on_misses: Recovery = "latch"
    on_disagreement: Recovery = "resume"
    command_timeout: Positive = 0.25
