"""Soft actor-critic (Haarnoja et al. 2018, "Soft actor-critic algorithms and applications"), one update a call.

Maximised is the sum of discounted rewards and alpha times the policy's entropy. With policy pi, critics Q_1, Q_2 and their slow
copies T_1, T_2, an update takes a batch (s, a, r, s', d) and does, in this order,

    y       = r + gamma (1 - d) [min_i T_i(s', a') - alpha log pi(a'|s')],    a' ~ pi(s')
    critics:     least squares of Q_i(s, a) to y
    policy:      least  mean[alpha log pi(b|s) - min_i Q_i(s, b)],            b ~ pi(s)
                 and, where it is drawn to the data, c mean|min_i Q_i| mean[|b - a|^2] over real transitions
    temperature: alpha rises where the entropy -log pi(b|s) is below its target, and falls above
    targets:     T_i moves towards Q_i

d is a true termination: an episode that ran out of time is worth what would have followed. Derivatives are written out
(``Stack``, ``draw_gradient``), and tests hold them to automatic ones.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from forerun_models.agents.sac.gaussian import Draw, draw, draw_gradient
from forerun_models.agents.sac.settings import SacLearning
from forerun_models.agents.sac.stack import Stack

Batch = Mapping[str, Tensor]
"""``observation`` and ``following`` [N, O], ``action`` [N, A], ``reward``, ``terminated`` (0 or 1) and, where transitions count
differently, ``weight`` [N], where they are of several steps, ``discount`` [N] of what follows, and where some are imagined,
``real`` [N] (0 or 1); all float32 on the learner's device."""


class SacLearner:
    """Policy, twin critics, their targets and the temperature.

    Args:
        observation_size: O.
        action_size: A.
        settings: of learning.
        seed: of first weights and of the noise of updates.
        device: torch device.

    Attributes:
        possible: the least and the most that can still be earned; targets do not take the critics' word beyond it.
    """

    def __init__(self, observation_size: int, action_size: int, settings: SacLearning, seed: int, device: str = "cpu") -> None:
        self.settings, self.action_size = settings, action_size
        self.possible = (-math.inf, math.inf)
        self.device = torch.device(device)
        self.generator = torch.Generator(self.device).manual_seed(seed)
        hidden, pair = settings.hidden, observation_size + action_size
        self.policy = Stack(1, (observation_size, *hidden, 2 * action_size), self.generator)
        self.critics = Stack(2, (pair, *hidden, 1), self.generator)
        self.targets = Stack(2, (pair, *hidden, 1), self.generator)
        self.targets.parameters.copy_(self.critics.parameters)
        self.log_alpha = torch.tensor([settings.initial_temperature], device=self.device).log_()
        self.log_alpha.grad = torch.zeros_like(self.log_alpha)
        self.target_entropy = -float(action_size) if settings.target_entropy is None else settings.target_entropy
        rate = settings.learning_rate
        self._critic_optimizer = torch.optim.Adam([self.critics.parameters], rate, fused=True)
        self._actor_optimizer = torch.optim.Adam([self.policy.parameters, self.log_alpha], rate, fused=True)

    @torch.no_grad()
    def act(self, observation: Tensor, noise: Tensor | None) -> Tensor:
        """Actions [N, A] for ``observation`` [N, O]; the mode's (tanh of the mean) where ``noise`` [N, A] is None."""
        output = self.policy.forward(observation[None])[0][0]
        return torch.tanh(output[:, : self.action_size]) if noise is None else draw(output, noise).action

    @torch.no_grad()
    def update(self, batch: Batch, measure: bool = False) -> dict[str, float]:
        """One step of gradient descent of each part; where ``measure``, the losses, the temperature and the entropy [nats]."""
        observation, count = batch["observation"], len(batch["observation"])
        alpha = self.log_alpha.exp()
        # One pass of the policy serves both uses: its weights change only afterwards.
        both = torch.cat([batch["following"], observation])
        output, given = self.policy.forward(both[None])
        drawn = draw(output[0], torch.randn(len(both), self.action_size, generator=self.generator, device=self.device))

        wanted = self._wanted(batch, drawn.action[:count], drawn.log_density[:count], alpha)
        values, seen = self.critics.forward(_pairs(observation, batch["action"]))
        error = (values - wanted).div_(count)
        if "weight" in batch:
            error *= batch["weight"][:, None]
        self.critics.backward(error, seen)
        self._critic_optimizer.step()

        fresh = Draw(*(part[count:] for part in drawn))
        slope, least = self._least_value_gradient(observation, fresh.action)
        by_action = -slope / count
        if self.settings.cloning:
            real = batch["real"] if "real" in batch else torch.ones(count, device=self.device)
            share = self.settings.cloning * least.abs().mean() * real / real.sum().clamp(min=1.0)
            by_action += 2.0 * share[:, None] * (fresh.action - batch["action"])
        outward = draw_gradient(fresh, by_action, (alpha / count).expand(count, 1))
        self.policy.backward(outward[None], [rows[:, count:] for rows in given])
        density = fresh.log_density.mean()
        assert self.log_alpha.grad is not None
        self.log_alpha.grad.copy_(-(density + self.target_entropy))
        self._actor_optimizer.step()

        self.targets.parameters.lerp_(self.critics.parameters, self.settings.target_rate)
        if not measure:
            return {}
        return {
            "loss/critic": float(error.square().sum() * count / 2),
            "loss/actor": float(alpha * density - least.mean()),
            "temperature": float(alpha),
            "entropy": -float(density),
        }

    @torch.no_grad()
    def value(self, observation: Tensor, action: Tensor) -> Tensor:
        """The lesser critic's value [N] of ``action`` [N, A] at ``observation`` [N, O]."""
        return self.critics.forward(_pairs(observation, action))[0].amin(dim=0)[:, 0]

    def _wanted(self, batch: Batch, action: Tensor, density: Tensor, alpha: Tensor) -> Tensor:
        """y [N, 1]; ``action`` and its log ``density`` are the policy's at ``following``."""
        slow = self.targets.forward(_pairs(batch["following"], action))[0].amin(dim=0).clamp(*self.possible)
        discount = batch["discount"][:, None] if "discount" in batch else self.settings.discount
        goes_on = (1.0 - batch["terminated"])[:, None] * discount
        return torch.addcmul(batch["reward"][:, None], goes_on, slow - alpha * density)

    def _least_value_gradient(self, observation: Tensor, action: Tensor) -> tuple[Tensor, Tensor]:
        """Derivatives [N, A] of min_i Q_i by ``action``, and that minimum [N, 1]."""
        values, given = self.critics.forward(_pairs(observation, action))
        least, which = values.min(dim=0, keepdim=True)
        outward = torch.zeros_like(values).scatter_(0, which, 1.0)
        return self.critics.input_gradient(outward, given).sum(dim=0)[:, -self.action_size :], least[0]

    def state_dict(self) -> dict[str, Any]:
        """All that decides what it learns from here on."""
        return {
            "policy": self.policy.parameters,
            "critics": self.critics.parameters,
            "targets": self.targets.parameters,
            "log_alpha": self.log_alpha,
            "critic_optimizer": self._critic_optimizer.state_dict(),
            "actor_optimizer": self._actor_optimizer.state_dict(),
            "generator": self.generator.get_state(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The counterpart of ``state_dict``."""
        for name in ("policy", "critics", "targets"):
            getattr(self, name).parameters.copy_(state[name])
        self.log_alpha.copy_(state["log_alpha"])
        self._critic_optimizer.load_state_dict(state["critic_optimizer"])
        self._actor_optimizer.load_state_dict(state["actor_optimizer"])
        self.generator.set_state(state["generator"])


def _pairs(observation: Tensor, action: Tensor) -> Tensor:
    """[2, N, O + A], the same for both critics."""
    pair = torch.cat([observation, action], dim=1)
    return pair.expand(2, *pair.shape)
