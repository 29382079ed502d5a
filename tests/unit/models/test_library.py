"""The library of terms of which a model sees a choice, and rollouts of such a model for planning."""

from __future__ import annotations

import pytest
import torch

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.library import Library
from forerun_models.planners.rollout import Rollout
from forerun_models.planners.vectors import VectorRollout


def chosen() -> Ensemble:
    """Random weights over some of the terms of 3 numbers and 2 actions, standardised by random data."""
    generator = torch.Generator().manual_seed(0)
    features = Library(3, 2)
    model = Ensemble(features, members=3, hidden=8, layers=2)
    model.see(features.within([0, 2, 4, 6]))
    features.fit(torch.randn(64, 2, 3, generator=generator) * 3 + 1, torch.rand(64, 1, 2, generator=generator))
    model.reset_parameters(generator)
    model.linear.data.copy_(0.1 * torch.randn(model.linear.shape, generator=generator))
    return model.eval()


def test_terms_are_named_and_counted() -> None:
    library = Library(3, 2)
    assert library.groups == ["0", "1", "2", "wave 0", "wave 1", "wave 2", "wave 0+1", "wave 1+2"]
    assert library.size == Library.count(3, 2)
    state, action = torch.tensor([[0.3, 0.5, 0.7]]), torch.tensor([[1.0, 2.0]])
    library.choose(library.within([1, 6]))
    shown = {round(float(term), 5) for term in library.raw([state], [action])[0]}
    angle, speed = torch.tensor(0.8), 0.5
    waves = [float(angle.sin()), float(angle.cos())]
    numbers = [speed, 1.0, 2.0]
    expected = [*numbers, *waves, *(wave * number for wave in waves for number in numbers), speed**2, speed, 2 * speed]
    assert shown == {round(term, 5) for term in expected}


@torch.no_grad()
def test_planners_predict_what_the_ensemble_predicts() -> None:
    model = chosen()
    state, actions = torch.tensor([0.2, -1.0, 0.4]), torch.rand(4, 2, 6)
    wide = [action.T.expand(3, 6, 2) for action in actions]
    expected = torch.stack(model.rollout([state.expand(3, 6, 3)], [], wide)).transpose(2, 3)
    for kind in (Rollout, VectorRollout):
        assert torch.allclose(kind(model)([state], [], actions), expected, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_what_was_learned_of_a_term_stays_when_others_go_and_come() -> None:
    model = chosen()
    library = model.features
    assert isinstance(library, Library)
    term, before = library.kept.tolist().index(0), model.weights[0].clone()
    model.see(library.within([0]))
    assert torch.equal(model.weights[0][:, library.kept.tolist().index(0)], before[:, term])
    model.see(library.within([0, 1]))
    assert model.weights[0].shape[1] == library.size == len(library.kept)
    new = library.kept.tolist().index(1)
    assert not model.weights[0][:, new].any()


@torch.no_grad()
def test_planners_derive_what_the_ensemble_derives() -> None:
    model = chosen()
    library = model.features
    assert isinstance(library, Library)
    derivation = torch.zeros(library.derivation.shape)
    derivation[[0, 3], 2] = torch.tensor([2.0, -1.0])  # twice the first number, less its sine
    library.derive(derivation, torch.tensor([False, False, True]))
    state, actions = torch.tensor([0.2, -1.0, 0.4]), torch.rand(4, 2, 6)
    expected = torch.stack(model.rollout([state.expand(3, 6, 3)], [], [action.T.expand(3, 6, 2) for action in actions]))
    first, kept = expected[..., 0], expected[..., 2] - 2 * expected[..., 0] + expected[..., 0].sin()
    assert float((first - 0.2).abs().min()) > 0
    assert torch.allclose(kept, torch.full(kept.shape, 0.4 - 0.4 + torch.tensor(0.2).sin().item()), atol=1e-4)
    for kind in (Rollout, VectorRollout):
        assert torch.allclose(kind(model)([state], [], actions), expected.transpose(2, 3), atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_planners_end_at_the_stops_that_the_ensemble_knows() -> None:
    model = chosen()
    library = model.features
    assert isinstance(library, Library)
    state, actions = torch.tensor([0.2, -1.0, 0.4]), torch.rand(4, 2, 6)
    wide = [action.T.expand(3, 6, 2) for action in actions]
    free = torch.stack(model.rollout([state.expand(3, 6, 3)], [], wide))
    library.stops[1, 0], library.stops[0, 2] = 0.21, 0.39
    held = torch.stack(model.rollout([state.expand(3, 6, 3)], [], wide))
    assert float(free[..., 0].max()) > 0.21 > 0.2 > float(free[..., 0].min()), "the other side is open"
    assert float(held[..., 0].max()) == pytest.approx(0.21)
    assert float(held[..., 2].min()) == pytest.approx(0.39)
    for kind in (Rollout, VectorRollout):
        assert torch.allclose(kind(model)([state], [], actions), held.transpose(2, 3), atol=1e-3, rtol=1e-3)
