"""Observations and actions as an agent sees them: their spaces, and the way from readings and to commands."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import numpy as np
from gymnasium.spaces import Box

from forerun_sim.env.settings import EnvSettings
from forerun_sim.sensors import Reading


class Interface:
    """The agent's side of one episode after another.

    An observation is, in this order: with ``history`` 0 the newest reading; with ``history`` K the newest K readings, oldest
    first, each followed by the command that was under way when it was read; then the goal's numbers. A reading is all positions,
    then all velocities; with ``sincos`` a continuous joint's position is its sine, then its cosine.

    Its bounds are those that hold: sine, cosine and commands have some; positions and velocities have none, because a joint that
    hits its stop, noise and a spinning joint exceed what robot.yaml calls limits.
    """

    def __init__(self, settings: EnvSettings) -> None:
        robot = settings.robot
        lower, upper = robot.action_limits(settings.task)
        self._limits = list(zip(lower.tolist(), upper.tolist(), strict=True))
        self._normalised = settings.actions == "normalised"
        self._scales = [(0.5 * (low + high), 0.5 * (high - low)) for low, high in self._limits]
        self._changes = [(joint.slew or math.inf) * robot.control.period for joint in robot.actuated]
        self._held = [
            index if joint.interface == "position" else None for index, joint in enumerate(robot.joints) if joint.actuated
        ]
        wrap = settings.angles == "sincos"
        self._turning = [wrap and joint.type == "continuous" for joint in robot.joints]
        self._encoded = any(self._turning)
        self._rows: deque[list[float]] = deque(maxlen=max(1, settings.history))
        self._history = settings.history
        self._names = robot.joint_names, robot.action_names, robot.task(settings.task).goal.names
        self.command: list[float] = []
        """The command [A] under way, physical units."""

    def action_space(self) -> Box:
        """[-1, 1] per command, or the task's command limits."""
        low, high = zip(*(((-1.0, 1.0) if self._normalised else pair) for pair in self._limits), strict=True)
        return Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)

    def observation_space(self) -> Box:
        """A flat Box, float32."""
        low, high = zip(*(bounds for _, bounds in self._columns()), strict=True)
        return Box(np.array(low, np.float32), np.array(high, np.float32), dtype=np.float32)

    def observation_names(self) -> tuple[str, ...]:
        """What each number of an observation is: ``position:slider``, ..., ``goal:x``; a history's rows end in ``@-1``, their
        age in control steps."""
        return tuple(name for name, _ in self._columns())

    def _columns(self) -> list[tuple[str, tuple[float, float]]]:
        joints, actions, goal = self._names
        free, unit = (-math.inf, math.inf), (-1.0, 1.0)
        row = []
        for name, turning in zip(joints, self._turning, strict=True):
            row += [(f"sin:{name}", unit), (f"cos:{name}", unit)] if turning else [(f"position:{name}", free)]
        row += [(f"velocity:{name}", free) for name in joints]
        if self._history:
            bounds = [unit if self._normalised else pair for pair in self._limits]
            row += [(f"command:{name}", pair) for name, pair in zip(actions, bounds, strict=True)]
            ages = [f"@-{age}" for age in reversed(range(self._history))]
            row = [(f"{name}{age}", pair) for age in ages for name, pair in row]
        return row + [(f"goal:{name}", free) for name in goal]

    def begin(self, reading: Reading, position: Sequence[float]) -> None:
        """An episode begins at ``position`` [J]: no effort, no speed, and position servos told to stay where they are."""
        still = [0.0 if index is None else position[index] for index in self._held]
        self.command = [min(max(value, low), high) for value, (low, high) in zip(still, self._limits, strict=True)]
        row = self._row(reading)
        self._rows.extend([row] * (self._rows.maxlen or 1))

    def order(self, action: Sequence[float]) -> list[float]:
        """The command [A], physical units, that ``action`` [A] means, cut to limits and slew as a robot's controller cuts it.
        It is under way from now on."""
        wanted = (
            [middle + half * value for value, (middle, half) in zip(action, self._scales, strict=True)]
            if self._normalised
            else action
        )
        command = []
        for value, last, change, (low, high) in zip(wanted, self.command, self._changes, self._limits, strict=True):
            value = min(max(value, last - change), last + change)
            command.append(min(max(value, low), high))
        self.command = command
        return command

    def take(self, reading: Reading | None) -> None:
        """The reading after a control step; one that dropped out repeats the last."""
        if reading is not None:
            self._rows.append(self._row(reading))
        elif self._history:
            states = len(self._rows[-1]) - len(self.command)
            self._rows.append(self._rows[-1][:states] + self._shown())

    def observation(self, goal: Sequence[float]) -> list[float]:
        """The observation now."""
        seen = [value for row in self._rows for value in row] if self._history else self._rows[-1]
        return [*seen, *goal]

    def _row(self, reading: Reading) -> list[float]:
        position: list[float] = reading.position.tolist()
        velocity: list[float] = reading.velocity.tolist()
        if self._encoded:
            pairs = zip(position, self._turning, strict=True)
            position = [
                part for value, turning in pairs for part in ((math.sin(value), math.cos(value)) if turning else (value,))
            ]
        return position + velocity + self._shown() if self._history else position + velocity

    def _shown(self) -> list[float]:
        """The command under way in the units of actions."""
        if not self._normalised:
            return list(self.command)
        return [
            (value - middle) / half if half else 0.0 for value, (middle, half) in zip(self.command, self._scales, strict=True)
        ]
