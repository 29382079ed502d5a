"""Commands of an experiment, drawn and varied within the robot's limits, and how they are played."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.excitation import coloured_noise
from forerun_sim.sensors import Reading
from forerun_sim.spec import RobotSpec

Array = NDArray[np.float64]
_HARMONICS = 5


class Played:
    """A policy that gives commands [T, A] one after another, and then the last one."""

    def __init__(self, commands: Array) -> None:
        self._commands = commands

    def __call__(self, step: int, reading: Reading) -> Array:
        return np.asarray(self._commands[min(step, len(self._commands) - 1)])


@dataclass(frozen=True)
class PlayedFactory:
    """The policy of every episode of ``collect``: the same commands [T, A]."""

    commands: Array

    def __call__(self, spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> Played:
        return Played(self.commands)


@dataclass(frozen=True)
class Recipe:
    """Commands as numbers: per actuated joint amplitudes [A, H], frequencies [A, H] in Hz and phases [A, H] of sines, and noise
    [T, A] with its ``share``."""

    amplitude: Array
    frequency: Array
    phase: Array
    noise: Array
    share: float

    @classmethod
    def drawn(cls, rng: np.random.Generator, spec: RobotSpec, steps: int) -> Recipe:
        shape = (spec.action_size, _HARMONICS)
        size = rng.uniform(0.2, 1.0, (spec.action_size, 1))
        highest = min(5.0, 0.2 * spec.control.rate)
        noise = np.stack([coloured_noise(rng, steps, rng.uniform(0.5, 2.0)) for _ in range(spec.action_size)], axis=1)
        return cls(
            size * rng.dirichlet(np.ones(_HARMONICS), spec.action_size),
            np.exp(rng.uniform(np.log(0.1), np.log(highest), shape)),
            rng.uniform(0.0, 2.0 * np.pi, shape),
            noise,
            float(rng.uniform(0.0, 0.5)) if rng.random() < 0.5 else 0.0,
        )

    def varied(self, rng: np.random.Generator) -> Recipe:
        shape = self.amplitude.shape
        return Recipe(
            np.clip(self.amplitude * np.exp(0.3 * rng.standard_normal(shape)), 0.0, 1.0),
            self.frequency * np.exp(0.15 * rng.standard_normal(shape)),
            self.phase + 0.5 * rng.standard_normal(shape),
            self.noise,
            float(np.clip(self.share + 0.1 * rng.standard_normal(), 0.0, 1.0)),
        )

    def commands(self, spec: RobotSpec, steps: int) -> Array:
        """Commands [T, A], physical units, within limits and slew, beginning gently from rest."""
        lower, upper = spec.action_limits()
        times = np.arange(steps) * spec.control.period
        angles = 2.0 * np.pi * self.frequency[None] * times[:, None, None] + self.phase[None]
        wave = (self.amplitude[None] * np.sin(angles)).sum(axis=2) + 0.3 * self.share * self.noise
        idle = np.clip(0.0, lower, upper)
        near = np.minimum(upper - idle, idle - lower)
        half = np.where(near > 0, near, 0.5 * (upper - lower))
        wanted = np.clip(idle + half * wave * np.minimum(1.0, 2.0 * times)[:, None], lower, upper)
        change = np.array([joint.slew or np.inf for joint in spec.actuated]) * spec.control.period
        last: Array = idle
        found: Array = np.zeros((steps, len(idle)))
        for step in range(steps):
            last = np.clip(wanted[step], last - change, last + change)
            found[step] = last
        return found
