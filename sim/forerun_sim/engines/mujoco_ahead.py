"""What a robot in MuJoCo will do under many sequences of commands at once: a planner's model that is the simulator itself.

Commands of effort interfaces reach the joints through a delay and a first-order lag, which are linear: the mean effort in a
physics step is a sum of the commands, each weighted by how much of its own step response falls into it. MuJoCo then takes all
sequences as one batch. Robots whose efforts depend on the joints' states (servos, play, torque-speed curves) are refused.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from forerun_sim.engines.mujoco_world import MujocoWorld
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec

Array = NDArray[np.float64]


class Ahead:
    """Futures of ``spec``'s robot in ``engine``.

    Args:
        spec: the robot, all driven joints commanded by effort.
        engine: ``mujoco`` (its foreign plant) or ``mujoco_urdf``.
        parameters: values other than the engine's nominal ones, named as in ``Plant.parameters``.
        steps: physics steps in a control period, fewer than the plant's own for speed.

    Raises:
        InputError: no such engine or parameter, or efforts that depend on the joints' states.
    """

    def __init__(
        self, spec: RobotSpec, engine: str = "mujoco", parameters: Mapping[str, float] | None = None, steps: int = 2
    ) -> None:
        plant = Plant(spec, engine=engine, randomize=False)
        plant.reset(parameters=parameters or {})
        world = plant.engine
        if not isinstance(world, MujocoWorld) or plant.actuators.newest:
            raise InputError(f"robot '{spec.name}' in engine {engine}: futures need MuJoCo and joints commanded by effort alone")
        known = plant.parameters
        self._delay = known["delay"]
        self._lags = [known[f"lag.{name}"] for name in spec.action_names]
        self._strength = np.array([known[f"strength.{name}"] for name in spec.action_names])
        self._period, self._steps = spec.control.period, steps
        self._world = world
        world.slow(self._period / steps)
        self._dofs = [world.dof(name) for name in spec.action_names]
        self._weights: dict[tuple[int, int], list[Array]] = {}

    def futures(self, state: Array, given: Array, commands: Array) -> Array:
        """Where the robot will be.

        Args:
            state: [S] now.
            given: [P, A] commands of the last P control periods, oldest first; what was before them was the oldest.
            commands: [H, A, N] to come.

        Returns:
            [H, S, N].
        """
        horizon, _, count = commands.shape
        if (len(given), horizon) not in self._weights:
            self._weights[len(given), horizon] = [self._response(len(given), horizon, lag) for lag in self._lags]
        efforts = np.zeros((count, horizon * self._steps, self._world.size))
        for slot, weights in enumerate(self._weights[len(given), horizon]):
            past = np.repeat(given[:, slot : slot + 1], count, axis=1)
            told = np.concatenate([past, commands[:, slot]])
            efforts[:, :, self._dofs[slot]] = (self._strength[slot] * (weights @ told)).T
        states = self._world.rollout(state, efforts)
        return np.ascontiguousarray(states[:, self._steps - 1 :: self._steps].transpose(1, 2, 0))

    def _response(self, past: int, horizon: int, lag: float) -> Array:
        """Weights [H * steps, P + H] of the commands in the mean efforts of the physics steps to come."""
        edges = np.arange(horizon * self._steps + 1) / self._steps * self._period
        starts = (np.arange(past + horizon) - past) * self._period
        gone = edges[:, None] - starts
        weights = np.diff(_ramp(gone - self._delay, lag) - _ramp(gone - self._period - self._delay, lag), axis=0)
        weights /= self._period / self._steps
        weights[:, 0] += 1.0 - weights.sum(
            axis=1
        )  # the oldest command stands for all before it; a command not yet given for none
        return np.asarray(weights)


def _ramp(time: Array, lag: float) -> Array:
    """Integral of the step response 1 - exp(-t / lag) from 0 to ``time`` [s], 0 before."""
    since = np.maximum(time, 0.0)
    return since if lag <= 0 else since + lag * np.expm1(-since / lag)
