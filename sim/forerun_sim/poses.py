"""Where free bodies stand and how they move, from their coordinates, as messages and other programs want it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from forerun_sim.kinematics import Vector, rotation
from forerun_sim.spec import RobotSpec
from forerun_sim.spec.scene import PARTS


class Pose(NamedTuple):
    """Of a body's frame in the world: ``place`` [m], ``turn`` as a quaternion x, y, z, w; and of its motion, in its own axes, the
    velocity ``linear`` [m/s] and the ``angular`` one [rad/s]."""

    place: Vector
    turn: tuple[float, float, float, float]
    linear: Vector
    angular: Vector


class Poses:
    """The poses of the bodies of ``spec`` that no joint holds: ``base`` where it moves, and the objects."""

    def __init__(self, spec: RobotSpec) -> None:
        index = {name: place for place, name in enumerate(spec.joint_names)}
        level = 0.0 if spec.ground is None else spec.ground.height
        self._slots = {body: [(part, index[f"{body}_{part}"]) for part in PARTS[motion]] for body, motion in spec.bodies.items()}
        self._heights = {name: level + item.half_height for name, item in spec.objects.items()}
        """Of what tells no z: a planar object stands on the ground."""
        self.names = tuple(self._slots)

    def of(self, body: str, position: Sequence[float], velocity: Sequence[float]) -> Pose:
        """Of ``body``, from the positions and velocities of all joints [J]."""
        at = dict.fromkeys(PARTS["floating"], 0.0) | {"z": self._heights.get(body, 0.0)}
        rate = dict.fromkeys(PARTS["floating"], 0.0)
        for part, slot in self._slots[body]:
            at[part], rate[part] = float(position[slot]), float(velocity[slot])
        roll, pitch, yaw = at["roll"], at["pitch"], at["yaw"]
        (cr, cp, cy), (sr, sp, sy) = ([of(0.5 * angle) for angle in (roll, pitch, yaw)] for of in (math.cos, math.sin))
        turn = (
            sr * cp * cy - cr * sp * sy,
            cr * sp * cy + sr * cp * sy,
            cr * cp * sy - sr * sp * cy,
            cr * cp * cy + sr * sp * sy,
        )
        x, y, z = rotation((roll, pitch, yaw)).T @ np.array([rate["x"], rate["y"], rate["z"]])
        angular = (
            rate["roll"] - math.sin(pitch) * rate["yaw"],
            math.cos(roll) * rate["pitch"] + math.sin(roll) * math.cos(pitch) * rate["yaw"],
            math.cos(roll) * math.cos(pitch) * rate["yaw"] - math.sin(roll) * rate["pitch"],
        )
        return Pose((at["x"], at["y"], at["z"]), turn, (float(x), float(y), float(z)), angular)
