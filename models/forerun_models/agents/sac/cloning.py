"""Behaviour cloning: the policy that does what the data did, on average; what offline learning must beat."""

from __future__ import annotations

import torch
from torch import Tensor

from forerun_models.agents.sac.learner import SacLearner


@torch.no_grad()
def clone(learner: SacLearner, observation: Tensor, action: Tensor, updates: int) -> None:
    """Fits the mean of the learner's policy to the data by least squares.

    Args:
        learner: its policy is changed; batch and step size are its settings'.
        observation: [N, O].
        action: [N, A] in [-1, 1].
        updates: steps of Adam.
    """
    size = learner.action_size
    optimizer = torch.optim.Adam([learner.policy.parameters], learner.settings.learning_rate, fused=True)
    for _ in range(updates):
        rows = torch.randint(len(observation), (learner.settings.batch,), generator=learner.generator, device=learner.device)
        output, given = learner.policy.forward(observation[rows][None])
        done = torch.tanh(output[..., :size])
        outward = torch.zeros_like(output)
        outward[..., :size] = (done - action[rows]) * (1.0 - done.square()) / len(rows)
        learner.policy.backward(outward, given)
        optimizer.step()
