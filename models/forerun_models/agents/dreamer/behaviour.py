"""Dreamer's behaviour: actor and critic, learned in imagination alone (Hafner et al. 2023, section 'actor critic learning')."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor, nn

from forerun_models.agents.dreamer.policy import Choices, Numbers, Policy
from forerun_models.latent.blocks import initialise, network
from forerun_models.latent.returns import ReturnScale, lambda_returns
from forerun_models.latent.rssm import State
from forerun_models.latent.world_model import WorldModel
from forerun_sim.spec import Strict
from forerun_sim.spec.base import NonNegative, Positive

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class BehaviourSettings(Strict):
    """``starts`` latent states of a batch are gone on from for ``horizon`` imagined steps; ``mix`` is lambda of the returns.
    ``entropy`` is the actor's bonus a nat. The slow critic follows by ``slow_rate`` an update and holds the critic back with
    weight ``slow_weight``. ``hidden`` and ``layers`` of both networks."""

    horizon: Count = 15
    starts: Count = 256
    discount: Annotated[float, Field(gt=0, le=1)] = 0.99
    mix: Fraction = 0.95
    entropy: NonNegative = 3e-4
    slow_rate: Annotated[float, Field(gt=0, le=1)] = 0.02
    slow_weight: NonNegative = 1.0
    hidden: Count = 128
    layers: Count = 2
    actor_rate: Positive = 3e-4
    critic_rate: Positive = 3e-4
    gradient_norm: Positive = 100.0


class Behaviour:
    """Actor, critic and their optimizers.

    The actor's gradient: through the model where actions are numbers (the imagined return is differentiable in them), by the
    score function where they are choices.

    Args:
        model: in which to imagine; its weights are only read.
        law: the family of actions.
        settings: as above.
        generator: draws weights and all noise.
    """

    def __init__(self, model: WorldModel, law: Numbers | Choices, settings: BehaviourSettings, generator: torch.Generator):
        self.model, self.settings, self.generator = model, settings, generator
        sizes = (model.features, settings.hidden, settings.layers)
        self.policy = Policy(*sizes, law, generator).to(generator.device)
        self.critic, self.slow = (network(*sizes, model.twohot.bins).to(generator.device) for _ in range(2))
        last = self.critic[-1]
        assert isinstance(last, nn.Linear)
        initialise(self.critic, generator, silent=[last])
        self.slow.load_state_dict(self.critic.state_dict())
        self.actor_optimizer = torch.optim.Adam(self.policy.parameters(), settings.actor_rate, fused=True)
        self.critic_optimizer = torch.optim.Adam(self.critic.parameters(), settings.critic_rate, fused=True)
        self.scale = ReturnScale()

    def value(self, features: Tensor) -> Tensor:
        """Expected discounted return [...] from states of ``features`` [..., F] on."""
        return self.model.twohot.decode(self.critic(features))

    def learn(self, begin: State, alive: Tensor) -> dict[str, float]:
        """One update of actor and critic.

        Args:
            begin: states [N, ...] to go on from, without gradients.
            alive: [N], 0 where an episode has ended.
        """
        settings, law, model = self.settings, self.policy.law, self.model
        count, horizon = len(alive), settings.horizon
        noise = model.rssm.latent.noise((count, horizon), self.generator)
        action_noise = law.noise((count, horizon), self.generator)

        def act(state: State, step: int) -> Tensor:
            return law.sample(self.policy(state.features.detach()), action_noise[:, step])

        with torch.set_grad_enabled(isinstance(law, Numbers)):
            states, actions = model.rssm.imagine(begin, act, noise)
            features = states.features.transpose(0, 1)  # time first
            reward = model.reward(features[1:])
            discount = settings.discount * model.continues(features[1:])
            value = self.value(features)
            returns = lambda_returns(reward, discount, value, settings.mix)
        seen = features[:-1].detach()
        weight = torch.cumprod(torch.cat([alive[None], discount[:-1].detach()]), dim=0)
        scale = self.scale.update(returns)
        statistics = self.policy(seen)
        if isinstance(law, Choices):
            advantage = (returns - value[:-1]) / scale
            gain = law.log_prob(statistics, actions.transpose(0, 1)) * advantage
        else:
            gain = returns / scale
        entropy = law.entropy(statistics)
        actor_loss = -(weight * (gain + settings.entropy * entropy)).mean()
        self._step(self.actor_optimizer, actor_loss, list(self.policy.parameters()))

        logits, twohot = self.critic(seen), model.twohot
        with torch.no_grad():
            slow = twohot.decode(self.slow(seen))
        errors = twohot.loss(logits, returns.detach()) + settings.slow_weight * twohot.loss(logits, slow)
        critic_loss = (weight * errors).mean()
        self._step(self.critic_optimizer, critic_loss, list(self.critic.parameters()))
        with torch.no_grad():
            for mine, theirs in zip(self.slow.parameters(), self.critic.parameters(), strict=True):
                mine.lerp_(theirs, settings.slow_rate)
        return {
            "loss/critic": float(critic_loss.detach()),
            "entropy": float(entropy.detach().mean()),
            "imagined_return": float(returns.detach()[0].mean()),
        }

    def _step(self, optimizer: torch.optim.Optimizer, loss: Tensor, parameters: list[nn.Parameter]) -> None:
        """One step of ``parameters`` alone: the model's weights, through which the loss may go, get no gradients."""
        for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
            parameter.grad = gradient
        nn.utils.clip_grad_norm_(parameters, self.settings.gradient_norm)
        optimizer.step()

    def state_dict(self) -> dict[str, Any]:
        """Weights, optimizers and the returns' scale; the generator is the agent's."""
        return {
            "policy": self.policy.state_dict(),
            "critic": self.critic.state_dict(),
            "slow": self.slow.state_dict(),
            "actor_optimizer": self.actor_optimizer.state_dict(),
            "critic_optimizer": self.critic_optimizer.state_dict(),
            "scale": self.scale.state_dict(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The counterpart of ``state_dict``."""
        for name in ("policy", "critic", "slow", "actor_optimizer", "critic_optimizer", "scale"):
            getattr(self, name).load_state_dict(state[name])
