"""Experiments in simulation: what their data would tell, beside what is known."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun_sim.collect import Recording
from forerun_sim.identify.batch import Batch, suits
from forerun_sim.identify.objective import DIFFERENCE, NEARBY
from forerun_sim.identify.result import Fit
from forerun_sim.identify.segments import PAST
from forerun_sim.identify.shooting import Starts
from forerun_sim.identify.simulate import Simulation
from forerun_sim.identify.unknowns import Unknown, nominal_coordinates, values_at
from forerun_sim.identify.work import OneByOne
from forerun_sim.randomization import Parameters
from forerun_sim.spec import RobotSpec

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Knows:
    """What is known before the experiment: the parameters that are told, by their places, their estimates, their information
    [n, n] in coordinates, the variance ``noise`` and the ``scale`` [S] of errors, and the errors [S] that count for each unit by
    which a start is off."""

    sought: tuple[Unknown, ...]
    coordinates: Array
    information: Array
    noise: float
    scale: Array
    pull: Array

    @classmethod
    def of(cls, fit: Fit) -> Knows:
        """What ``fit`` left to be known, in ranges of all that it sought."""
        return cls(fit.sought, fit.coordinates, fit.knowledge.information, fit.knowledge.noise, fit.scale, fit.pull)

    @classmethod
    def nothing(cls, sought: tuple[Unknown, ...], noise: float, scale: Array) -> Knows:
        """Before any experiment; the nominal values are all there is."""
        return cls(sought, nominal_coordinates(sought), np.zeros((len(sought), len(sought))), noise, scale, 1.0 / scale)


def rest_of(spec: RobotSpec) -> tuple[Array, Array]:
    """Where experiments begin: at rest, at 0 or the nearest place within the joints' limits."""
    place = [0.0 if joint.position is None else float(np.clip(0.0, *joint.position)) for joint in spec.joints]
    return np.array(place), np.zeros(len(place))


class Laboratory:
    """Experiments in simulation: what their data would tell."""

    def __init__(self, spec: RobotSpec, engine: str, knows: Knows) -> None:
        self._spec, self._engine, self._knows = spec, engine, knows
        self._simulation = Simulation(spec, engine)
        self._many: Batch | OneByOne = Batch(spec) if suits(spec) else OneByOne(self._simulation)
        self._steps = max(2, round(0.5 * spec.control.rate))

    def close(self) -> None:
        """Gives the engine's memory back."""
        self._simulation.close()

    def _parameters(self, coordinates: Array) -> Parameters:
        return self._simulation.nominal.changed(values_at(self._knows.sought, coordinates))

    def followed(self, commands: Array) -> Array:
        """States [T, S] at the estimates, the first one at rest; fewer where the physics explodes."""
        rest = np.concatenate(rest_of(self._spec))
        parameters = self._parameters(self._knows.coordinates)
        ahead = self._simulation.predict(parameters, rest[None], np.zeros((0, commands.shape[1])), commands[:-1])
        return np.concatenate([rest[None], ahead])

    def added(self, commands: Array) -> Array | None:
        """Information [n, n] of the commands [T, A]: None where the robot would leave its limits."""
        states = self.followed(commands)
        if len(states) < len(commands) or not self._allowed(states):
            return None
        knows, steps = self._knows, min(self._steps, len(commands) - 1)
        first = np.arange(0, len(states) - steps, steps)
        past = np.maximum(first[:, None] + np.arange(1 - PAST, 1), 0)
        ahead = first[:, None] + np.arange(steps)
        here = states[first]
        moved, widths = self._moved(here)
        predicted = self._predicted(moved, states[past], commands[past[:, :-1]], commands[ahead])
        if not np.isfinite(predicted).all():
            return None
        predicted = predicted / knows.scale
        pairs = predicted[: 2 * len(widths)].reshape(len(widths), 2, *predicted.shape[1:])
        slopes = np.moveaxis((pairs[:, 1] - pairs[:, 0]) / widths[:, None, None, None], 0, -1)
        nearby = NEARBY * knows.scale
        by_start = np.moveaxis((predicted[2 * len(widths) : -1] - predicted[-1]) / nearby[:, None, None, None], 0, -1)
        known = Starts(here, 1.0 / knows.pull, 1.0)
        left = known.eliminated(knows.coordinates, here, np.zeros_like(predicted[-1]), by_start, slopes).slopes
        return np.asarray(np.tensordot(left, left, axes=((0, 1), (0, 1))) / knows.noise)

    def _moved(self, here: Array) -> tuple[list[tuple[Array, Array]], Array]:
        """Coordinates and starts of what is to be predicted from ``here`` [N, S]: each parameter a little less and a little more,
        by the widths [n], each state a little more, and nothing moved."""
        knows = self._knows
        pairs, widths = [], np.zeros(len(knows.sought))
        for place in range(len(knows.sought)):
            for side in (-1.0, 1.0):
                near = knows.coordinates.copy()
                near[place] = np.clip(near[place] + side * DIFFERENCE, -1.0, 1.0)
                widths[place] += side * near[place]
                pairs.append((near, here))
        beside = [(knows.coordinates, here + step) for step in np.diag(NEARBY * knows.scale)]
        return [*pairs, *beside, (knows.coordinates, here)], widths

    def _predicted(self, moved: list[tuple[Array, Array]], before: Array, given: Array, actions: Array) -> Array:
        """Predictions [C, N, K, S] of each of ``moved``."""
        count, size = len(moved), len(before)
        whole = np.tile(before, (count, 1, 1))
        whole[:, -1] = np.concatenate([starts for _, starts in moved])
        parameters, of = [self._parameters(coordinates) for coordinates, _ in moved], np.repeat(np.arange(count), size)
        found = self._many.predict(parameters, of, whole, np.tile(given, (count, 1, 1)), np.tile(actions, (count, 1, 1)))
        return found.reshape(count, size, *found.shape[1:])

    def _allowed(self, states: Array) -> bool:
        joints = len(self._spec.joints)
        for index, joint in enumerate(self._spec.joints):
            if joint.position is not None and not (
                joint.position[0] <= states[:, index].min() and states[:, index].max() <= joint.position[1]
            ):
                return False
            if joint.velocity is not None and np.abs(states[:, joints + index]).max() > joint.velocity:
                return False
        return True

    def recording(self, commands: Array, seed: int) -> Recording:
        """The experiment as a log would hold it, with the states that are expected."""
        states = self.followed(commands)
        joints = len(self._spec.joints)
        times = np.asarray(np.arange(len(commands)) * self._spec.control.period, np.float64)
        meta = {"id": f"{self._spec.name}-design-{seed}", "seed": seed, "simulated": True, "designed": True}
        return Recording(times, states[:, :joints], states[:, joints:], np.zeros((len(times), joints)), times, commands, meta)
