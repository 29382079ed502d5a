"""Planning in a learned model (PETS, Chua et al. 2018, with iCEM): the agent that needs the fewest steps of its environment.

    repeat: plan from the observation in the model; do the first action; every few steps, fit the model to all that was seen

The planner is the one of the robots' bundles, over observations instead of states; where commands act late, with the last
``commands`` behind them. Where the settings have a ``value``, what can
still be earned after a plan's end is learned too, and a policy whose sequences the planner tries (``agents/terminal_value.py``);
plans can then be short.
"""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor

from forerun_models.agents.advice import no_value, one_model, rollouts_too_long, told
from forerun_models.agents.base import Action, Actor, Agent, EnvSpec, Observation, Step
from forerun_models.agents.buffer import Buffer
from forerun_models.agents.commands import Commands
from forerun_models.agents.environment_model import EnvironmentModel, EnvironmentSettings
from forerun_models.agents.known_rewards import Choice, reward_for
from forerun_models.agents.model_fit import fit
from forerun_models.agents.planned_value import PlannedValue, PlannedValueSettings
from forerun_models.agents.terminal_value import TerminalValue, ValueSettings
from forerun_models.planners.decide import Decider
from forerun_models.planners.particles import Propagation
from forerun_models.planners.problem import Problem
from forerun_models.planners.sampling import SamplingPlanner
from forerun_models.planners.vectors import VectorRollout
from forerun_models.recipe import Count, Planner
from forerun_sim.spec import Strict

_PROPAGATION: dict[str, Propagation] = {"ts1": "switch", "tsinf": "stay", "mean": "mean", "worst": "stay"}


class MpcSettings(Strict):
    """``reward``: ``known`` takes the environment's own reward (``agents/known_rewards.py``), ``learned`` learns it, ``auto``
    takes the known one where there is one. The first ``warmup`` steps are random, each action held for ``hold`` steps; from then
    on the model is fitted to the newest ``capacity`` ones every ``train_every`` steps, later on when the share ``growth`` has
    been added since the last fit. ``curiosity`` rewards plans, while learning, by the members' disagreement at each step.
    ``value``, if given, learns what can still be earned after a plan: with ``kind: plans`` from plans (``planned_value``), else
    by soft actor-critic, beside a policy whose sequences are ``planner.policy_samples``. Plans discount as it does. The last
    ``commands`` are shown to the model beside each observation, not to the value."""

    model: EnvironmentSettings = EnvironmentSettings()
    planner: Planner = Planner(horizon=30, samples=64, elites=8, std=0.8, keep=0.5)
    reward: Choice = "auto"
    warmup: Count = 200
    hold: Count = 4
    train_every: Count = 200
    growth: Annotated[float, Field(ge=0)] = 0.0
    capacity: Count = 200_000
    commands: Annotated[int, Field(ge=0)] = 0
    curiosity: Annotated[float, Field(ge=0)] = 0.0
    value: PlannedValueSettings | ValueSettings | None = None

    @model_validator(mode="after")
    def _plans_by_sampling(self) -> MpcSettings:
        if self.planner.kind in ("ilqr", "trajectory"):
            raise ValueError(f"planner.kind '{self.planner.kind}' plans for robots alone; choose icem, cem, mppi or random")
        if self.planner.policy_samples and not isinstance(self.value, ValueSettings):
            raise ValueError(
                "planner.policy_samples come from a policy, which is learned beside a value without 'kind': add 'value: {}'"
            )
        return self


class MpcAgent(Agent):
    """Plans at every step in the model of ``EnvironmentModel``.

    Raises:
        InputError: ``reward`` is ``known`` where no reward is.
    """

    Settings = MpcSettings

    def __init__(self, env: EnvSpec, settings: MpcSettings, seed: int, device: str = "cpu") -> None:
        super().__init__(env, settings, seed, device)
        self.settings: MpcSettings = settings
        size = env.observation_shape[0]
        self.commands = Commands(size, env.action_size, settings.commands)
        wide = self.commands.size
        self.model = EnvironmentModel(wide, env.action_size, settings.model, seed, reward_for(env.id, settings.reward))
        self.buffer = Buffer(settings.capacity, (wide,), np.float32, env.action_size)
        self.generator = torch.Generator().manual_seed(seed)
        self.value: TerminalValue | PlannedValue | None = None
        if isinstance(settings.value, PlannedValueSettings):
            self.value = PlannedValue(size, env.action_size, settings.value, seed)
        elif settings.value is not None:
            self.value = TerminalValue(size, env.action_size, settings.value, seed)
        self._steps, self._next_fit = 0, settings.warmup
        self._error = 0.0
        self._planners: dict[bool, SamplingPlanner] = {}

    def actor(self, explore: bool) -> Actor:
        return MpcActor(self, explore)

    def planner(self, explore: bool) -> SamplingPlanner | None:
        """The planner in the newest model; None before the first fit."""
        if not self.model.fitted:
            return None
        if explore not in self._planners:
            self._planners[explore] = self._make_planner(self.settings.curiosity if explore else 0.0)
        return self._planners[explore]

    def _make_planner(self, curiosity: float) -> SamplingPlanner:
        model, settings, size, value = self.model, self.settings.planner, self.env.action_size, self.value
        changes = {"disagreement_weight": settings.disagreement_weight - curiosity}
        if value is not None:
            changes["discount"] = value.settings.discount
        settings = settings.model_copy(update=changes)
        rollout = VectorRollout(model.dynamics, settings.members, _PROPAGATION[settings.ensemble], settings.aleatoric)
        limits = torch.ones(size)
        problem = Problem(
            reward=_unused,
            done=self._done if model.ends else None,
            lower=-limits,
            upper=limits,
            slew=limits * torch.inf,
            continuous=torch.zeros(0, dtype=torch.bool),
            state_std=model.dynamics.features.state_std,
            goal_size=0,
            period=self.period,
            plain=True,
            value=None if value is None else value.value,
            policy=None if value is None else value.policy,
            transition=self._reward,
        )
        return SamplingPlanner(rollout, problem, settings).eval()

    @property
    def period(self) -> float:
        """Seconds a step; 1 where the environment does not say."""
        return self.env.period or 1.0

    def _reward(self, before: Tensor, action: Tensor, after: Tensor) -> Tensor:
        if self.model.known_reward is not None:
            return self.model.known_reward(before, action, after)
        wide = [tensor.expand(*after.shape[:-1], -1).transpose(0, 1) for tensor in (before, action, after)]
        expected = self.model.rewards(*(tensor.flatten(1, 2) for tensor in wide))
        return expected.reshape(len(expected), after.shape[0], after.shape[2]).transpose(0, 1)

    def _done(self, after: Tensor) -> Tensor:
        ended = self.model.endings(after.transpose(0, 1).flatten(1, 2))
        return ended.reshape(len(ended), after.shape[0], after.shape[2]).transpose(0, 1)

    def observe(self, step: Step) -> None:
        shown = self._shown(step.observation)
        self.buffer.add(step._replace(observation=shown, following=self.commands.then(shown, step.action, step.following)))

    def _shown(self, observation: Observation) -> Observation:
        """``observation`` with the commands given before it in its episode."""
        if len(self.buffer):
            last = self.buffer.rows(np.array([len(self.buffer) - 1]))
            following: Observation = last["following"][0]
            ended = last["terminated"][0] or last["truncated"][0]
            if not ended and np.array_equal(following[: self.commands.observations], observation):
                return following
        return self.commands.first(observation)

    def update(self) -> dict[str, float]:
        self._steps += 1
        settings, value = self.settings, self.value
        metrics: dict[str, float] = {}
        if self._steps >= self._next_fit:
            self._next_fit = self._steps + max(settings.train_every, round(settings.growth * self._steps))
            self._planners = {}
            metrics = fit(self.model, self.buffer.all(), self.generator)
            self._error = metrics["model_error"]
            metrics |= {} if value is None else value.imagine(self.model, self.buffer, self._steps)
        if value is not None and self.model.fitted:
            metrics |= value.update(self.model, self.buffer, self._steps)
        return metrics

    def advice(self) -> list[str]:
        horizon = self.settings.planner.horizon
        return told(
            one_model(self.settings.planner.members or self.settings.model.elites, "model.members"),
            no_value(horizon, self.env.horizon, self.value is not None, "planner.horizon"),
            rollouts_too_long(horizon, self._error, "planner.horizon"),
        )

    def state_dict(self) -> dict[str, Any]:
        return {
            "model": self.model.state_dict(),
            "value": None if self.value is None else self.value.state_dict(),
            "buffer": self.buffer.state_dict(),
            "generator": self.generator.get_state(),
            "steps": self._steps,
            "next_fit": self._next_fit,
            "error": self._error,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state["model"])
        if self.value is not None:
            self.value.load_state_dict(state["value"])
        self.buffer.load_state_dict(state["buffer"])
        self.generator.set_state(state["generator"])
        self._steps, self._next_fit, self._error = state["steps"], state["next_fit"], state["error"]
        self._planners = {}


class MpcActor(Actor):
    """Plans at every step, each plan starting from the last one; before there is a model, holds random actions for a while."""

    def __init__(self, agent: MpcAgent, explore: bool) -> None:
        self._agent, self._explore = agent, explore
        self.reset(0)

    def reset(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._decider: Decider | None = None
        self._held = np.zeros(self._agent.env.action_size, np.float32)
        self._left = 0
        self._seed = seed
        self._before: tuple[Observation, Action] | None = None

    def act(self, observation: Observation) -> Action:
        commands = self._agent.commands
        shown = commands.first(observation) if self._before is None else commands.then(*self._before, observation)
        action = self._decided(shown)
        self._before = shown, action
        return action

    def _decided(self, shown: Observation) -> Action:
        planner = self._agent.planner(self._explore)
        if planner is None:
            return self._random_action()
        first = self._decider is None
        if self._decider is None:
            self._decider = Decider(planner, self._seed)
        self._decider.planner = planner
        history = np.concatenate([shown, np.zeros(self._agent.env.action_size, np.float32)])
        decision = self._decider.decide(history[None], np.zeros(0, np.float32), 0.0 if first else self._agent.period)
        action: Action = decision.plan[0].copy()
        return action

    def _random_action(self) -> Action:
        if self._left == 0:
            self._held = self._random.uniform(-1, 1, len(self._held)).astype(np.float32)
            self._left = self._agent.settings.hold
        self._left -= 1
        return self._held


def _unused(*_: Any) -> Tensor:
    raise AssertionError("the reward of the whole step counts")
