"""What can still be earned after a plan's end, learned from plans alone (POLO, Lowrey et al. 2019: plan online, learn offline).

Fitted value iteration in the planner's own model: at states s that were seen, or that a few random actions lead to,

    y(s) = max over sequences u_0 .. u_{L-1} of  sum over t < L of gamma^t r_t  +  gamma^L V'(s_L)
    V    : least squares to y

The sequences are drawn as the planner draws its own, once more around the best of them, and the one that was really taken from s
on, which a longer plan had chosen, is among them. V' is a slow copy of V, and y keeps to what the rewards seen can sum up to.

Beside soft actor-critic (``terminal_value``): no policy has to be good before values are right, and no lesser of two critics
makes them too low. A difference d between critics costs up to d / (1 - gamma) there, as each target takes it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from forerun_models.agents.buffer import Buffer
from forerun_models.agents.environment_model import EnvironmentModel
from forerun_models.agents.sac.stack import Stack
from forerun_models.planners.colour import colouring
from forerun_models.planners.networks import FAR, Networks, reordered
from forerun_models.recipe import Count, Fraction, Positive
from forerun_sim.spec import Strict

_BEST, _NEAR = 3, 0.4
"""The second sequences lie around the mean of so many of the first, with this share of their noise."""


class PlannedValueSettings(Strict):
    """Every ``every`` steps of the environment, each of ``states`` is given what the best plan of ``length`` steps earns there:
    of ``sequences`` (noise of ``std``, its spectrum falling with ``colour``) and half as many around the best of them. The newest
    ``keep`` times are learned from, in ``updates_per_step`` updates of ``batch`` states for each step. ``members`` networks of
    ``hidden`` units, their layers normalised, give their mean; ``target_rate`` is the share that flows into their slow copies at
    every update.

    Half of the states are seen ones, and half lie up to ``length`` steps of chance away from them. Of the seen ones, ``mixed``
    (a share) are made of the numbers of two, which covers combinations (of a posture and a target, say) that no episode had."""

    kind: Literal["plans"]
    hidden: tuple[Count, ...] = Field(default=(64, 64), min_length=1)
    members: Count = 3
    batch: Count = 256
    learning_rate: Positive = 2e-3
    discount: Fraction = 0.99
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.1
    updates_per_step: Count = 3
    every: Count = 25
    keep: Count = 3
    states: Count = 500
    sequences: Count = 12
    length: Count = 15
    colour: Annotated[float, Field(ge=0)] = 2.0
    std: Positive = 1.2
    mixed: Annotated[float, Field(ge=0, le=1)] = 0.5


class PlannedValue:
    """The value of an agent that plans, that of its newest update; it has no policy.

    Args:
        observations: O; what a model and a buffer have behind them is not seen.
        actions: A.
        settings: how it learns.
        seed: of weights, states and sequences.
    """

    policy = None

    def __init__(self, observations: int, actions: int, settings: PlannedValueSettings, seed: int) -> None:
        self.settings, self.observations, self.actions = settings, observations, actions
        self._numbers = np.random.default_rng(seed)
        self._draws = torch.Generator().manual_seed(seed)
        sizes = observations, *settings.hidden, 1
        self.critics = Stack(settings.members, sizes, self._draws, normalised=True)
        self.targets = Stack(settings.members, sizes, self._draws, normalised=True)
        self.targets.parameters.copy_(self.critics.parameters)
        self._optimizer = torch.optim.Adam([self.critics.parameters], settings.learning_rate, fused=True)
        self._colour = torch.from_numpy(colouring(settings.length, settings.colour)).float()
        self.shift, self.scale = torch.zeros(observations), torch.ones(observations)
        self.possible = (0.0, 0.0)
        self._taught: list[tuple[Tensor, Tensor]] = []
        self._updates = 0

    def value(self, observation: Tensor, goal: Tensor | None = None) -> Tensor:
        """What can still be earned [...] from ``observation`` [..., O]; a goal is part of it."""
        return self._value(self.critics, observation)

    @torch.no_grad()
    def _value(self, networks: Stack, observation: Tensor) -> Tensor:
        rows = self._seen(observation.reshape(-1, observation.shape[-1]))
        every = networks.forward(rows.expand(networks.members, *rows.shape))[0][..., 0]
        values = every.mean(dim=0) * self.worth
        return values.clamp(*self.possible).reshape(observation.shape[:-1])

    def _seen(self, observation: Tensor) -> Tensor:
        return ((observation[..., : self.observations] - self.shift) / self.scale).clamp(-FAR, FAR)

    def networks(self, order: Sequence[int] = (), turning: Sequence[int] = ()) -> Networks:
        """The value as it is now, as modules for a robot's planner.

        Args:
            order: [O] which number of an observation is each number that the planner shows; the same ones in the same places if
                absent.
            turning: as ``Networks`` takes it.
        """
        order = order or range(self.observations)
        critics = [reordered(self.critics.module(member), order) for member in range(self.critics.members)]
        made = Networks(None, critics, turning)
        made.shift, made.scale = self.shift[list(order)], self.scale[list(order)]
        made.worth, made.possible = torch.tensor(self.worth), torch.tensor(self.possible)
        return made.eval()

    def imagine(self, model: EnvironmentModel, buffer: Buffer, steps: int) -> dict[str, float]:
        """Takes units and bounds from all that was seen, when ``model`` has been fitted to it."""
        seen = buffer.all()
        observation = torch.from_numpy(seen["observation"])[:, : self.observations]
        self.shift = observation.median(dim=0).values
        self.scale = (1.25 * (observation - self.shift).abs().mean(dim=0)).clamp_min(1e-3)
        self._count(torch.from_numpy(seen["reward"]))
        return {}

    def _count(self, rewards: Tensor) -> None:
        """Widens what is possible to what such ``rewards`` can sum up to."""
        lasting = 1.0 / (1.0 - self.settings.discount)
        least, most = float(rewards.min()) * lasting, float(rewards.max()) * lasting
        self.possible = min(least, self.possible[0]), max(most, self.possible[1])

    @property
    def worth(self) -> float:
        """What a network's 1 stands for."""
        return max(self.possible[1] - self.possible[0], 1e-3) / 2

    def update(self, model: EnvironmentModel, buffer: Buffer, steps: int) -> dict[str, float]:
        """Makes the updates that are due after so many ``steps``, with plans in ``model``; metrics, often none."""
        settings, loss = self.settings, 0.0
        due = settings.every * settings.updates_per_step
        while self._updates < steps * settings.updates_per_step:
            if self._updates % due == 0 or not self._taught:
                self._taught = [*self._taught, self.plan(model, buffer)][-settings.keep :]
            loss = self._learn()
            self._updates += 1
        return {"loss/value": loss} if self._updates % due == 0 else {}

    @torch.no_grad()
    def _learn(self) -> float:
        settings = self.settings
        states, wanted = self._taught[int(self._numbers.integers(len(self._taught)))]
        rows = torch.from_numpy(self._numbers.integers(len(states), size=(settings.members, settings.batch)))
        values, given = self.critics.forward(self._seen(states[rows]))
        error = values - wanted[rows][..., None] / self.worth
        self.critics.backward(error / settings.batch, given)
        self._optimizer.step()
        self.targets.parameters.lerp_(self.critics.parameters, settings.target_rate)
        return float(error.square().mean())

    @torch.no_grad()
    def plan(self, model: EnvironmentModel, buffer: Buffer) -> tuple[Tensor, Tensor]:
        """States [N, O], about ``settings.states`` of them, and what the best plans found there are worth [N]."""
        settings, members = self.settings, model.dynamics.members
        count = -(-settings.states // (2 * members)) * members
        states, taken = self._really(buffer, count)
        mixed = round(settings.mixed * count)
        if mixed:
            other = torch.from_numpy(buffer.sample(mixed, self._numbers)["observation"])
            chosen = torch.rand(other.shape, generator=self._draws) < 0.5
            states[:mixed] = torch.where(chosen, other, states[:mixed])
        # Half of them are where chance leads to from there, so that plans that go astray meet values that say so.
        wander = self._sequences(count, 1)
        path = self._follow(model, states, wander)[0][:, :, 0]
        where = torch.from_numpy(self._numbers.integers(settings.length, size=count))
        states = torch.cat([states, path[where, torch.arange(count)]])
        first = self._sequences(2 * count, settings.sequences)
        first[:, :count, 0] = taken
        order = torch.randperm(2 * count, generator=self._draws)  # each member meets states of both kinds
        states, first = states[order], first[:, order]
        returns = self._returns(model, states, first)
        best = returns.topk(min(_BEST, settings.sequences), dim=1).indices
        mean = first.gather(2, best[None, :, :, None].expand(settings.length, -1, -1, self.actions)).mean(dim=2, keepdim=True)
        second = (mean + _NEAR * self._sequences(2 * count, settings.sequences // 2)).clamp(-1.0, 1.0)
        returns = torch.cat([returns, self._returns(model, states, second)], dim=1)
        return states, returns.amax(dim=1).clamp(*self.possible)

    def _really(self, buffer: Buffer, count: int) -> tuple[Tensor, Tensor]:
        """States [N, O] that were seen and what was done from there on [L, N, A]."""
        length = min(self.settings.length, len(buffer))
        runs = buffer.sample_sequences(count, length, self._numbers, across=True)
        taken = torch.from_numpy(runs["action"]).transpose(0, 1)
        missing = self.settings.length - length
        return torch.from_numpy(runs["observation"][:, 0]), torch.cat([taken, taken[-1:].expand(missing, -1, -1)])

    def _sequences(self, count: int, each: int) -> Tensor:
        """Coloured noise [L, N, K, A]."""
        length = self.settings.length
        white = torch.randn(length, count * each * self.actions, generator=self._draws)
        return (self.settings.std * (self._colour @ white)).clamp_(-1.0, 1.0).reshape(length, count, each, self.actions)

    def _follow(self, model: EnvironmentModel, states: Tensor, sequences: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """States reached [L, N, K, O], rewards and whether it ended before [L, N, K] of ``sequences`` [L, N, K, A] from
        ``states`` [N, O]; one member tells all that follows from a state, the best one what is earned."""
        length, count, each = sequences.shape[:3]
        members = model.dynamics.members
        now = states[:, None].expand(-1, each, -1).reshape(members, -1, states.shape[-1])
        reached, earned, over = [], [], []
        ended = torch.zeros(now.shape[:2], dtype=torch.bool)
        for action in sequences.reshape(length, members, -1, self.actions):
            following = model.dynamics.step([now], [action])[0]
            step = (tensor.flatten(0, 1)[None] for tensor in (now, action, following))
            earned.append(torch.where(ended, 0.0, model.rewards(*step).reshape(ended.shape)))
            ended = ended | model.endings(following.flatten(0, 1)[None]).reshape(ended.shape)
            reached.append(following)
            over.append(ended)
            now = following
        shape = length, count, each
        return torch.stack(reached).reshape(*shape, -1), torch.stack(earned).reshape(shape), torch.stack(over).reshape(shape)

    def _returns(self, model: EnvironmentModel, states: Tensor, sequences: Tensor) -> Tensor:
        """[N, K] what ``sequences`` earn, and what is left after them."""
        reached, earned, over = self._follow(model, states, sequences)
        if model.known_reward is not None:
            # What was never earned yet can be found in the model: a goal that no episode has reached.
            self._count(torch.nan_to_num(earned, 0.0, 0.0, 0.0))
        discount, length = self.settings.discount, self.settings.length
        left = torch.where(over[-1], 0.0, self._value(self.targets, reached[-1]))
        weights = discount ** torch.arange(length, dtype=torch.float32)
        returns = torch.einsum("l,lnk->nk", weights, earned) + discount**length * left
        return torch.where(returns.abs() < math.inf, returns, -math.inf)

    def state_dict(self) -> dict[str, Any]:
        """All that decides what it learns from here on."""
        return {
            "critics": self.critics.parameters,
            "targets": self.targets.parameters,
            "optimizer": self._optimizer.state_dict(),
            "numbers": self._numbers.bit_generator.state,
            "draws": self._draws.get_state(),
            "shift": self.shift,
            "scale": self.scale,
            "possible": self.possible,
            "taught": [list(pair) for pair in self._taught],
            "updates": self._updates,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The counterpart of ``state_dict``."""
        self.critics.parameters.copy_(state["critics"])
        self.targets.parameters.copy_(state["targets"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._numbers.bit_generator.state = state["numbers"]
        self._draws.set_state(state["draws"])
        self.shift, self.scale, self.possible = state["shift"], state["scale"], tuple(state["possible"])
        self._taught = [(states, wanted) for states, wanted in state["taught"]]
        self._updates = state["updates"]
