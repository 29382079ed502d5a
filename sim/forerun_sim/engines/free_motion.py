"""A free body's coordinates and what engines make of them: place, turn, velocity. See ``spec.scene`` for what they mean."""

from __future__ import annotations

import math
from collections.abc import Sequence

from forerun_sim.actuators import JointRow
from forerun_sim.kinematics import Vector
from forerun_sim.spec.scene import PARTS

_LEAST_COSINE = 0.05
"""Of pitch: the rates of roll and yaw grow without limit towards 90 degrees, and are cut at twenty times the angular velocity."""


class FreeMotion:
    """The coordinates of one body: ``planar`` (x, y, yaw) or ``floating`` (x, y, z, roll, pitch, yaw).

    ``height`` [m] is where the frame of a planar one begins. Roll and yaw count on from where they were last seen.
    """

    def __init__(self, motion: str, height: float = 0.0) -> None:
        self.parts = PARTS[motion]
        self._height = height
        self._turns = [0.0, 0.0]

    def placed(self, position: Sequence[float], velocity: Sequence[float]) -> tuple[Vector, Vector, Vector, Vector]:
        """Place [m], roll, pitch and yaw [rad], velocity of its frame [m/s] and angular velocity [rad/s], all in the world, from
        its coordinates and their derivatives."""
        values = dict.fromkeys(PARTS["floating"], 0.0) | {"z": self._height} | dict(zip(self.parts, position, strict=True))
        rates = dict.fromkeys(PARTS["floating"], 0.0) | dict(zip(self.parts, velocity, strict=True))
        self._turns = [values["roll"], values["yaw"]]
        sine, cosine = math.sin(values["yaw"]), math.cos(values["yaw"])
        forward = math.cos(values["pitch"]) * rates["roll"]
        spin = (
            cosine * forward - sine * rates["pitch"],
            sine * forward + cosine * rates["pitch"],
            rates["yaw"] - math.sin(values["pitch"]) * rates["roll"],
        )
        at, along = (values["x"], values["y"], values["z"]), (rates["x"], rates["y"], rates["z"])
        return at, (values["roll"], values["pitch"], values["yaw"]), along, spin

    def rows(
        self, at: Sequence[float], turn: Sequence[float], along: Sequence[float], spin: Sequence[float]
    ) -> tuple[JointRow, ...]:
        """Its coordinates, each with its derivative, from its place [m], its turn as a quaternion x, y, z, w, the velocity of its
        frame [m/s] and its angular velocity [rad/s], all in the world."""
        x, y, z, w = turn
        yaw = _counted(math.atan2(2.0 * (w * z + x * y), 1.0 - 2.0 * (y * y + z * z)), self._turns[1])
        sine = min(max(2.0 * (w * y - z * x), -1.0), 1.0)
        cosine = max(math.sqrt(1.0 - sine * sine), _LEAST_COSINE)
        forward = math.cos(yaw) * spin[0] + math.sin(yaw) * spin[1]
        roll_rate = forward / cosine
        yaw_rate = spin[2] + sine * roll_rate
        self._turns[1] = yaw
        if len(self.parts) == 3:
            return (at[0], along[0]), (at[1], along[1]), (yaw, yaw_rate)
        roll = _counted(math.atan2(2.0 * (w * x + y * z), 1.0 - 2.0 * (x * x + y * y)), self._turns[0])
        self._turns[0] = roll
        pitch_rate = math.cos(yaw) * spin[1] - math.sin(yaw) * spin[0]
        shifts = ((at[0], along[0]), (at[1], along[1]), (at[2], along[2]))
        return *shifts, (roll, roll_rate), (math.asin(sine), pitch_rate), (yaw, yaw_rate)


def _counted(angle: float, last: float) -> float:
    """``angle`` plus the whole turns that bring it nearest to ``last``."""
    return angle + math.tau * round((last - angle) / math.tau)
