"""A bundle as the agent of simulated episodes: the controller's own core, on the plant's clock."""

from __future__ import annotations

from collections.abc import Mapping
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
from forerun_sim.plant import Plant, Reading
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial


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


def drive(policy: Policy, plant: Plant, number: int, seconds: float, parameters: Mapping[str, float] | None = None) -> Trial:
    """Episode ``number`` of ``plant`` under ``policy`` as it would be recorded, on ``parameters`` instead of the plant's, if any.

    Raises:
        UnstablePhysics: the physics exploded.
    """
    spec = plant.spec
    reading = plant.reset(number, parameters=parameters)
    states, actions = [], []
    for step in range(round(seconds / spec.control.period)):
        states.append(np.concatenate([reading.position, reading.velocity]))
        actions.append(policy(step, reading))
        reading = plant.step(actions[-1]) or reading
    return Trial(np.asarray(states, np.float32), np.asarray(actions, np.float32), spec.control.period, spec.name)
