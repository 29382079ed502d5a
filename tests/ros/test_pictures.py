"""An agent that acts by a camera's pictures, over real DDS."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from sensor_msgs.msg import Image

from forerun.nodes import qos
from support.probe import ERROR, OK, probing
from support.processes import Processes
from support.tiny_bundle import PICTURE, Law, tiny_bundle

from .conftest import CART


class Camera:
    """Publishes grey pictures at 50 Hz while the probe spins."""

    def __init__(self, probe) -> None:
        self.brightness, self.silent = 100, False
        self._node = probe.node
        self._publisher = probe.node.create_publisher(Image, "front/image", qos.STATES_OUT)
        probe.node.create_timer(0.02, self._publish)

    def _publish(self) -> None:
        if self.silent:
            return
        height, width, _ = PICTURE
        message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
        message.data = np.full(PICTURE, self.brightness, np.uint8).tobytes()
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)


def test_commands_follow_the_pictures_and_stop_when_they_stop(domain: int, processes: Processes, tmp_path: Path) -> None:
    resume = {"stale": "resume", "misses": "resume", "disagreement": "resume"}
    body = replace(CART, overrides={**CART.overrides, "trained_on": {"options": {"camera": "front"}}, "recovery": resume})
    bundle = tiny_bundle(tmp_path / "seeing", Law(bias=(0.0,), sight=0.01), body)
    with probing(domain) as probe:
        probe.robot()
        processes.node("controller", bundle=str(bundle), autostart=True)
        probe.until_status("no picture of camera 'front'", ERROR)
        camera = Camera(probe)
        probe.until_status("running", OK)
        probe.until_command([1.0], "the picture's command")
        camera.brightness = 200
        probe.until_command([2.0], "the brighter picture's command")
        camera.silent = True
        probe.until_status("the newest picture is", ERROR)
        probe.until_command([0.0], "the safe action")
