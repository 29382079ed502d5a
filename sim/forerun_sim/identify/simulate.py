"""Segments of a log, simulated: from a measured state on, under the logged commands, velocities as the sensors make them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from forerun_sim.actuators import JointRow
from forerun_sim.plant import ABSURD_SPEED, Plant
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec, Sensors

Array = NDArray[np.float64]
GAINS = (0.7, 0.2, 0.2)
"""Of the observer: how much of an error in position corrects the position, and, over the control period, the velocity; and how
much of an error in velocity corrects the velocity."""


def span_of(sensors: Sensors, period: float) -> float:
    """The time [s] over which the sensors' velocity is a difference; 0 where it is none. ``period`` is the control's."""
    if sensors.velocity_source != "difference":
        return 0.0
    return 1.0 / sensors.rate if sensors.rate else period


def memory(parameters: Parameters, period: float) -> int:
    """Control steps of ``period`` [s] after which a command has no effect any more on what the drives do."""
    longest = parameters.delay + parameters.observation_delay + 6.0 * max(parameters.lag.values(), default=0.0)
    return math.ceil(longest / period + 1e-9) + 1


def corrected(state: Array, error: Array, period: float) -> Array:
    """The observer's ``state`` [S, ...] after it saw ``error`` [S, ...] a control ``period`` [s] after the last one."""
    joints = len(state) // 2
    to_place, to_speed, of_speed = GAINS
    found: Array = np.array(state)
    found[:joints] += to_place * error[:joints]
    found[joints:] += to_speed / period * error[:joints] + of_speed * error[joints:]
    return found


class Simulation:
    """A robot in an engine, without its sensors' noise: predictions [K, S] of what they would report."""

    def __init__(self, spec: RobotSpec, engine: str) -> None:
        """Raises InputError where the robot has no model for ``engine``."""
        self._plant = Plant(spec, engine=engine, randomize=False)
        self.nominal = self._plant.nominal
        self._engine, self._actuators = self._plant.engine, self._plant.actuators
        self._substeps = spec.control.substeps
        self._step = 1.0 / spec.control.physics_rate
        self._period = spec.control.period
        self._names = spec.joint_names
        self._joints = len(spec.joints)
        self._span = span_of(self._plant.engine.hardware.sensors, self._period)

    def close(self) -> None:
        """Gives the engine's memory back."""
        self._plant.close()

    def predict(self, parameters: Parameters, before: Array, given: Array, actions: Array) -> Array:
        """Open loop from the last measured state.

        Args:
            parameters: of the plant.
            before: [P, S] measured states up to the start; a start that was estimated stands last.
            given: [P - 1, A] commands given in them, all but the last.
            actions: [K, A] commands from the start on.

        Returns:
            [K, S], or fewer rows where the physics exploded.
        """
        needed = memory(parameters, self._period)
        before, given = before[-1 - needed :] - self._bias(parameters), given[len(given) - min(needed, len(given)) :]
        self._begin(parameters, before, np.concatenate([given, actions]))
        rows = self._placed(parameters, before[-1])
        found = self._reported(before[-1], self._run(len(given) * self._substeps, len(actions), rows))
        return np.asarray(found + self._bias(parameters))

    def observe(self, parameters: Parameters, before: Array, given: Array) -> Array:
        """The state [S] in which the last row of ``before`` [P, S] was measured, from all of them: the simulation follows the
        log and is corrected in each row by a constant part of its error (``GAINS``). ``given`` [P - 1, A] as in ``predict``."""
        bias = self._bias(parameters)
        before = before - bias
        self._begin(parameters, before[:1], given)
        state: Array = np.array(before[0])
        for row in range(len(given)):
            rows = self._placed(parameters, state)
            found = self._run(row * self._substeps, 1, rows)
            reported = self._reported(state, found)
            if not len(reported):
                return np.asarray(before[-1] + bias)
            error = before[row + 1] - reported[0]
            state = corrected(found[-1].reshape(-1), error, self._period)
        return np.asarray(state + bias)

    def measured(self, parameters: Parameters, before: Array, given: Array) -> Array:
        """The last row of ``before`` [P, S] as a start: a velocity made by differences, half its span late, is brought up to date
        with the acceleration that the simulation has there."""
        state: Array = np.array(before[-1])
        if not self._span or len(before) < 2:
            return state
        before = before - self._bias(parameters)
        self._begin(parameters, before[:-1], given)
        rows = self._placed(parameters, before[-2])
        found = self._run((len(given) - 1) * self._substeps, 1, rows)
        if len(found) == self._substeps:
            state[self._joints :] += (found[-1][1] - found[0][1]) / max(self._substeps - 1, 1) / self._step * 0.5 * self._span
        return state

    def _bias(self, parameters: Parameters) -> Array:
        """What the encoders read too much [S]; velocities know nothing of it."""
        return np.array([parameters.position_bias[name] for name in self._names] + [0.0] * self._joints)

    def _begin(self, parameters: Parameters, before: Array, commands: Array) -> None:
        """Gives all ``commands`` [T, A] and lets the drives act on the measured states ``before`` [P, S], so that the commands
        that are under way and their lags are where they were."""
        actuators, substeps = self._actuators, self._substeps
        # What is seen late looks like a command that acts late: of a log only the sum can be known.
        late = replace(parameters, delay=parameters.delay + parameters.observation_delay)
        actuators.reset(late, before[0, : self._joints].tolist())
        for row, command in enumerate(commands):
            actuators.give(command.tolist(), row * substeps)
        step, end = 0, (len(before) - 1) * substeps
        while step < end:
            count = min(actuators.reach(step), end - step)
            actuators.prepare(step, count, self._between(before, step))
            if actuators.feedback:
                for ahead in range(count):
                    actuators.effort(ahead, self._between(before, step + ahead))
            step += count

    def _between(self, before: Array, step: int) -> Sequence[JointRow]:
        """The joints' states at a physics step, between the measured ones."""
        row, part = divmod(step, self._substeps)
        at = before[row] + (before[row + 1] - before[row]) * (part / self._substeps)
        values = at.tolist()
        return list(zip(values[: self._joints], values[self._joints :], strict=True))

    def _placed(self, parameters: Parameters, state: Array) -> Sequence[JointRow]:
        values = state.tolist()
        self._engine.reset(parameters, values[: self._joints], values[self._joints :])
        return self._engine.states()

    def _run(self, at: int, steps: int, rows: Sequence[JointRow]) -> Array:
        """Positions and velocities [T, 2, J] after each physics step of ``steps`` control steps that begin at physics step
        ``at``; whole control steps only, up to the one in which the physics exploded."""
        actuators, engine = self._actuators, self._engine
        step, end = at, at + steps * self._substeps
        found: list[Sequence[JointRow]] = []
        while step < end:
            count = min(actuators.reach(step), end - step)
            actuators.prepare(step, count, rows)
            for ahead in range(count):
                engine.step(actuators.effort(ahead, rows) if actuators.feedback else actuators.ahead[ahead])
                rows = engine.states()
                found.append(rows)
            step += count
        track = np.array([[[row[0] for row in rows], [row[1] for row in rows]] for rows in found])
        sound = np.isfinite(track).all(axis=(1, 2)) & (np.abs(track[:, 1]) < ABSURD_SPEED).all(axis=1)
        whole = len(track) if sound.all() else int(np.argmin(sound)) // self._substeps * self._substeps
        return track[:whole]

    def _reported(self, start: Array, found: Array) -> Array:
        """What the sensors make of the physics steps ``found`` [T, 2, J] that begin at ``start`` [S], at the end of each control
        step: [K, S]."""
        joints = self._joints
        track = np.concatenate([start.reshape(1, 2, joints), found])
        ends = np.arange(1, len(found) // self._substeps + 1) * self._substeps
        states = track[ends].reshape(len(ends), 2 * joints)
        if self._span:
            back = ends - self._span / self._step
            inside = np.maximum(back, 0.0)
            whole = inside.astype(int)
            part = (inside - whole)[:, None]
            earlier = (1.0 - part) * track[whole, 0] + part * track[np.minimum(whole + 1, len(track) - 1), 0]
            # A span that reaches behind the start meets a joint that moved as it begins to.
            earlier += np.minimum(back, 0.0)[:, None] * self._step * start[joints:]
            states[:, joints:] = (track[ends, 0] - earlier) / self._span
        return states
