"""The planner of a bundle with a simulator in place of the learned model: the oracle, and what identification alone is worth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forerun_models.planners.decide import Decider
from forerun_models.planners.particles import ParticleRollout
from forerun_models.planners.problem import problem_of
from forerun_models.planners.sampling import SamplingPlanner
from forerun_models.recipe import Recipe
from forerun_sim.engines.mujoco_ahead import Ahead
from forerun_sim.plant import Plant, Reading
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction
from forerun_sim.trial import Trial

_MEMORY = 0.24
"""Seconds of commands that the drives are told: after that, delay and lag have forgotten."""


@dataclass(frozen=True)
class _Begun:
    """Sequences under way: ``newest`` states [1, 1, S, N], what they began with, and the actions ``given`` since [h, A, N]."""

    newest: Tensor
    states: Sequence[Tensor]
    past: Sequence[Tensor]
    given: Tensor


class SimulatorRollout(ParticleRollout):
    """A simulator as the model of a planner, in the state that is measured and with the drives as the last commands left them."""

    def __init__(self, ahead: Ahead, spec: RobotSpec):
        super().__init__(1, 1 + round(_MEMORY / spec.control.period), 2 * len(spec.joints), "stay", False)
        self._ahead, self._actions = ahead, spec.action_size

    def forward(self, states: Sequence[Tensor], past: Sequence[Tensor], actions: Tensor, noise: Tensor | None = None) -> Tensor:
        """See ``ParticleRollout``."""
        given = torch.stack(list(past)).double().numpy()
        found = self._ahead.futures(states[-1].double().numpy(), given, actions.double().numpy())
        return torch.from_numpy(found).float()[:, None]

    def begin(self, states: Sequence[Tensor], past: Sequence[Tensor], count: int) -> _Begun:
        """See ``ParticleRollout``."""
        newest = states[-1][None, None, :, None].expand(1, 1, -1, count)
        return _Begun(newest, states, past, newest.new_zeros(0, self._actions, count))

    def step(self, particles: _Begun, action: Tensor, kick: Tensor | None = None) -> tuple[Tensor, _Begun]:
        """See ``ParticleRollout``; a simulator takes sequences whole, so all is simulated from the beginning."""
        given = torch.cat([particles.given, action[:, 0]])
        following = self.forward(particles.states, particles.past, given)[-1:]
        return following, replace(particles, newest=following, given=given)


def simulator_planner(ahead: Ahead, spec: RobotSpec, recipe: Recipe) -> SamplingPlanner:
    """The planner of ``recipe``, its samples tried in ``ahead``."""
    problem = problem_of(spec, TaskFunction(spec, recipe.task), torch.ones(2 * len(spec.joints)))
    return SamplingPlanner(SimulatorRollout(ahead, spec), problem, recipe.planner).eval()


def play(planner: SamplingPlanner, plant: Plant, episode: int, seconds: float, seed: int, *, true: bool) -> Trial:
    """An episode of ``plant`` under ``planner``, which sees the ``true`` state or what the sensors report; as recorded, the trial
    has the latter."""
    spec, task = plant.spec, plant.task
    decider, rows = Decider(planner, seed), planner.rollout.history
    goal = np.zeros(0, np.float32) if task is None else np.asarray(task.goal.default, np.float32)
    period = spec.control.period
    reading: Reading | None = plant.reset(episode)
    states: list[Any] = []
    actions: list[Any] = []
    seen: list[Any] = []
    command = np.zeros(spec.action_size)
    for step in range(round(seconds / period)):
        if reading is not None:
            measured = np.concatenate([reading.position, reading.velocity])
        states.append(measured)
        seen.append(plant.true_state() if true else measured)
        past = [np.concatenate(pair) for pair in zip(seen[-rows:], [*actions, command][-rows:], strict=False)]
        history = np.stack([past[0]] * (rows - len(past)) + past)
        decision = decider.decide(history, goal, period if step else 0.0)
        command = decision.plan[0].astype(float)
        actions.append(command)
        reading = plant.step(command)
    source = f"{spec.name}-{plant.seed}-{episode}"
    return Trial(np.asarray(states, np.float32), np.asarray(actions, np.float32), period, spec.name, source=source)
