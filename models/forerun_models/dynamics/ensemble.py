"""The probabilistic ensemble (Chua et al. 2018, PETS), all members in one batched matrix product.

Each member predicts the mean and log-variance of the standardised state difference. A linear path beside the network carries
what least squares can tell, so that the network learns only the rest.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from forerun_models.dynamics.features import FeatureMap
from forerun_models.dynamics.library import Library
from forerun_models.dynamics.model import Memory, WorldModel, soft_bound
from forerun_sim.errors import InputError


class Ensemble(WorldModel):
    """E networks of equal shape over a history of K rows.

    Args:
        features: what the networks see of a history.
        members: E.
        hidden: units of a hidden layer.
        layers: hidden layers.
    """

    def __init__(self, features: FeatureMap, members: int, hidden: int, layers: int):
        super().__init__(features, members)
        sizes = [self.features.size, *[hidden] * layers, 2 * self.state_size]
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(members, a, b)) for a, b in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for b in sizes[1:])
        self.linear = nn.Parameter(torch.zeros(members, self.features.size, self.state_size))
        self.reset_parameters(torch.Generator().manual_seed(0))

    @torch.no_grad()
    def reset_parameters(self, generator: torch.Generator) -> None:
        """Draws every member's weights anew: truncated normal, as PETS does; the last layer small."""
        for number, weight in enumerate(self.weights):
            std = 1.0 / (2.0 * math.sqrt(weight.shape[1]))
            nn.init.trunc_normal_(weight, std=std, a=-2 * std, b=2 * std, generator=generator)
            if number == len(self.weights) - 1:
                weight[..., : self.state_size] *= 0.1
        for bias in self.biases:
            nn.init.zeros_(bias)

    @torch.no_grad()
    def see(self, kept: Tensor) -> None:
        """Sees the terms ``kept`` of its library from now on. What it has learned of them stays; new ones count nothing yet.

        Args:
            kept: as ``Library.choose`` takes them; features are a ``Library``.
        """
        assert isinstance(self.features, Library)
        places = {term: place for place, term in enumerate(self.features.kept.tolist())}
        shared = [(new, places[term]) for new, term in enumerate(kept.tolist()) if term in places]
        self.features.choose(kept)
        for parameter in (self.weights[0], self.linear):
            rows = parameter.new_zeros(self.members, len(kept), parameter.shape[2])
            for new, old in shared:
                rows[:, new] = parameter[:, old]
            parameter.data = rows

    @torch.no_grad()
    def fit_statistics(self, states: Tensor, actions: Tensor) -> None:
        """Takes the standardisation from windows, states [N, K+1, S] and actions [N, K, A], and sets the linear path by least
        squares."""
        self.features.fit(states, actions)
        inputs = self.features.inputs(states[:, :-1].unbind(1), actions.unbind(1))
        targets = (states[:, -1] - states[:, -2] - self.features.target_mean) / self.features.target_std
        self.fit_linear(inputs, targets)

    def forward(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Standardised difference that follows a history.

        Args:
            states: K tensors [E, N, S], oldest first, SI.
            actions: K tensors [E, N, A]; the last is the action to be applied now.

        Returns:
            Mean and log-variance [E, N, S] of the standardised difference.
        """
        inputs = self.features.inputs(states, actions)
        hidden = inputs
        for weight, bias in zip(self.weights[:-1], self.biases[:-1], strict=True):
            hidden = nn.functional.silu(torch.baddbmm(bias, hidden, weight))
        output = torch.baddbmm(self.biases[-1], hidden, self.weights[-1])
        mean = output[..., : self.state_size] + torch.bmm(inputs, self.linear)
        return mean, soft_bound(output[..., self.state_size :])

    def begin(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> Memory:
        """The window itself: K states, then K-1 actions."""
        return (*states, *actions)

    def advance(self, memory: Memory, action: Tensor, kick: Tensor | None = None) -> tuple[Tensor, Tensor, Memory]:
        """One step on; see ``WorldModel``."""
        history, features = self.features.history, self.features
        states, actions = memory[:history], (*memory[history:], action)
        mean, log_variance = self(states, actions)
        if kick is not None:
            mean = mean + kick * torch.exp(0.5 * log_variance)
        following = features.next_state(states[-1], mean)
        after = (*states[1:], following, *actions[1:])
        return following, log_variance + 2 * torch.log(features.target_std), after

    def placed(self, memory: Memory, state: Tensor, command: Tensor) -> Memory:
        """A window of one row; see ``WorldModel``."""
        if self.features.history > 1:
            raise InputError(
                f"a model of kind 'ensemble' that reads {self.features.history} rows predicts from more than state and command: "
                "set model.history to 1, or model.kind to 'rigid_body'"
            )
        return (state.expand(self.members, *state.shape),)

    def believed(self, memory: Memory) -> Tensor:
        """The window's newest state: what was seen is what is; see ``WorldModel``."""
        return memory[self.features.history - 1]

    @torch.no_grad()
    def scale_variance(self, log_ratio: Tensor) -> None:
        """Adds ``log_ratio`` [E, 1, S] to the last bias of the log-variances."""
        self.biases[-1][..., self.state_size :] += log_ratio

    @torch.no_grad()
    def fit_linear(self, inputs: Tensor, targets: Tensor, ridge: float = 1e-3) -> None:
        """Sets the linear path to the ridge regression of standardised ``targets`` [N, S] on ``inputs`` [N, size]."""
        x, y = inputs.double(), targets.double()
        gram = x.T @ x / len(x) + ridge * torch.eye(x.shape[1], dtype=torch.float64)
        self.linear.copy_(torch.linalg.solve(gram, x.T @ y / len(x)).to(self.linear.dtype).expand_as(self.linear))
