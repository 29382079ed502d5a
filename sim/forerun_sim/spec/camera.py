"""Cameras of a robot, as data."""

from __future__ import annotations

import math
from typing import Annotated

from pydantic import Field, model_validator

from forerun_sim.spec.base import Finite, Positive, Strict

Point = tuple[Finite, Finite, Finite]
Pixels = Annotated[int, Field(ge=1, le=2048)]


class Camera(Strict):
    """A camera for colour and depth on ``link``, or in the world where that is absent. Its frame stands at ``position`` [m] in
    the link's, turned by ``rpy`` [rad]; it looks along its own x axis, z up. ``look_at`` [m], a point in the link's frame, may
    replace the turn.

    ``fov`` [rad] is the angle from the lower to the upper edge. Nothing nearer than ``near`` or beyond ``far`` [m] is seen. A new
    picture is taken no more often than ``rate`` [Hz].
    """

    link: str | None = None
    position: Point = (0.0, 0.0, 0.0)
    rpy: Point = (0.0, 0.0, 0.0)
    look_at: Point | None = None
    width: Pixels = 64
    height: Pixels = 64
    fov: Annotated[float, Field(gt=0, lt=math.pi)] = 1.0
    near: Positive = 0.02
    far: Positive = 10.0
    rate: Positive = 30.0

    @model_validator(mode="after")
    def _sees(self) -> Camera:
        if self.near >= self.far:
            raise ValueError(f"near {self.near:g} m must be below far {self.far:g} m")
        if self.look_at is not None and self.rpy != (0.0, 0.0, 0.0):
            raise ValueError("give rpy or look_at, not both")
        if self.look_at is not None and math.dist(self.look_at, self.position) == 0:
            raise ValueError("look_at is where the camera stands: name another point")
        return self

    @property
    def angles(self) -> tuple[float, float, float]:
        """Roll, pitch, yaw [rad] of its frame in the link's."""
        if self.look_at is None:
            return self.rpy
        x, y, z = (there - here for there, here in zip(self.look_at, self.position, strict=True))
        return (0.0, -math.atan2(z, math.hypot(x, y)), math.atan2(y, x))
