"""What a camera shows: the newest picture, for agents that act by pictures."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle import Bundle
from forerun_sim.errors import InputError

Picture = NDArray[np.uint8]
_CHANNELS = 3


class Sight:
    """Holds the newest picture [H, W, 3]. One thread may ``see`` while another asks."""

    def __init__(self) -> None:
        self._newest: tuple[float, Picture | None] = (-math.inf, None)

    def see(self, time: float, picture: Picture) -> None:
        """A ``picture`` that was taken at ``time`` [s, controller time]."""
        self._newest = time, picture

    @property
    def picture(self) -> Picture | None:
        """The newest one."""
        return self._newest[1]

    def problem(self, bundle: Bundle, now: float, stale_after: float) -> str:
        """Why ``bundle`` cannot act by what was seen; empty if it can, or needs no pictures."""
        if bundle.picture_shape is None:
            return ""
        taken, picture = self._newest
        if picture is None:
            return f"no picture of camera '{bundle.manifest.camera}' has arrived yet"
        if picture.shape != bundle.picture_shape:
            return f"pictures are {list(picture.shape)}, the bundle takes {list(bundle.picture_shape)}; set the camera's size"
        if now - taken > stale_after:
            return f"the newest picture is {now - taken:.3f} s old, allowed are {stale_after:g} s"
        return ""


def picture_of(encoding: str, height: int, width: int, step: int, data: bytes) -> Picture:
    """The picture [H, W, 3] of a sensor_msgs/Image.

    Raises:
        InputError: it is not in colour with eight bits, or has not as many bytes as it says.
    """
    if encoding not in ("rgb8", "bgr8"):
        raise InputError(f"pictures are encoded as '{encoding}'; allowed: rgb8, bgr8")
    if step < width * _CHANNELS or len(data) != height * step:
        raise InputError(f"a picture of {width} x {height} with rows of {step} bytes has {len(data)} bytes")
    rows = np.frombuffer(data, np.uint8).reshape(height, step)[:, : width * _CHANNELS]
    picture = rows.reshape(height, width, _CHANNELS)
    return picture if encoding == "rgb8" else picture[..., ::-1]
