"""The plain way to train an ensemble, as a yardstick: each member a torch module of its own, one after another."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.recipe import Training
    from forerun_models.training.windows import Windows


class SeparateMembers:
    """As many modules as ``model`` has members, of the same sizes, on the same features, each with an optimizer of its own."""

    def __init__(self, model: Ensemble, windows: Windows, settings: Training, seed: int) -> None:
        import torch

        self._features, self._windows, self._settings = model.features, windows, settings
        self._generator = torch.Generator().manual_seed(seed)
        sizes = [model.weights[0].shape[1], *(weight.shape[2] for weight in model.weights)]
        self._members = [_member(sizes, model.state_size) for _ in range(model.members)]
        self._optimizers = [
            torch.optim.AdamW(member.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
            for member in self._members
        ]

    def train(self, steps: int, horizon: int) -> None:
        """``steps`` optimizer steps of every member on rollouts of ``horizon``."""
        import torch

        for _ in range(steps):
            for member, optimizer in zip(self._members, self._optimizers, strict=True):
                index = torch.randint(len(self._windows), (self._settings.batch,), generator=self._generator)
                loss = self._loss(member, *self._windows.cut(index, horizon), horizon)
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                torch.nn.utils.clip_grad_norm_(member.parameters(), self._settings.gradient_norm)
                optimizer.step()

    def _loss(self, member: Any, states: Any, actions: Any, horizon: int) -> Any:
        """Huber loss of the rollout's means and the likelihood of its first step, as the ensemble's trainer has them."""
        import torch

        features, history = self._features, self._features.history
        truth, given = list(states.unbind(1)), list(actions.unbind(1))
        window, loss = truth[:history], torch.zeros(())
        for step in range(horizon):
            inputs = features.inputs(window, given[step : step + history])
            mean, log_variance = member["network"](inputs).chunk(2, dim=-1)
            mean = mean + member["linear"](inputs)
            predicted = features.next_state(window[-1], mean)
            error = (predicted - truth[history + step]) / features.state_std
            loss = loss + torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=2.0) / horizon
            if step == 0:
                wanted = (truth[history] - window[-1] - features.target_mean) / features.target_std
                loss = loss + 0.05 * ((wanted - mean.detach()) ** 2 * torch.exp(-log_variance) + log_variance).mean()
            window = [*window[1:], predicted]
        return loss


def _member(sizes: list[int], state_size: int) -> Any:
    from torch import nn

    layers: list[nn.Module] = []
    for before, after in itertools.pairwise(sizes):
        layers += [nn.Linear(before, after), nn.SiLU()]
    return nn.ModuleDict({"network": nn.Sequential(*layers[:-1]), "linear": nn.Linear(sizes[0], state_size, bias=False)})
