"""Learning a latent world model, one batch of runs after another."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from forerun_models.latent.rssm import Filtered
from forerun_models.latent.world_model import Sequences, WorldModel


class Learner:
    """Steps of Adam on the world model's loss.

    Args:
        model: to learn.
        rate: of learning.
        gradient_norm: to which gradients are cut.
        generator: of the posterior's draws.
    """

    def __init__(self, model: WorldModel, rate: float, gradient_norm: float, generator: torch.Generator):
        self.model, self._norm, self._generator = model, gradient_norm, generator
        self._optimizer = torch.optim.Adam(model.parameters(), rate, fused=True)

    @property
    def rate(self) -> float:
        """The learning rate now."""
        return float(self._optimizer.param_groups[0]["lr"])

    @rate.setter
    def rate(self, value: float) -> None:
        self._optimizer.param_groups[0]["lr"] = value

    def step(self, runs: Sequences) -> tuple[Filtered, dict[str, float]]:
        """One step on ``runs``; the states that they led to, and the terms of the loss by name."""
        filtered = self.model.observe(runs, self._generator)
        loss, terms = self.model.loss(runs, filtered)
        self._optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.model.parameters(), self._norm)
        self._optimizer.step()
        return filtered, {name: float(term) for name, term in terms.items()}

    def state_dict(self) -> dict[str, Any]:
        """The optimizer's; model and generator are the owner's."""
        return self._optimizer.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The counterpart of ``state_dict``."""
        self._optimizer.load_state_dict(state)
