"""A model finds out which of the numbers that it is shown matter: those that help on episodes that were held out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forerun_models.agents.derived import derive
from forerun_models.agents.environment_model import EnvironmentModel, EnvironmentSettings
from forerun_models.agents.input_choice import folds
from forerun_models.agents.model_fit import fit
from forerun_models.dynamics.library import Library

_SMALL = EnvironmentSettings(members=2, elites=2, hidden=16, updates=100, learning_rate=1e-2, mechanical="chosen")
_CONSTANT = 2


def trials(episodes: int, weighs: bool, seed: int) -> dict[str, NDArray[Any]]:
    """A body pushed around on a line, 60 steps an episode: position, velocity and a number that an episode keeps; that is the
    push's strength (``weighs``), or nothing but a mark."""
    random = np.random.default_rng(seed)
    rows = []
    for episode in range(episodes):
        position, velocity, constant = random.normal(), random.normal(), random.uniform(0.5, 2.0)
        for _ in range(60):
            action = random.uniform(-1, 1)
            before = (position, velocity, constant)
            position += 0.1 * velocity
            velocity += 0.1 * action * (constant if weighs else 1.0)
            rows.append((*before, action, position, velocity, constant, episode))
    table = np.array(rows)
    return {
        "observation": table[:, :3],
        "action": table[:, 3:4],
        "following": table[:, 4:7],
        "reward": np.zeros(len(table)),
        "terminated": np.zeros(len(table)),
        "episode": table[:, 7].astype(np.int64),
    }


def learned(data: dict[str, NDArray[Any]], **changes: Any) -> EnvironmentModel:
    model = EnvironmentModel(3, 1, _SMALL.model_copy(update=changes), 0, lambda *rows: rows[0][..., 0])
    fit(model, data, torch.Generator().manual_seed(0))
    return model


def seen(model: EnvironmentModel) -> set[str]:
    """Names of the groups that the model sees."""
    library = model.dynamics.features
    assert isinstance(library, Library)
    kept = set(library.kept.tolist())
    return {name for number, name in enumerate(library.groups) if kept & (_only(library, number))}


def _only(library: Library, number: int) -> set[int]:
    others = [other for other in range(len(library.groups)) if other != number]
    return set(library.within(range(len(library.groups))).tolist()) - set(library.within(others).tolist())


def error(model: EnvironmentModel, data: dict[str, NDArray[Any]]) -> float:
    """Median error of a step's velocity, of episodes that were not learned from; some of them are faster than predictions go."""
    columns = [torch.tensor(data[name], dtype=torch.float32) for name in ("observation", "action", "following")]
    with torch.no_grad():
        predicted = model.predict(*columns[:2]).following
    return float((predicted - columns[2])[:, 1].abs().median())


def test_what_an_episode_keeps_is_left_out_where_it_means_nothing() -> None:
    data = trials(4, weighs=False, seed=0)
    model = learned(data)
    assert "1" in seen(model) and seen(model) <= {"0", "1"}, "of position, velocity and mark only the velocity moves anything"
    fresh = trials(20, weighs=False, seed=1)
    assert error(model, fresh) < 0.5 * error(learned(data, mechanical=True), fresh)


def test_what_an_episode_keeps_is_seen_where_it_matters() -> None:
    model = learned(trials(5, weighs=True, seed=0))
    assert {"1", str(_CONSTANT)} <= seen(model)
    assert error(model, trials(20, weighs=True, seed=1)) < 0.003, "a push moves by 0.1 at most"


def test_a_choice_is_made_anew_for_new_episodes_and_outlives_a_checkpoint() -> None:
    data = trials(4, weighs=True, seed=0)
    first = {name: column[:60] for name, column in data.items()}
    model = learned(first)
    assert not model.due(1, 120) and not model.due(2, 61) and model.due(2, 120)
    fit(model, data, torch.Generator().manual_seed(0))
    again = EnvironmentModel(3, 1, _SMALL, 0, lambda *rows: rows[0][..., 0])
    again.load_state_dict(model.state_dict())
    assert seen(again) == seen(model)
    assert error(again, data) == error(model, data)
    assert not again.due(4, 1000)


def test_a_hand_is_known_to_follow_the_joint_wherever_that_is_blocked() -> None:
    random = np.random.default_rng(0)
    angle = np.cumsum(0.1 * random.normal(size=201))
    target = 0.3
    shown = np.stack([angle, target - 0.1 * np.cos(angle)], axis=1)
    columns = [torch.tensor(rows) for rows in (shown[:-1], shown[1:])]
    library = Library(2, 1)
    derivation, derived = derive(library, *columns, folds(torch.zeros(200), 25))
    assert derived.tolist() == [False, True], "an angle does not follow from a hand's place along a line"
    library.derive(derivation, derived)
    blocked = torch.tensor([[4.0, 0.7]])
    assert torch.allclose(library.next_state(blocked, torch.tensor([[0.0, 5.0]])), blocked, atol=1e-6)
    turned = library.next_state(blocked, torch.tensor([[1.0, 0.0]]))
    assert float(turned[0, 1]) == pytest.approx(0.7 - 0.1 * (np.cos(5.0) - np.cos(4.0)), abs=1e-4)


@pytest.mark.parametrize("mechanical", [True, False])
def test_other_models_choose_nothing(mechanical: bool) -> None:
    model = learned(trials(2, weighs=False, seed=0), mechanical=mechanical, updates=1)
    assert not model.due(100, 100_000)
