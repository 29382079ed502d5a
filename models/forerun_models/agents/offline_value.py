"""A value and a policy for a robot's planner, learned in its trained model alone: soft actor-critic on imagined rollouts.

Nothing is tried on the robot. Rollouts begin in states of the trials, one member of the model each, and follow the policy for a
few steps; each transition counts with all that its rollout earns afterwards (``joined``).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from forerun_models.agents.mbpo.imagination import joined
from forerun_models.agents.sac.learner import SacLearner
from forerun_models.agents.sac.settings import SacLearning
from forerun_models.dynamics.model import WorldModel
from forerun_models.planners.networks import Networks, observed
from forerun_models.recipe import Recipe, ValueLearning
from forerun_models.training.windows import Windows
from forerun_sim.randomization import sample_goal
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction
from forerun_sim.trial import Trial

_KEPT = 2
"""Generations of rollouts that are learned from."""


def learn_value(model: WorldModel, robot: RobotSpec, recipe: Recipe, trials: Sequence[Trial], seed: int) -> Networks:
    """The networks that ``recipe.value`` asks for, for the recipe's task.

    Args:
        model: trained.
        robot: its robot.
        recipe: with ``value``.
        trials: in whose states rollouts begin.
        seed: of everything random.
    """
    settings = recipe.value
    assert settings is not None
    imagining = _Imagining(model, robot, recipe, settings, trials, seed)
    learner = imagining.learner
    generations: list[dict[str, Tensor]] = []
    for _ in range(settings.generations):
        generations = [*generations[1 - _KEPT :], imagining.rollouts()]
        columns = {name: torch.cat([one[name] for one in generations]) for name in generations[0]}
        for _ in range(-(-settings.updates // settings.generations)):
            rows = torch.randint(len(columns["reward"]), (settings.batch,), generator=imagining.draws)
            learner.update({name: column[rows] for name, column in columns.items()})
    critics = [learner.critics.module(member) for member in range(learner.critics.members)]
    networks = Networks(learner.policy.module(0), critics, imagining.turning)
    networks.shift, networks.scale, networks.worth = imagining.shift, imagining.scale, imagining.worth
    return networks.eval()


class _Imagining:
    """Rollouts of the learner's policy in the model's elites."""

    def __init__(
        self,
        model: WorldModel,
        robot: RobotSpec,
        recipe: Recipe,
        settings: ValueLearning,
        trials: Sequence[Trial],
        seed: int,
    ) -> None:
        self.model, self.settings = model.chosen(model.elites), settings
        self.task = TaskFunction(robot, recipe.task)
        self.turning = [number for number, joint in enumerate(robot.joints) if joint.type == "continuous"]
        lower, upper = (torch.as_tensor(limit, dtype=torch.float32) for limit in robot.action_limits(recipe.task))
        self.middle, self.half_range = 0.5 * (lower + upper), 0.5 * (upper - lower)
        self.windows = Windows(trials, model.features.history, 1)
        self.draws, self._seed, self._drawn = torch.Generator().manual_seed(seed), seed, 0
        seen = model.state_size + len(self.turning) + self.task.goal_size
        self.shift, self.scale, self.worth = torch.zeros(seen), torch.ones(seen), torch.ones(())
        learning = SacLearning(
            hidden=settings.hidden,
            batch=settings.batch,
            learning_rate=settings.learning_rate,
            discount=settings.discount,
            target_rate=settings.target_rate,
            initial_temperature=settings.temperature,
        )
        self.learner = SacLearner(seen, len(lower), learning, seed)
        self._standardise()

    def _standardise(self) -> None:
        """Takes the units of what is observed and earned from the first policy's rollouts: networks learn best near 1."""
        first = self.rollouts()
        spread = first["observation"].std(dim=0)
        self.shift, self.scale = first["observation"].mean(dim=0), torch.where(spread > 1e-6, spread, torch.ones_like(spread))
        self.worth = first["reward"].abs().mean().clamp(min=1e-6)

    @torch.no_grad()
    def rollouts(self) -> dict[str, Tensor]:
        """Transitions as the learner takes them, of rollouts of all members."""
        members, history = self.model.members, self.model.features.history
        count = -(-self.settings.rollouts // members)
        states, actions = self.windows.cut(torch.randint(len(self.windows), (members, count), generator=self.draws))
        memory = self.model.begin(states[:, :, :history].unbind(2), actions[:, :, : history - 1].unbind(2))
        state, before = states[:, :, history - 1], actions[:, :, history - 1]
        goal, alive = self._goals(members, count), torch.ones(members, count, dtype=torch.bool)
        start, steps = torch.arange(members * count).reshape(members, count), []
        for _ in range(self.settings.length):
            seen = self._seen(state, goal)
            noise = torch.randn(members * count, len(self.middle), generator=self.draws)
            action = self.learner.act(seen.flatten(0, 1), noise).reshape(members, count, -1)
            given = self.middle + self.half_range * action
            state, _, memory = self.model.advance(memory, given)
            reward = self.task.reward(torch, state, given, before, goal)
            alive = alive & torch.isfinite(reward)
            ended = self.task.done(torch, state)
            columns = (seen, action, reward / self.worth, self._seen(state, goal), ended.float(), start)
            steps.append([column[alive] for column in columns])
            alive, before = alive & ~ended, given
        names = ("observation", "action", "reward", "following", "terminated", "start")
        found = {name: torch.cat(column) for name, column in zip(names, zip(*steps, strict=True), strict=True)}
        return joined(found | {"weight": torch.ones(len(found["reward"]))}, found.pop("start"), self.settings.discount)

    def _seen(self, state: Tensor, goal: Tensor) -> Tensor:
        return (observed(state, goal, self.turning) - self.shift) / self.scale

    def _goals(self, members: int, count: int) -> Tensor:
        """One for each rollout [E, N, G]: drawn where the task says how goals vary, else its default."""
        drawn = [sample_goal(self.task.task, self._seed, self._drawn + number) for number in range(members * count)]
        self._drawn += members * count
        return torch.tensor(np.array(drawn, np.float32).reshape(members, count, self.task.goal_size))
