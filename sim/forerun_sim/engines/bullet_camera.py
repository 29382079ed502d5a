"""Cameras in PyBullet, drawn on the CPU (its TinyRenderer): colour and depth; light, colours and patterns may vary."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pybullet
from numpy.typing import NDArray

from forerun_sim.engines.base import Image
from forerun_sim.engines.bullet_patterns import BulletPatterns
from forerun_sim.kinematics import rotation
from forerun_sim.randomization import Parameters
from forerun_sim.spec import Camera

Matrix = NDArray[np.float64]
_AMBIENT, _DIFFUSE, _SPECULAR = 0.6, 0.35, 0.05
_SMALLEST = 1e-3


@dataclass(frozen=True)
class Surface:
    """What has a colour: the ``shape``-th visual shape of a link (-1: the base) of ``body``, ``rgba`` as its model has it."""

    name: str
    body: int
    link: int
    shape: int
    rgba: tuple[float, ...]


def _drawn(client: int, bodies: Mapping[str, int], links: Mapping[str, int], robot: int) -> list[Surface]:
    """Everything drawn: the shapes of the ``robot``'s ``links`` (name -> index), and of the other ``bodies`` by name."""
    names = {index: name for name, index in links.items()}
    found, counts = [], dict.fromkeys(names, 0)
    for row in pybullet.getVisualShapeData(robot, physicsClientId=client):
        found.append(Surface(names[row[1]], robot, row[1], counts[row[1]], row[7]))
        counts[row[1]] += 1
    return found + [Surface(name, body, -1, 0, (0.6, 0.6, 0.6, 1.0)) for name, body in bodies.items()]


class BulletCameras:
    """The cameras of a robot in the physics client ``client``.

    Args:
        cameras: by name.
        links: name -> index of PyBullet, -1 the root, of the body ``robot``.
        bodies: what else is drawn, by name.

    Attributes:
        surfaces: names of what has a colour.
    """

    def __init__(
        self, client: int, robot: int, cameras: Mapping[str, Camera], links: Mapping[str, int], bodies: Mapping[str, int]
    ) -> None:
        self._client, self._robot = client, robot
        self._cameras = cameras
        self._links = links
        self._drawn = _drawn(client, bodies, links, robot)
        self.surfaces = tuple(dict.fromkeys(surface.name for surface in self._drawn))
        self._coloured = True
        self._patterns = BulletPatterns(client)
        self._light: dict[str, Any] = {}
        self._parameters: Parameters | None = None
        self._mounts: dict[str, tuple[Matrix, Matrix]] = {}
        self._lenses = {name: lens_of(camera) for name, camera in cameras.items()}

    def reset(self, parameters: Parameters) -> None:
        """Takes over where cameras stand, light, colours and patterns; but for the latter two when the first picture is taken."""
        self._parameters = parameters
        changed = any(parameters.texture.values()) or any(parameters.pattern.values())
        if changed or self._coloured:
            self._colour(parameters.texture, parameters.pattern)
        self._coloured = changed

    def _mount(self, parameters: Parameters) -> None:
        towards = [parameters.light_direction[axis] for axis in "xyz"]
        towards = towards if max(map(abs, towards)) > _SMALLEST else [0.0, 0.0, 1.0]
        self._light = light_of(towards, [parameters.light_colour[channel] for channel in "rgb"], parameters.light_strength)
        for name, camera in self._cameras.items():
            shift = np.array([parameters.camera_shift[f"{name}.{axis}"] for axis in "xyz"])
            roll, pitch, yaw = (parameters.camera_turn[f"{name}.{axis}"] for axis in "xyz")
            axes = rotation(camera.angles)
            self._mounts[name] = (np.array(camera.position) + axes @ shift, axes @ rotation((roll, pitch, yaw)))

    def _colour(self, texture: Mapping[str, float], pattern: Mapping[str, float]) -> None:
        for surface in self._drawn:
            mixed = [surface.rgba[k] + texture[f"{surface.name}.{channel}"] for k, channel in enumerate("rgb")]
            rgba = [*(min(max(value, 0.0), 1.0) for value in mixed), surface.rgba[3]]
            pybullet.changeVisualShape(
                surface.body,
                surface.link,
                surface.shape,
                textureUniqueId=self._patterns.texture(pattern[surface.name]),
                rgbaColor=rgba,
                physicsClientId=self._client,
            )

    def picture(self, name: str) -> Image:
        """What camera ``name`` sees now."""
        if self._parameters is not None:
            self._mount(self._parameters)
            self._parameters = None
        camera, (place, axes) = self._cameras[name], self._mounts[name]
        origin, turn = self._frame(camera.link)
        eye, looking = origin + turn @ place, turn @ axes
        return draw(self._client, eye, eye + looking[:, 0], looking[:, 2], camera, self._lenses[name], self._light)

    def _frame(self, link: str | None) -> tuple[Matrix, Matrix]:
        """Origin [3] and axes [3, 3] of a link, of the world without one."""
        if link is None:
            return np.zeros(3), np.eye(3)
        index = self._links[link]
        if index < 0:
            centre, turn = pybullet.getBasePositionAndOrientation(self._robot, self._client)
            inertial = pybullet.getDynamicsInfo(self._robot, -1, self._client)[3:5]
            origin, turn = pybullet.multiplyTransforms(centre, turn, *pybullet.invertTransform(*inertial))
        else:
            state = pybullet.getLinkState(self._robot, index, computeForwardKinematics=1, physicsClientId=self._client)
            origin, turn = state[4], state[5]
        return np.array(origin), np.array(pybullet.getMatrixFromQuaternion(turn)).reshape(3, 3)


def light_of(towards: Sequence[float], colour: Sequence[float], strength: float) -> dict[str, Any]:
    """PyBullet keeps what it was told of the light, so all of it is told each time."""
    return {
        "lightDirection": towards,
        "lightColor": colour,
        "lightAmbientCoeff": _AMBIENT * strength,
        "lightDiffuseCoeff": _DIFFUSE * strength,
        "lightSpecularCoeff": _SPECULAR * strength,
    }


def lens_of(camera: Camera) -> list[float]:
    found: list[float] = pybullet.computeProjectionMatrixFOV(
        math.degrees(camera.fov), camera.width / camera.height, camera.near, camera.far
    )
    return found


def draw(
    client: int, eye: Matrix, target: Matrix, up: Matrix, camera: Camera, lens: Sequence[float], light: Mapping[str, Any]
) -> Image:
    """What a camera at ``eye`` [3] sees towards ``target`` [3]: rgb [H, W, 3], depth [H, W] in metres."""
    view = pybullet.computeViewMatrix(eye.tolist(), target.tolist(), up.tolist())
    seen = pybullet.getCameraImage(
        camera.width,
        camera.height,
        view,
        lens,
        shadow=0,
        renderer=pybullet.ER_TINY_RENDERER,
        flags=pybullet.ER_NO_SEGMENTATION_MASK,
        physicsClientId=client,
        **light,
    )
    shape = (camera.height, camera.width)
    rgb = np.asarray(seen[2], dtype=np.uint8).reshape(*shape, 4)[..., :3].copy()
    buffer = np.asarray(seen[3], dtype=np.float32).reshape(shape)
    depth = camera.far * camera.near / (camera.far - (camera.far - camera.near) * buffer)
    return Image(rgb, depth.astype(np.float32))
