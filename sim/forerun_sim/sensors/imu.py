"""An inertial measurement unit at the origin of the robot's base."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.kinematics import Vector
from forerun_sim.randomization import Parameters
from forerun_sim.spec.scene import PARTS, coordinates

AXES = ("x", "y", "z")


@dataclass(frozen=True, slots=True)
class Imu:
    """What an inertial measurement unit reports, in the base frame: ``angular_velocity`` [3] in rad/s, and ``specific_force`` [3]
    in m/s^2, acceleration less gravity: at rest, upright, it is +9.81 along z."""

    angular_velocity: NDArray[np.float64]
    specific_force: NDArray[np.float64]


class ImuModel:
    """The unit of one episode: truth, plus a bias drawn per episode, plus white noise on each reading.

    The specific force is the mean over the time since the reading before, turned into the base frame at the reading, as units
    report that integrate between their samples; the first reading of an episode takes the base as not accelerated. A base that
    does not move reads gravity alone, a planar one turns and accelerates in its plane.
    """

    def __init__(self, joints: Sequence[str]) -> None:
        """``joints``: names of the joints; the base's coordinates are among them where it moves."""
        index = {name: place for place, name in enumerate(joints)}
        places = [index.get(name) for name in coordinates("base", "floating")]
        self._place = dict(zip(PARTS["floating"], places, strict=True))
        self._gravity: Vector = (0.0, 0.0, 0.0)
        self._bias: list[float] = [0.0] * 6
        self._noise: list[float] = [0.0] * 6
        self._before: tuple[float, list[float]] | None = None

    def reset(self, parameters: Parameters, gravity: Vector) -> None:
        """Begins an episode; ``gravity`` [m/s^2] in the world frame."""
        self._gravity = gravity
        self._bias = [parameters.gyro_bias[axis] for axis in AXES] + [parameters.accelerometer_bias[axis] for axis in AXES]
        self._noise = [parameters.gyro_noise] * 3 + [parameters.accelerometer_noise] * 3
        self._before = None

    def read(self, time: float, position: Sequence[float], velocity: Sequence[float], noise: Sequence[float]) -> Imu:
        """What it reports at ``time`` [s] of the joints' true states [J]; ``noise``: six standard normal numbers."""
        roll, pitch, yaw = (self._of(position, part) for part in ("roll", "pitch", "yaw"))
        roll_rate, pitch_rate, yaw_rate = (self._of(velocity, part) for part in ("roll", "pitch", "yaw"))
        sr, cr, sp, cp, sy, cy = *_turned(roll), *_turned(pitch), *_turned(yaw)
        turning = [
            roll_rate - sp * yaw_rate,
            cr * pitch_rate + sr * cp * yaw_rate,
            cr * cp * yaw_rate - sr * pitch_rate,
        ]
        speed = [self._of(velocity, part) for part in ("x", "y", "z")]
        x, y, z = (-value for value in self._gravity)
        if self._before is not None and time > self._before[0]:
            passed = time - self._before[0]
            x, y, z = (own + (new - old) / passed for own, new, old in zip((x, y, z), speed, self._before[1], strict=True))
        self._before = (time, speed)
        force = [
            cy * cp * x + sy * cp * y - sp * z,
            (cy * sp * sr - sy * cr) * x + (sy * sp * sr + cy * cr) * y + cp * sr * z,
            (cy * sp * cr + sy * sr) * x + (sy * sp * cr - cy * sr) * y + cp * cr * z,
        ]
        reported = np.array(
            [
                value + bias + scale * error
                for value, bias, scale, error in zip(turning + force, self._bias, self._noise, noise, strict=True)
            ]
        )
        return Imu(reported[:3], reported[3:])

    def _of(self, values: Sequence[float], part: str) -> float:
        place = self._place[part]
        return 0.0 if place is None else values[place]


def _turned(angle: float) -> tuple[float, float]:
    return math.sin(angle), math.cos(angle)
