"""A picture of a whole robot, for people."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import pybullet
from numpy.typing import NDArray

from forerun_sim.engines.base import Image
from forerun_sim.engines.bullet import BulletEngine
from forerun_sim.engines.bullet_camera import draw, lens_of, light_of
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import Camera, RobotSpec

Array = NDArray[np.float64]

_FOV = 0.6
_FROM = np.array([1.0, -0.8, 0.5])
"""Whence the picture is taken."""
_UP = np.array([0.0, 0.0, 1.0])
_MARGIN = 1.1
_SMALLEST = 1e-3


def portrait(spec: RobotSpec, pose: Mapping[str, float], width: int, height: int) -> Image:
    """The robot at the middle of its first task's initial state, from the front and a little above, filling the picture.

    Args:
        spec: the robot.
        pose: joint -> position, where a joint stands elsewhere.
        width, height: of the picture, in pixels.

    Raises:
        InputError: the robot has no URDF, or no joint of that name.
    """
    unknown = sorted(set(pose) - set(spec.joint_names))
    if unknown or not all(map(math.isfinite, pose.values())):
        raise InputError(f"robot '{spec.name}' has no joint {unknown}; it has: {', '.join(spec.joint_names)}")
    initial = spec.task().initial_position if spec.tasks else {}
    middles = {name: drawn.middle for name, drawn in initial.items()} | dict(pose)
    position = [middles.get(name, 0.0) for name in spec.joint_names]
    plant = Plant(spec.model_copy(update={"cameras": {"portrait": Camera()}}), randomize=False)  # or it would have no looks
    try:
        plant.reset(0, initial=(position, [0.0] * len(position)))
        assert isinstance(plant.engine, BulletEngine)
        fine = _overview(plant.engine.client, plant.engine.robot, 2 * width, 2 * height)
    finally:
        plant.close()
    # Four pixels become one: edges look less like stairs.
    rgb = fine.rgb.reshape(height, 2, width, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8)
    return Image(rgb, fine.depth[::2, ::2])


def _overview(client: int, robot: int, width: int, height: int) -> Image:
    """The robot, as large as the picture allows: a glance from afar tells where it is, and how large it looks."""
    joints = range(pybullet.getNumJoints(robot, client))
    boxes = [pybullet.getAABB(robot, link, client) for link in (-1, *joints)]
    # A link without a collision shape has a box of no size.
    corners = [corner for box in boxes if math.dist(*box) > _SMALLEST for corner in box]
    corners += [pybullet.getLinkState(robot, link, 0, 1, client)[4] for link in joints]
    points = np.array(corners)
    low, high = points.min(axis=0), points.max(axis=0)
    middle, radius = 0.5 * (low + high), max(0.5 * float(np.linalg.norm(high - low)), 0.02)
    distance = 3.0 * radius / math.sin(_FOV / 2)
    towards = -_FROM / np.linalg.norm(_FROM)
    eye = middle - distance * towards
    right = np.cross(towards, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    up = np.cross(right, towards)
    far = distance + 40.0 * radius
    across, above, size = _seen(client, robot, eye, eye + towards, Camera(width=192, height=144, fov=_FOV, far=far))
    slope = math.tan(_FOV / 2)
    looking = towards + slope * (across * 192 / 144 * right + above * up)
    fov = 2.0 * math.atan(min(slope, _MARGIN * size * slope))
    camera = Camera(width=width, height=height, fov=fov, near=0.05 * distance, far=far)
    light = light_of([1.0, -0.3, 1.5], [1.0, 1.0, 1.0], 1.0)
    return draw(client, eye, eye + looking, _UP, camera, lens_of(camera), light)


def _seen(client: int, robot: int, eye: Array, target: Array, camera: Camera) -> tuple[float, float, float]:
    """Where the robot is in the picture of ``camera``: its middle to the right and above, and its size; of half the picture."""
    view = pybullet.computeViewMatrix(eye.tolist(), target.tolist(), _UP.tolist())
    seen = pybullet.getCameraImage(
        camera.width, camera.height, view, lens_of(camera), renderer=pybullet.ER_TINY_RENDERER, physicsClientId=client
    )
    rows, columns = np.nonzero(np.asarray(seen[4]).reshape(camera.height, camera.width) == robot)
    if len(rows) == 0:
        return 0.0, 0.0, 1.0
    top, bottom = rows.min() / camera.height, (rows.max() + 1) / camera.height
    left, right = columns.min() / camera.width, (columns.max() + 1) / camera.width
    return left + right - 1.0, 1.0 - top - bottom, float(max(bottom - top, right - left))
