"""No prediction runs away, however badly the model extrapolates."""

from __future__ import annotations

import torch

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.features import Features
from forerun_models.export.graphs import DynamicsGraph


def unstable(history: int = 2) -> tuple[DynamicsGraph, tuple[torch.Tensor, torch.Tensor]]:
    """A model whose velocity grows with its square, made for 2 rad/s at most; a history [N, K, S+A] and an action [N, A]."""
    generator = torch.Generator().manual_seed(0)
    states = 4 * torch.rand(256, history + 1, 2, generator=generator) - 2
    actions = torch.rand(256, history, 1, generator=generator)
    model = Ensemble(Features([True], 1, history), members=3, hidden=8, layers=1)
    model.features.fit(states, actions)
    model.linear.data.fill_(3.0)
    rows = torch.cat([states[:, :history], actions], dim=2)
    return DynamicsGraph(model.eval()), (rows, actions[:, -1])


def test_a_model_that_feeds_on_itself_stays_finite_and_no_faster_than_its_data() -> None:
    graph, (history, action) = unstable()
    with torch.no_grad():
        for _ in range(50):
            mean, log_variance, history = graph(history, action)
            assert torch.isfinite(mean).all()
            assert torch.isfinite(log_variance).all()
            assert mean[..., 1].abs().max() <= 1.5 * 2.0
    assert torch.isfinite(history).all()
