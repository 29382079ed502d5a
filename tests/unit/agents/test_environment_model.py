"""A learned model of an environment is right where the truth is known."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forerun_models.agents.environment_model import EnvironmentModel, EnvironmentSettings
from forerun_models.agents.model_fit import fit, held_out

_A = np.array([[1.0, 0.1, 0.0], [-0.2, 0.95, 0.05], [0.0, 0.0, 0.9]])
_B = np.array([[0.0, 0.1], [0.2, 0.0], [0.1, -0.1]])
_SMALL = EnvironmentSettings(members=3, elites=3, hidden=32, updates=400, patience=100, learning_rate=5e-3)


Learned = tuple[dict[str, NDArray[Any]], EnvironmentModel, dict[str, float]]
Noisy = tuple[dict[str, NDArray[Any]], EnvironmentModel]


def transitions(count: int, noise: float, reward_noise: float, limit: float = np.inf) -> dict[str, NDArray[Any]]:
    """x' = A x + B u + noise, rewarded by u0 - x'0^2 + noise; ended where x'0 exceeds ``limit``."""
    random = np.random.default_rng(0)
    before = random.normal(size=(count, 3))
    action = random.uniform(-1, 1, size=(count, 2))
    following = before @ _A.T + action @ _B.T + noise * random.normal(size=(count, 3))
    reward = action[:, 0] - following[:, 0] ** 2 + reward_noise * random.normal(size=count)
    ended = following[:, 0] > limit
    columns = {"observation": before, "action": action, "following": following, "reward": reward}
    return {
        **{name: array.astype(np.float32) for name, array in columns.items()},
        "terminated": ended,
        "episode": np.arange(count) // 20,
    }


def learned(data: dict[str, NDArray[Any]], **settings: Any) -> tuple[EnvironmentModel, dict[str, float]]:
    model = EnvironmentModel(3, 2, _SMALL.model_copy(update=settings), seed=0)
    return model, fit(model, data, torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def ending() -> Learned:
    """Exact transitions, some of which end an episode; a model of them."""
    data = transitions(2000, 0.0, 0.0, limit=1.0)
    return data, *learned(data)


@pytest.fixture(scope="module")
def noisy() -> Noisy:
    """Transitions with noise of 0.1, rewards with noise of 0.3; a model of them."""
    data = transitions(4000, 0.1, 0.3)
    return data, learned(data)[0]


def rows(data: dict[str, NDArray[Any]], *names: str) -> list[torch.Tensor]:
    return [torch.from_numpy(data[name]) for name in names]


def test_a_linear_system_is_learned(ending: Learned) -> None:
    data, model, metrics = ending
    assert metrics["model_error"] < 0.02
    following = model.predict(*rows(data, "observation", "action")).following
    assert np.abs(following.numpy() - data["following"]).max() < 0.05


def test_variances_are_those_of_the_noise(noisy: Noisy) -> None:
    data, model = noisy
    observation, action, following = (column.expand(3, -1, -1) for column in rows(data, "observation", "action", "following"))
    _, log_variance = model.dynamics.step([observation], [action])
    assert np.allclose(torch.exp(0.5 * log_variance).mean(dim=(0, 1)).detach().numpy(), 0.1, rtol=0.15)
    heads = model.reward_heads
    assert heads is not None
    _, log_variance = heads.normal(torch.cat([observation, action, following], dim=-1))
    spread = torch.exp(0.5 * log_variance) * heads.target_std
    assert abs(float(spread.mean().detach()) - 0.3) < 0.05


def test_draws_have_the_mean_and_the_spread_of_the_environment(noisy: Noisy) -> None:
    _, model = noisy
    imagined = model.predict(torch.zeros(4000, 3), torch.full((4000, 2), 0.5), torch.Generator().manual_seed(1))
    assert np.allclose(imagined.following.mean(dim=0).numpy(), _B @ [0.5, 0.5], atol=0.03)
    assert np.allclose(imagined.following.std(dim=0).numpy(), 0.1, rtol=0.2)
    assert not imagined.terminated.any()


def test_ends_and_rewards_are_learned(ending: Learned) -> None:
    data, model, metrics = ending
    imagined = model.predict(*rows(data, "observation", "action"))
    assert (imagined.terminated.numpy() == data["terminated"]).mean() > 0.96
    assert metrics["reward_error"] < 0.1
    assert np.sqrt(np.mean((imagined.reward.numpy() - data["reward"]) ** 2)) < 0.1 * data["reward"].std()


def test_a_known_reward_is_taken_as_it_is() -> None:
    model = EnvironmentModel(
        3, 2, _SMALL, 0, reward=lambda before, action, after: after[..., 0] - before[..., 0] + action[..., 1]
    )
    fit(model, transitions(200, 0.0, 0.0), torch.Generator().manual_seed(0))
    observation, action = torch.randn(5, 3), torch.rand(5, 2)
    imagined = model.predict(observation, action)
    assert torch.allclose(imagined.reward, imagined.following[:, 0] - observation[:, 0] + action[:, 1], atol=1e-6)


def test_rollouts_follow_the_policy_and_stop_at_ends_and_where_members_disagree(
    ending: Learned,
) -> None:
    data, model, _ = ending
    generator, starts = torch.Generator().manual_seed(2), torch.from_numpy(data["observation"][:50])
    policy = lambda observation: torch.full((len(observation), 2), 0.25)  # noqa: E731
    assert len(model.rollout(starts, policy, 0, generator)["reward"]) == 0
    batch = model.rollout(starts, policy, 6, generator)
    assert np.array_equal(batch["observation"][:50], data["observation"][:50])
    # What did not end is where the next step begins.
    going = batch["following"][:50][~batch["terminated"][:50]]
    assert np.array_equal(batch["observation"][50 : 50 + len(going)], going)
    assert np.allclose(batch["action"], 0.25)
    assert len(batch["reward"]) < 300
    limit = float(np.quantile(batch["disagreement"], 0.5))
    trusted = model.rollout(starts, policy, 6, generator, most_disagreement=limit)
    assert trusted["disagreement"].max() <= limit
    assert len(trusted["reward"]) < len(batch["reward"])


def test_a_later_fit_goes_on_from_the_first() -> None:
    data = transitions(500, 0.0, 0.0)
    model, first = learned(data, updates=100)
    later = fit(model, data, torch.Generator().manual_seed(1))
    assert later["model_error"] < first["model_error"]


def test_what_is_held_out_once_is_held_out_for_ever() -> None:
    episode = np.repeat(np.arange(40), 120)
    all_at_once = held_out(episode, 0.1, 50)
    assert np.array_equal(held_out(episode[:1000], 0.1, 50), all_at_once[:1000])
    assert 0.05 < all_at_once.mean() < 0.15
    stretches = all_at_once.reshape(40, 120)
    assert all(len(set(row[a:b])) == 1 for row in stretches for a, b in ((0, 50), (50, 100), (100, 120)))


def test_the_same_seed_learns_the_same() -> None:
    data = transitions(300, 0.1, 0.1)
    (one, _), (other, _) = learned(data, updates=50), learned(data, updates=50)
    for name, value in one.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name
