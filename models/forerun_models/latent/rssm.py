"""The recurrent state-space model (Hafner et al. 2019): what happened is remembered in h, what is uncertain is drawn as z.

h_t = f(h_{t-1}, z_{t-1}, a_{t-1})      deterministic path, a GRU
z_t ~ q(z | h_t, o_t)                   posterior, where the observation is known
z_t ~ p(z | h_t)                        prior, where it is to be predicted
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor, nn

from forerun_models.latent.blocks import GRUCell, Normed, network
from forerun_models.latent.latents import Latent


class State(NamedTuple):
    """Latent states: h [..., D] and z [..., Z]."""

    h: Tensor
    z: Tensor

    @property
    def features(self) -> Tensor:
        """[..., D + Z], what heads and policies see."""
        return torch.cat([self.h, self.z], dim=-1)


class Filtered(NamedTuple):
    """States [N, L, ...] that sequences led to, and the statistics [N, L, outputs] of posterior and prior at each."""

    states: State
    posterior: Tensor
    prior: Tensor


class RSSM(nn.Module):
    """Networks of the three lines above.

    Args:
        latent: the family of z.
        embedding: size of an encoded observation.
        actions: A.
        deter: D, size of h.
        hidden: units of hidden layers.
    """

    def __init__(self, latent: Latent, embedding: int, actions: int, deter: int, hidden: int):
        super().__init__()
        self.latent, self.actions, self.deter = latent, actions, deter
        self.features = deter + latent.size
        self.enter = Normed(latent.size + actions, hidden)
        self.cell = GRUCell(hidden, deter)
        self.prior_net = network(deter, hidden, 1, latent.outputs)
        self.compare = Normed(deter + embedding, hidden)
        self.posterior_head = nn.Linear(hidden, latent.outputs)

    def start(self, count: int) -> State:
        """States of ``count`` episodes before their first observation: zeros."""
        weight = self.cell.gates.weight
        return State(weight.new_zeros(count, self.deter), weight.new_zeros(count, self.latent.size))

    def advance(self, state: State, action: Tensor) -> Tensor:
        """h [N, D] after ``action`` [N, A] in ``state``."""
        return self.cell(self.enter(torch.cat([state.z, action], dim=-1)), state.h)  # type: ignore[no-any-return]

    def prior(self, h: Tensor) -> Tensor:
        """Statistics [..., outputs] of z where nothing is observed."""
        return self.latent.statistics(self.prior_net(h))

    def posterior(self, h: Tensor, embedded: Tensor) -> Tensor:
        """Statistics [..., outputs] of z, given an encoded observation [..., embedding]."""
        return self.latent.statistics(self.posterior_head(self.compare(torch.cat([h, embedded], dim=-1))))

    def observe(self, embedded: Tensor, actions: Tensor, first: Tensor, noise: Tensor) -> Filtered:
        """Follows sequences of observations.

        Args:
            embedded: [N, L, embedding].
            actions: [N, L, A], the action that led to each observation; ignored at the first of an episode.
            first: bool [N, L], where an episode begins; the first column always counts as such.
            noise: [N, L, Z], from ``latent.noise``.
        """
        # The part of the posterior's first layer that does not depend on the state is multiplied once, for all steps.
        layer = self.compare.linear
        seen = nn.functional.linear(embedded, layer.weight[:, self.deter :], layer.bias)
        keep = (~first).to(embedded.dtype)[..., None]
        weight = layer.weight[:, : self.deter].T
        state, states, posteriors = self.start(len(embedded)), [], []
        for step in range(embedded.shape[1]):
            state = State(state.h * keep[:, step], state.z * keep[:, step])
            h = self.advance(state, actions[:, step] * keep[:, step])
            hidden = self.compare.finish(torch.addmm(seen[:, step], h, weight))
            posterior = self.latent.statistics(self.posterior_head(hidden))
            state = State(h, self.latent.sample(posterior, noise[:, step]))
            states.append(state)
            posteriors.append(posterior)
        h = torch.stack([one.h for one in states], dim=1)
        z = torch.stack([one.z for one in states], dim=1)
        return Filtered(State(h, z), torch.stack(posteriors, dim=1), self.prior(h))

    def step(self, state: State, action: Tensor, embedded: Tensor, noise: Tensor | None = None) -> State:
        """The state [N, ...] after ``action`` [N, A] and the observation that followed; z is the likeliest one without noise."""
        h = self.advance(state, action)
        posterior = self.posterior(h, embedded)
        return State(h, self.latent.mode(posterior) if noise is None else self.latent.sample(posterior, noise))

    def imagine(self, state: State, policy: Callable[[State, int], Tensor], noise: Tensor) -> tuple[State, Tensor]:
        """Goes on from states [N, ...] without observations.

        Args:
            state: where imagination begins.
            policy: action [N, A] in a state, given the number of the step.
            noise: [N, H, Z], from ``latent.noise``.

        Returns:
            States [N, H + 1, ...], ``state`` first, and the actions [N, H, A] between them.
        """
        states, actions = [state], []
        for step in range(noise.shape[1]):
            action = policy(state, step)
            h = self.advance(state, action)
            state = State(h, self.latent.sample(self.prior(h), noise[:, step]))
            states.append(state)
            actions.append(action)
        h = torch.stack([one.h for one in states], dim=1)
        z = torch.stack([one.z for one in states], dim=1)
        return State(h, z), torch.stack(actions, dim=1)
