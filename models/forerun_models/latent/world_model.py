"""Dreamer's world model: encoder, RSSM, decoder, and heads for reward and continuation, with its loss."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from forerun_models.latent.blocks import initialise, network
from forerun_models.latent.codecs import ImageDecoder, ImageEncoder, VectorDecoder, VectorEncoder
from forerun_models.latent.latents import CategoricalLatent, GaussianLatent, Latent
from forerun_models.latent.rssm import RSSM, Filtered, State
from forerun_models.latent.settings import LatentSettings
from forerun_models.latent.twohot import TwoHot


class Sequences(NamedTuple):
    """Runs of observations, N of length L.

    Attributes:
        observation: [N, L, *shape], float32, or uint8 pictures.
        action: [N, L, A], what led to each observation.
        reward: [N, L], what came with it.
        terminated: bool [N, L], whether the episode ended with it.
        first: bool [N, L], whether an episode (or the run) begins with it: then its action and reward mean nothing.
    """

    observation: Tensor
    action: Tensor
    reward: Tensor
    terminated: Tensor
    first: Tensor


class WorldModel(nn.Module):
    """What follows an action, in latent states.

    Args:
        observation: shape of one, [O] or [H, W, C].
        actions: A.
        settings: sizes and losses.
        generator: draws the weights.

    Raises:
        InputError: pictures of a size that cannot be halved down.
    """

    def __init__(self, observation: tuple[int, ...], actions: int, settings: LatentSettings, generator: torch.Generator):
        super().__init__()
        self.settings = settings
        latent = _latent(settings)
        hidden, layers = settings.hidden, settings.layers
        self.encoder: ImageEncoder | VectorEncoder
        self.decoder: ImageDecoder | VectorDecoder
        features = settings.deter + latent.size
        if len(observation) == 3:
            self.encoder = ImageEncoder(observation, settings.channels)
            self.decoder = ImageDecoder(features, observation, settings.channels, settings.decoder_std)
        else:
            (size,) = observation
            self.encoder = VectorEncoder(size, hidden, layers, settings.symlog)
            self.decoder = VectorDecoder(features, size, hidden, layers, settings.symlog, settings.decoder_std)
        self.rssm = RSSM(latent, self.encoder.size, actions, settings.deter, hidden)
        self.twohot = TwoHot(settings.bins, settings.span)
        self.reward_head = network(features, hidden, layers, settings.bins)
        self.continue_head = network(features, hidden, layers, 1)
        last = self.reward_head[-1]
        assert isinstance(last, nn.Linear)
        initialise(self, generator, silent=[last])

    @property
    def features(self) -> int:
        """Size of ``State.features``."""
        return self.rssm.features

    def observe(self, runs: Sequences, generator: torch.Generator) -> Filtered:
        """The latent states of ``runs``, drawn from the posterior."""
        noise = self.rssm.latent.noise(tuple(runs.first.shape), generator)
        return self.rssm.observe(self.encoder(runs.observation), runs.action, runs.first, noise)

    def reward(self, features: Tensor) -> Tensor:
        """The reward [...] that came with states of ``features`` [..., F]."""
        return self.twohot.decode(self.reward_head(features))

    def continues(self, features: Tensor) -> Tensor:
        """Probability [...] that the episode goes on after states of ``features`` [..., F]."""
        return torch.sigmoid(self.continue_head(features)[..., 0])

    def loss(self, runs: Sequences, filtered: Filtered) -> tuple[Tensor, dict[str, Tensor]]:
        """The loss of ``runs``, and its terms by name, each the mean over all steps in nats, before scales and free nats."""
        settings, latent, features = self.settings, self.rssm.latent, filtered.states.features
        follows = (~runs.first).to(features.dtype)
        dynamics = latent.kl(filtered.posterior.detach(), filtered.prior)
        representation = latent.kl(filtered.posterior, filtered.prior.detach())
        observation = -self.decoder.log_prob(features, runs.observation)
        reward = self.twohot.loss(self.reward_head(features), runs.reward) * follows
        goes_on = nn.functional.binary_cross_entropy_with_logits(
            self.continue_head(features)[..., 0], (~runs.terminated).to(features.dtype), reduction="none"
        )
        free = settings.free_nats
        total = (
            observation
            + settings.reward_scale * reward
            + settings.continue_scale * goes_on
            + settings.dynamics_scale * dynamics.clamp_min(free)
            + settings.representation_scale * representation.clamp_min(free)
        ).mean()
        terms = {"observation": observation, "reward": reward, "continue": goes_on, "kl": dynamics}
        return total, {name: term.detach().mean() for name, term in terms.items()}

    def elbo(self, runs: Sequences, filtered: Filtered) -> Tensor:
        """Lower bound [N] of the log-likelihood of each run's observations, in nats: one draw of

        sum over t of log p(o_t | h_t, z_t) - KL(q(z_t | h_t, o_t) || p(z_t | h_t)).
        """
        likelihood = self.decoder.log_prob(filtered.states.features, runs.observation)
        return (likelihood - self.rssm.latent.kl(filtered.posterior, filtered.prior)).sum(1)

    def predict(self, state: State, actions: Tensor, generator: torch.Generator) -> Tensor:
        """Observations [N, H, *shape] expected after ``actions`` [N, H, A] from states [N, ...], open loop, along one draw."""
        noise = self.rssm.latent.noise(tuple(actions.shape[:2]), generator)
        states, _ = self.rssm.imagine(state, lambda _, step: actions[:, step], noise)
        return self.decoder(states.features[:, 1:])  # type: ignore[no-any-return]


def _latent(settings: LatentSettings) -> Latent:
    if settings.latent == "gaussian":
        return GaussianLatent(settings.groups, settings.min_std)
    return CategoricalLatent(settings.groups, settings.classes, settings.unimix)
