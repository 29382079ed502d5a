"""What imagined trajectories are worth, and on which scale."""

from __future__ import annotations

import torch
from torch import Tensor


def lambda_returns(reward: Tensor, discount: Tensor, value: Tensor, mix: float) -> Tensor:
    """Returns that mix all lengths of bootstrapping (Hafner et al. 2020, equation 6).

        R_t = r_t + d_t ((1 - mix) v_{t+1} + mix R_{t+1}),     R_H = v_H

    Args:
        reward: [H, ...], of the step from t to t + 1.
        discount: [H, ...], the discount of that step, 0 where the episode ends with it.
        value: [H + 1, ...].
        mix: lambda, 0 (one step) to 1 (the whole trajectory).

    Returns:
        [H, ...].
    """
    following, returns = value[-1], []
    for step in reversed(range(len(reward))):
        following = reward[step] + discount[step] * ((1.0 - mix) * value[step + 1] + mix * following)
        returns.append(following)
    return torch.stack(returns[::-1])


class ReturnScale:
    """The range between the 5th and the 95th percentile of returns, averaged over updates, at least ``least``.

    Returns divided by it are of order one where they are large, and small ones stay small: noise is not blown up.
    """

    def __init__(self, decay: float = 0.99, least: float = 1.0):
        self.decay, self.least = decay, least
        self.low = self.high = 0.0
        self.updates = 0

    def update(self, returns: Tensor) -> float:
        """Takes in ``returns`` (any shape) and gives the scale."""
        low, high = torch.quantile(returns.detach().flatten(), torch.tensor([0.05, 0.95], device=returns.device)).tolist()
        self.low = self.decay * self.low + (1.0 - self.decay) * low
        self.high = self.decay * self.high + (1.0 - self.decay) * high
        self.updates += 1
        weight = 1.0 - self.decay**self.updates  # the averages began at zero
        return max((self.high - self.low) / weight, self.least)

    def state_dict(self) -> dict[str, float]:
        """The averages and how many updates are in them."""
        return {"low": self.low, "high": self.high, "updates": self.updates}

    def load_state_dict(self, state: dict[str, float]) -> None:
        """The counterpart of ``state_dict``."""
        self.low, self.high, self.updates = state["low"], state["high"], int(state["updates"])
