"""Pictures of a robot at work, for people: from a place that sees all that it can reach, or that goes along with it."""

from __future__ import annotations

import math

import numpy as np
import pybullet
from numpy.typing import NDArray

from forerun_sim.engines.bullet import BulletEngine
from forerun_sim.engines.bullet_camera import draw, lens_of, light_of
from forerun_sim.kinematics import Kinematics
from forerun_sim.randomization import wide_initial
from forerun_sim.spec import Camera, RobotSpec
from forerun_sim.urdf import robot_urdf

_FOV = 0.6
_FROM = np.array([1.0, -0.8, 0.5])
"""Whence the picture is taken: from the front and a little above."""
_POSES = 64
"""Poses, all over the joints' ranges, from which is learnt how far a robot reaches."""
_WIDER = 1.6
"""How much more than a robot that drives or walks itself its pictures show."""


class BulletView:
    """A camera on the robot of ``engine``, ``width`` by ``height`` pixels."""

    def __init__(self, engine: BulletEngine, spec: RobotSpec, width: int = 480, height: int = 360) -> None:
        self._client, self._robot = engine.client, engine.robot
        self._follows = spec.base != "fixed"
        points = self._body()
        if not self._follows:
            points = np.concatenate([points, _reach(spec)])
        low, high = points.min(axis=0), points.max(axis=0)
        radius = max(0.5 * float(np.linalg.norm(high - low)), 0.05) * (_WIDER if self._follows else 1.0)
        distance = radius / math.sin(_FOV / 2)
        self._middle = 0.5 * (low + high) - (self._base() if self._follows else 0.0)
        self._away = distance * _FROM / np.linalg.norm(_FROM)
        self._camera = Camera(width=width, height=height, fov=_FOV, near=0.05 * distance, far=distance + 40.0 * radius)
        self._lens = lens_of(self._camera)
        self._light = light_of([1.0, -0.3, 1.5], [1.0, 1.0, 1.0], 1.0)

    def picture(self) -> NDArray[np.uint8]:
        """The robot now, uint8 [H, W, 3]."""
        target = self._middle + (self._base() if self._follows else 0.0)
        up = np.array([0.0, 0.0, 1.0])
        return draw(self._client, target + self._away, target, up, self._camera, self._lens, self._light).rgb

    def _base(self) -> NDArray[np.float64]:
        return np.array(pybullet.getBasePositionAndOrientation(self._robot, self._client)[0])

    def _body(self) -> NDArray[np.float64]:
        """Corners [N, 3] of the boxes around its links now."""
        links = (-1, *range(pybullet.getNumJoints(self._robot, self._client)))
        return np.array([corner for link in links for corner in pybullet.getAABB(self._robot, link, self._client)])


def _reach(spec: RobotSpec) -> NDArray[np.float64]:
    """Where links can be [N, 3]: their origins, and as far beyond their centres of mass."""
    frames = robot_urdf(spec).frames(spec.joint_names)
    kinematics = Kinematics(frames)
    poses = np.stack([wide_initial(spec, None, 0, episode)[0] for episode in range(_POSES)])
    ends = [kinematics.point(np, poses, frame.name, (x, y, z)) for frame in frames for x, y, z in _ends(frame.com)]
    return np.concatenate(ends)


def _ends(com: tuple[float, float, float]) -> tuple[tuple[float, float, float], ...]:
    x, y, z = com
    return (0.0, 0.0, 0.0), (2.0 * x, 2.0 * y, 2.0 * z)
