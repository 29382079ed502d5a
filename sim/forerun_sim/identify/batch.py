"""Segments of logs simulated many at a time: what ``simulate.Simulation`` does for one in an engine, without one."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from forerun_sim.identify.bodies import Bodies
from forerun_sim.identify.drives import Drives
from forerun_sim.identify.simulate import corrected, memory, span_of
from forerun_sim.plant import ABSURD_SPEED
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec

Array = NDArray[np.float64]
Numbers = NDArray[np.int64]
CHUNK = 4096
"""Robots at a time: their arrays stay in the processor's cache."""


def suits(spec: RobotSpec) -> bool:
    """Whether the robot is one of joints alone: on a fixed base, touching nothing."""
    return spec.urdf is not None and not spec.bodies and spec.ground is None


class Batch:
    """Predictions of what the sensors of many robots would report, each robot with parameters of its own."""

    def __init__(self, spec: RobotSpec) -> None:
        """Raises InputError where the robot has no URDF, or a broken one."""
        self._bodies, self._drives = Bodies(spec), Drives(spec)
        self._substeps, self._period = spec.control.substeps, spec.control.period
        self._step = 1.0 / spec.control.physics_rate
        self._names, self._joints = spec.joint_names, len(spec.joints)
        self._span = span_of(spec.sensors, self._period)

    def predict(self, parameters: Sequence[Parameters], of: Numbers, before: Array, given: Array, actions: Array) -> Array:
        """Open loop from the last measured state.

        Args:
            parameters: [C] of plants.
            of: [N] which of them each robot has.
            before: [N, P, S] measured states up to the start; a start that was estimated stands last.
            given: [N, P - 1, A] commands given in them, all but the last.
            actions: [N, K, A] commands from the start on.

        Returns:
            [N, K, S], not a number from where the physics exploded.
        """
        parts = [np.arange(at, min(at + CHUNK, len(of))) for at in range(0, len(of), CHUNK)]
        found = [self._predict(parameters, of[part], before[part], given[part], actions[part]) for part in parts]
        return np.concatenate(found) if found else np.zeros((0, actions.shape[1], before.shape[2]))

    def observe(self, parameters: Sequence[Parameters], of: Numbers, before: Array, given: Array) -> Array:
        """The states [N, S] in which the last rows of ``before`` [N, P, S] were measured, as ``Simulation.observe`` has them."""
        bias = self._bias(parameters)[of]
        states = np.ascontiguousarray((before - bias[:, None]).transpose(1, 2, 0))
        self._drives.load(parameters, of, states[0, : self._joints], given.transpose(1, 2, 0))
        self._bodies.load(parameters, of)
        state = states[0]
        for row in range(given.shape[1]):
            moved, reported = self._followed(state, row * self._substeps, 1)
            error = states[row + 1] - reported[0]
            state = corrected(moved, error, self._period)
        sound = np.isfinite(state).all(axis=0)
        return np.asarray(np.where(sound, state, states[-1]).T + bias)

    def measured(self, parameters: Sequence[Parameters], of: Numbers, before: Array, given: Array) -> Array:
        """The last rows of ``before`` [N, P, S] as starts [N, S], as ``Simulation.measured`` brings them up to date."""
        state = before[:, -1].copy()
        if not self._span or before.shape[1] < 2:
            return state
        joints, first = self._joints, (given.shape[1] - 1) * self._substeps
        bias = self._bias(parameters)[of]
        states = np.ascontiguousarray((before - bias[:, None]).transpose(1, 2, 0))
        self._warm(parameters, of, states[:-1], given.transpose(1, 2, 0))
        position, velocity = states[-2, :joints].copy(), states[-2, joints:].copy()
        early = velocity
        with np.errstate(all="ignore"):
            for step in range(self._substeps):
                self._bodies.step(position, velocity, self._drives.effort(first + step, position, velocity))
                early = velocity.copy() if step == 0 else early
        change = (velocity - early).T / max(self._substeps - 1, 1) / self._step * 0.5 * self._span
        state[:, joints:] += np.where(np.isfinite(change).all(axis=1, keepdims=True), change, 0.0)
        return state

    def _predict(self, parameters: Sequence[Parameters], of: Numbers, before: Array, given: Array, actions: Array) -> Array:
        bias = self._bias(parameters)[of]
        needed = min(max(memory(one, self._period) for one in parameters), given.shape[1])
        before, given = before[:, before.shape[1] - 1 - needed :] - bias[:, None], given[:, given.shape[1] - needed :]
        states = np.ascontiguousarray(before.transpose(1, 2, 0))
        self._warm(parameters, of, states, np.concatenate([given, actions], axis=1).transpose(1, 2, 0))
        _, reported = self._followed(states[-1], needed * self._substeps, actions.shape[1])
        return reported.transpose(2, 0, 1) + bias[:, None]

    def _warm(self, parameters: Sequence[Parameters], of: Numbers, states: Array, commands: Array) -> None:
        """Lets the drives act on the measured ``states`` [P, S, N] under ``commands`` [T, A, N]."""
        joints = self._joints
        self._drives.load(parameters, of, states[0, :joints], commands)
        self._bodies.load(parameters, of)
        for step in range((len(states) - 1) * self._substeps):
            row, part = divmod(step, self._substeps)
            at = states[row] + (states[row + 1] - states[row]) * (part / self._substeps)
            self._drives.effort(step, at[:joints], at[joints:])

    def _followed(self, start: Array, first: int, steps: int) -> tuple[Array, Array]:
        """The states [S, N] after ``steps`` control steps from ``start`` [S, N] on, which begin at physics step ``first``, and
        what the sensors report [K, S, N] after each of them."""
        joints, total = self._joints, steps * self._substeps
        position, velocity = start[:joints].copy(), start[joints:].copy()
        places = np.empty((total + 1, *position.shape))
        places[0] = position
        reported = np.empty((steps, *start.shape))
        with np.errstate(all="ignore"):
            for step in range(total):
                self._bodies.step(position, velocity, self._drives.effort(first + step, position, velocity))
                places[step + 1] = position
                if (step + 1) % self._substeps == 0:
                    reported[step // self._substeps, :joints] = position
                    reported[step // self._substeps, joints:] = velocity
        broken = ~(np.isfinite(reported).all(axis=1) & (np.abs(reported[:, joints:]) < ABSURD_SPEED).all(axis=1))
        if self._span:
            ends = np.arange(1, steps + 1) * self._substeps
            back = ends - self._span / self._step
            whole = np.maximum(back, 0.0).astype(int)
            part = (np.maximum(back, 0.0) - whole)[:, None, None]
            earlier = (1.0 - part) * places[whole] + part * places[np.minimum(whole + 1, total)]
            # A span that reaches behind the start meets a joint that moved as it begins to.
            earlier += np.minimum(back, 0.0)[:, None, None] * self._step * start[joints:]
            reported[:, joints:] = (places[ends] - earlier) / self._span
        reported[np.maximum.accumulate(broken, axis=0)[:, None].repeat(len(start), axis=1)] = np.nan
        return np.concatenate([position, velocity]), reported

    def _bias(self, parameters: Sequence[Parameters]) -> Array:
        """What the encoders read too much [C, S]; velocities know nothing of it."""
        places = [[one.position_bias[name] for name in self._names] for one in parameters]
        return np.concatenate([np.array(places), np.zeros((len(parameters), self._joints))], axis=1)
