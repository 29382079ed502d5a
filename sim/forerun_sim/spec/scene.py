"""What a robot stands on and what lies about, as data: a moving base, the ground, objects.

A body that no joint holds has coordinates instead, which are joints of robot.yaml with interface none: ``<body>_x``, ``<body>_y``
and ``<body>_yaw`` of a planar one, and ``_z``, ``_roll``, ``_pitch`` of a floating one too; ``base`` is the robot's root link.
They say where the body's frame stands in the world: x, y, z [m], then yaw, pitch, roll [rad] as URDF's rpy means them. Their
velocities are their time derivatives: rates of the Euler angles, not the angular velocity. Yaw and roll count on over whole
turns; at a pitch of 90 degrees they are singular.

The world's frame is the root link's where the base is fixed. The root of a planar base stands at z = 0 where it stands flat.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from forerun_sim.spec.base import Finite, NonNegative, Positive, Strict

Motion = Literal["planar", "floating"]
Base = Literal["fixed", "planar", "floating"]

PARTS: dict[str, tuple[str, ...]] = {
    "fixed": (),
    "planar": ("x", "y", "yaw"),
    "floating": ("x", "y", "z", "roll", "pitch", "yaw"),
}
"""The coordinates of a body by its motion."""
SHIFTS = ("x", "y", "z")
"""Coordinates in m; the others are angles in rad."""
_SIZES = {"box": 3, "cylinder": 2, "sphere": 1}


def coordinates(body: str, motion: str) -> tuple[str, ...]:
    """Names of the joints that say where ``body`` is."""
    return tuple(f"{body}_{part}" for part in PARTS[motion])


class Ground(Strict):
    """A plane at ``height`` [m], level in the world's frame. The friction of a contact is the product of both surfaces', and so
    is its restitution: with the 1 of the ground it is what the link or object has."""

    height: Finite = 0.0
    friction: NonNegative = 1.0
    restitution: Annotated[float, Field(ge=0, le=1)] = 1.0


class SceneObject(Strict):
    """A free body that the robot may touch. ``size`` [m]: three lengths of a box, radius and length of an upright cylinder,
    radius of a sphere; ``mass`` [kg]. Its frame is in its middle. ``motion: planar`` tells x, y and yaw only, and
    begins upright on the ground; the body itself may still tip."""

    shape: Literal["box", "cylinder", "sphere"]
    size: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=3)]
    mass: Positive
    friction: NonNegative = 0.5
    restitution: Annotated[float, Field(ge=0, le=1)] = 0.0
    motion: Motion = "planar"

    @model_validator(mode="after")
    def _sized(self) -> SceneObject:
        if len(self.size) != _SIZES[self.shape]:
            raise ValueError(f"a {self.shape} has {_SIZES[self.shape]} sizes, not {len(self.size)}")
        return self

    @property
    def half_height(self) -> float:
        """Of its middle over the ground where it stands upright [m]."""
        return self.size[0] if self.shape == "sphere" else 0.5 * self.size[-1]
