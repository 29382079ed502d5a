"""A bundle as the agent of simulated episodes: the controller's own core, on the plant's clock."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from forerun.control.controller import Controller
from forerun.control.limits import Vector
from forerun.control.planning import InlinePlanner
from forerun.control.settings import Settings
from forerun.control.states import State
from forerun_models.bundle import Bundle, load
from forerun_sim.excitation import Policy
from forerun_sim.plant import Reading
from forerun_sim.spec import RobotSpec


@dataclass(frozen=True)
class BundleAgent:
    """Makes the policies of the bundle in ``folder``; travels to other processes, each of which loads it once.

    Raises:
        BundleError: (at the first policy) the bundle cannot be loaded, or is another robot's.
    """

    folder: Path

    def __call__(self, spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> Policy:
        return BundlePolicy(self._bundle(spec.name), int(rng.integers(2**31)), spec.control.period)

    def _bundle(self, robot: str) -> Bundle:
        bundle = self._loaded.get(robot)
        if bundle is None:
            bundle = self._loaded[robot] = load(self.folder, robot=robot)
        return bundle

    @cached_property
    def _loaded(self) -> dict[str, Bundle]:
        return {}

    def __reduce__(self) -> tuple[type[BundleAgent], tuple[Path]]:
        """What is loaded stays in its process."""
        return type(self), (self.folder,)


class BundlePolicy:
    """One episode under a bundle: planned at once, for no simulated time passes meanwhile. A reading that was lost is none."""

    def __init__(self, bundle: Bundle, seed: int, period: float) -> None:
        self._controller = Controller(bundle, Settings(seed=seed), InlinePlanner())
        self._idle = np.zeros(len(bundle.manifest.slew))
        self._period = period
        self._now = 0.0
        self._newest: Reading | None = None

    def __call__(self, step: int, reading: Reading) -> Vector:
        if reading is not self._newest:
            self._now = reading.time
            self._newest = reading
            self._controller.observe(State(self._now, reading.position, reading.velocity, 0))
        elif step:
            self._now += self._period
        tick = self._controller.tick(self._now)
        command = self._idle if tick.command is None else tick.command
        self._controller.sent(self._now, command)
        return command
