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

_SOFT_BOUNDS = (-12.0, 2.0)
"""Of the log-variance of standardised differences."""


class Ensemble(nn.Module):
    """E networks of equal shape over a history of K rows.

    Args:
        features: what they see of it.
        members: E.
        hidden: units of a hidden layer.
        layers: hidden layers.
    """

    def __init__(self, features: FeatureMap, members: int, hidden: int, layers: int):
        super().__init__()
        self.features = features
        self.members = members
        self.state_size = features.state_size
        sizes = [self.features.size, *[hidden] * layers, 2 * self.state_size]
        self.weights = nn.ParameterList(nn.Parameter(torch.empty(members, a, b)) for a, b in itertools.pairwise(sizes))
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(members, 1, b)) for b in sizes[1:])
        self.linear = nn.Parameter(torch.zeros(members, self.features.size, self.state_size))
        self.elites: Tensor = nn.Buffer(torch.arange(members))
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

    def step(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Mean [E, N, S] and log-variance [E, N, S] of the next state, SI."""
        mean, log_variance = self(states, actions)
        return self.features.next_state(states[-1], mean), log_variance + 2 * torch.log(self.features.target_std)

    def rollout(self, states: Sequence[Tensor], actions: Sequence[Tensor], future: Sequence[Tensor]) -> list[Tensor]:
        """Mean states that each member expects, open loop and member by member.

        Args:
            states: K tensors [E, N, S], oldest first.
            actions: K-1 tensors [E, N, A] between them.
            future: H tensors [E, N, A] to come.

        Returns:
            H tensors [E, N, S].
        """
        window, given, predicted = list(states), list(actions), []
        for action in future:
            given = [*given, action][-self.features.history :]
            mean, _ = self(window, given)
            state = self.features.next_state(window[-1], mean)
            window = [*window[1:], state]
            given = given[1:]
            predicted.append(state)
        return predicted

    @torch.no_grad()
    def fit_linear(self, inputs: Tensor, targets: Tensor, ridge: float = 1e-3) -> None:
        """Sets the linear path to the ridge regression of standardised ``targets`` [N, S] on ``inputs`` [N, size]."""
        x, y = inputs.double(), targets.double()
        gram = x.T @ x / len(x) + ridge * torch.eye(x.shape[1], dtype=torch.float64)
        self.linear.copy_(torch.linalg.solve(gram, x.T @ y / len(x)).to(self.linear.dtype).expand_as(self.linear))


def soft_bound(log_variance: Tensor) -> Tensor:
    """``log_variance`` led smoothly into the range that standardised differences have."""
    lower, upper = _SOFT_BOUNDS
    bounded = upper - nn.functional.softplus(upper - log_variance)
    return lower + nn.functional.softplus(bounded - lower)
