"""Exploratory commands that show a model what a robot does: a mixture per episode, within limits and slew."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from forerun_sim.sensors import Reading
from forerun_sim.spec import Joint, RobotSpec

Array = NDArray[np.float64]
CENTRING = 0.6
"""Part of a joint's range, from its middle, in which excitation is left alone."""


class Policy(Protocol):
    """What chooses commands in one episode."""

    def __call__(self, step: int, reading: Reading) -> Array:
        """Command [A] of control step ``step`` (counted from 0), physical units, given the newest reading."""


PolicyFactory = Callable[[RobotSpec, "str | None", np.random.Generator, int], Policy]
"""(robot, task, random stream of this episode, control steps) -> the policy of one episode."""


def coloured_noise(rng: np.random.Generator, steps: int, colour: float) -> Array:
    """Noise [T] whose power falls with frequency to the power of ``colour`` (0 white, 1 pink, 2 brown), unit variance."""
    if steps < 2:
        return rng.standard_normal(steps)
    frequencies = np.fft.rfftfreq(steps)
    frequencies[0] = frequencies[1]
    shape = frequencies ** (-0.5 * colour)
    spectrum = shape * (rng.standard_normal(len(shape)) + 1j * rng.standard_normal(len(shape)))
    wave: Array = np.fft.irfft(spectrum, n=steps)
    return wave / max(float(wave.std()), 1e-9)


def sines(rng: np.random.Generator, steps: int, period: float) -> Array:
    """A sum [T] of one to three sines of 0.1 to 3 Hz that may sweep, peaking near 1."""
    times = np.arange(steps) * period
    total = np.zeros(steps)
    count = int(rng.integers(1, 4))
    for _ in range(count):
        frequency = math.exp(rng.uniform(math.log(0.1), math.log(3.0)))
        sweep = rng.uniform(-0.3, 0.3) * frequency / max(times[-1], period)
        total += np.sin(2.0 * np.pi * (frequency + 0.5 * sweep * times) * times + rng.uniform(0.0, 2.0 * np.pi))
    return total / math.sqrt(count)


def bang_bang(rng: np.random.Generator, steps: int, period: float) -> Array:
    """Piecewise constant commands [T] in [-1, 1], held for 0.05 to 0.8 s; half of them at full size."""
    values = np.zeros(steps)
    at = 0
    while at < steps:
        held = max(1, round(rng.uniform(0.05, 0.8) / period))
        full = rng.random() < 0.5
        values[at : at + held] = rng.choice((-1.0, 1.0)) if full else rng.uniform(-1.0, 1.0)
        at += held
    return values


class Excitation:
    """The default exploration: per command, coloured noise, sines or steps of random size, and now and then nothing at all.

    It knows nothing of tasks or energy. Commands stay within limits and slew. Driven joints that leave the inner part of their
    range of positions or velocities are pulled back softly, so that stops and excesses are met but do not fill the data.
    """

    def __init__(self, spec: RobotSpec, task: str | None, rng: np.random.Generator, steps: int) -> None:
        self._lower, self._upper = spec.action_limits(task)
        self._middle, self._half = 0.5 * (self._lower + self._upper), 0.5 * (self._upper - self._lower)
        self._change = np.array([joint.slew or np.inf for joint in spec.actuated]) * spec.control.period
        driven = [(index, joint) for index, joint in enumerate(spec.joints) if joint.actuated]
        self._last = np.clip(np.zeros(len(driven)), self._lower, self._upper)
        self._positional = [joint.interface == "position" for _, joint in driven]
        self._joints = [index for index, _ in driven]
        self._speeds = [joint.velocity for _, joint in driven]
        self._ranges = [_range(joint) for _, joint in driven]
        self._waves = (
            np.stack([_wave(rng, steps, spec.control.period) for _ in driven], axis=1) if driven else np.zeros((steps, 0))
        )

    def __call__(self, step: int, reading: Reading) -> Array:
        if step == 0:
            held = np.where(self._positional, reading.position[self._joints], self._last)
            self._last = np.clip(held, self._lower, self._upper)
        wanted = self._waves[step] + self._centring(reading)
        command = self._middle + self._half * np.clip(wanted, -1.0, 1.0)
        self._last = np.clip(command, self._last - self._change, self._last + self._change)
        return self._last.copy()

    def _centring(self, reading: Reading) -> Array:
        pull = np.zeros(len(self._joints))
        for slot, (index, span) in enumerate(zip(self._joints, self._ranges, strict=True)):
            if span is not None:
                away = (reading.position[index] - span[0]) / span[1]
                approach = 0.3 * reading.velocity[index] / span[1]
                beyond = max(0.0, abs(away + approach) - CENTRING)
                pull[slot] = -math.copysign(beyond * 4.0, away + approach)
            speed, limit = reading.velocity[index], self._speeds[slot]
            if limit is not None and not self._positional[slot]:
                pull[slot] -= math.copysign(max(0.0, abs(speed) / limit - CENTRING) * 4.0, speed)
        return pull


def _range(joint: Joint) -> tuple[float, float] | None:
    """Middle and half width of the positions of a joint that needs care for them; a position command cares for itself."""
    if joint.position is None or joint.interface == "position":
        return None
    low, high = joint.position
    return 0.5 * (low + high), 0.5 * (high - low)


def _wave(rng: np.random.Generator, steps: int, period: float) -> Array:
    size = rng.uniform(0.15, 1.0)
    kind = rng.choice(("noise", "sines", "bang", "idle"), p=(0.4, 0.25, 0.3, 0.05))
    if kind == "noise":
        return 0.7 * size * coloured_noise(rng, steps, rng.uniform(0.0, 2.0))
    if kind == "sines":
        return size * sines(rng, steps, period)
    if kind == "bang":
        return size * bang_bang(rng, steps, period)
    return np.zeros(steps)
