"""An ensemble over vectors of which nothing is known but their size, and rollouts of it for planning."""

from __future__ import annotations

import torch

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.features import Vectors
from forerun_models.planners.rollout import Rollout
from forerun_models.planners.vectors import VectorRollout


def fitted(history: int, mechanical: bool = False) -> Ensemble:
    """Random weights over 5 numbers and 2 actions, standardised by random data."""
    generator = torch.Generator().manual_seed(0)
    features = Vectors(5, 2, history, mechanical)
    features.fit(torch.randn(64, history + 1, 5, generator=generator) * 3 + 1, torch.rand(64, history, 2, generator=generator))
    model = Ensemble(features, members=3, hidden=8, layers=2)
    model.reset_parameters(generator)
    model.linear.data.copy_(0.1 * torch.randn(model.linear.shape, generator=generator))
    return model.eval()


@torch.no_grad()
def test_the_planners_rollout_predicts_what_the_ensemble_of_vectors_predicts() -> None:
    generator = torch.Generator().manual_seed(1)
    for history, mechanical in ((1, False), (2, False), (1, True), (2, True)):
        model = fitted(history, mechanical).double()  # single precision rounds away what is compared
        exact = {"generator": generator, "dtype": torch.float64}
        states = [torch.randn(5, **exact) for _ in range(history)]
        past = [torch.rand(2, **exact) for _ in range(history - 1)]
        actions = torch.rand(4, 2, 6, **exact)
        rolled = Rollout(model)(states, past, actions)
        wide = [state.expand(3, 6, 5) for state in states]
        given = [action.expand(3, 6, 2) for action in past]
        expected = model.rollout(wide, given, [action.T.expand(3, 6, 2) for action in actions])
        assert torch.allclose(rolled.transpose(2, 3), torch.stack(expected), atol=1e-5)


@torch.no_grad()
def test_rollouts_in_place_predict_the_same() -> None:
    for mechanical in (False, True):
        model = fitted(1, mechanical)
        actions = torch.rand(4, 2, 6)
        expected = Rollout(model)([torch.ones(5)], [], actions)
        assert torch.allclose(VectorRollout(model)([torch.ones(5)], [], actions), expected, atol=1e-3, rtol=1e-3)
