"""The planning agent on problems with known answers, and on environments whose rewards it knows."""

from __future__ import annotations

from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from forerun_models.agents.base import EnvSpec, Step
from forerun_models.agents.known_rewards import known_reward
from forerun_models.agents.mpc import MpcAgent, MpcSettings
from forerun_models.agents.registry import make_agent, settings_of
from forerun_models.recipe import Planner
from forerun_sim.errors import InputError
from support import point

SMALL = MpcSettings.model_validate(
    {
        "warmup": 30,
        "train_every": 30,
        "model": {"members": 3, "elites": 3, "hidden": 16, "updates": 200, "learning_rate": 5e-3},
        "planner": {"horizon": 5, "samples": 32, "elites": 6, "iterations": 2, "std": 0.8},
    }
)


def small(seed: int = 0, **settings: Any) -> MpcAgent:
    return MpcAgent(point.SPEC, SMALL.model_copy(update=settings), seed)


def acts(agent: MpcAgent) -> Any:
    actor = agent.actor(explore=False)
    actor.reset(0)
    return lambda x: float(np.asarray(actor.act(np.array([x], np.float32)))[0])


@pytest.fixture(scope="module")
def learned() -> MpcAgent:
    agent = small()
    point.learn(agent, episodes=9)
    return agent


def test_a_point_is_led_to_the_middle_after_ninety_steps_almost_as_well_as_can_be(learned: MpcAgent) -> None:
    best = point.returns(point.best_action).mean()
    assert point.returns(acts(learned)).mean() > best - 0.15
    assert point.returns(lambda x: 0.0).mean() < best - 5.0


def test_it_goes_on_from_its_state_to_the_same_weights_and_actions(learned: MpcAgent) -> None:
    other = small(seed=0)
    other.load_state_dict(learned.state_dict())
    fresh = small(seed=0)
    fresh.load_state_dict(learned.state_dict())
    for agent in (other, fresh):
        point.learn(agent, episodes=3, first=9)
    weights = fresh.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in other.model.state_dict().items())
    assert [acts(other)(x) for x in (-1.0, 0.3)] == [acts(fresh)(x) for x in (-1.0, 0.3)]


def test_before_the_first_fit_actions_are_random_and_held() -> None:
    actor = small(hold=3).actor(explore=True)
    actor.reset(1)
    actions = [float(np.asarray(actor.act(np.zeros(1, np.float32)))[0]) for _ in range(6)]
    assert actions[0] == actions[2] != actions[3] == actions[5]


def test_an_end_after_which_nothing_is_earned_is_avoided() -> None:
    """Every step earns 1; to the right of 1 the episode ends."""
    agent, random = small(warmup=400), np.random.default_rng(0)
    for _ in range(400):
        x, action = random.uniform(-1.5, 1.0), random.uniform(-1, 1)
        after = x + 0.5 * action
        seen = np.array([x], np.float32), np.array([action], np.float32), 1.0
        agent.observe(Step(*seen, np.array([after], np.float32), after > 1, after <= 1))
        agent.update()
    act = acts(agent)
    assert all(x + 0.5 * act(x) < 1.02 for x in (0.5, 0.7, 0.9, 0.95))


def test_curiosity_prefers_plans_that_members_disagree_on(learned: MpcAgent) -> None:
    curious = small(curiosity=1e6)
    curious.load_state_dict(learned.state_dict())
    spread = {}
    for explore in (False, True):
        planner = curious.planner(explore)
        assert planner is not None
        history, noise = torch.zeros(1, 1, 2), torch.randn(planner.noise_size, generator=torch.Generator().manual_seed(0))
        carry = [torch.zeros(shape) for shape in planner.carry_shapes.values()]
        zero = torch.zeros(1)
        spread[explore] = float(planner(history, torch.zeros(1, 0), noise, zero, zero, *carry)[3].max())
    assert spread[True] > spread[False]


def test_a_reward_that_nobody_knows_is_refused() -> None:
    with pytest.raises(InputError, match="set 'reward: learned'"):
        small(reward="known")


def test_ilqr_is_refused() -> None:
    with pytest.raises(ValueError, match="choose icem"):
        MpcSettings(planner=Planner(kind="ilqr"))


def test_the_recipe_for_dm_control_is_valid() -> None:
    settings = settings_of("mpc", "mpc_dmc")
    spec = EnvSpec("dm_control/cartpole-swingup-v0", Box(-np.inf, np.inf, (5,), np.float32), 1)
    agent = make_agent("mpc", spec, settings, 0)
    assert isinstance(agent, MpcAgent)
    assert agent.model.known_reward is not None


def test_a_short_horizon_without_a_value_is_told() -> None:
    settings = SMALL.model_copy(update={"planner": SMALL.planner.model_copy(update={"horizon": 4})})
    agent = MpcAgent(EnvSpec("point", point.SPEC.observation, 1, horizon=100), settings, 0)
    assert any("planner.horizon" in text for text in agent.advice())


@pytest.mark.parametrize("env_id", ["Pendulum-v1", "InvertedPendulum-v5"])
def test_known_rewards_are_the_environments_own(env_id: str) -> None:
    if env_id.startswith("Inverted"):
        pytest.importorskip("imageio")
    env, reward = gymnasium.make(env_id), known_reward(env_id)
    assert reward is not None
    assert isinstance(env.action_space, Box)
    _compare(env, reward, env.action_space.high, steps=30, tolerance=1e-4)


@pytest.mark.parametrize("task", ["cartpole-swingup", "pendulum-swingup", "reacher-easy", "acrobot-swingup"])
def test_known_rewards_of_dm_control_are_near_its_own(task: str) -> None:
    """Near: the state between two repetitions of an action is not shown."""
    pytest.importorskip("dm_control")
    import forerun.bench.dmc  # noqa: F401

    env, reward = gymnasium.make(f"dm_control/{task}-v0"), known_reward(f"dm_control/{task}-v0")
    assert reward is not None
    _compare(env, reward, np.ones(env.action_space.shape), steps=200, tolerance=0.05)


def _compare(env: gymnasium.Env[Any, Any], reward: Any, high: Any, steps: int, tolerance: float) -> None:
    """Mean difference along an episode."""
    random, errors = np.random.default_rng(0), []
    before, _ = env.reset(seed=0)
    for _ in range(steps):
        action = random.uniform(-1, 1, len(high))
        after, earned, terminated, truncated, _ = env.step((action * high).astype(np.float32))
        rows = [torch.as_tensor(np.asarray(array, np.float32)) for array in (before, action, after)]
        errors.append(abs(float(reward(*rows)) - float(earned)))
        before = after
        if terminated or truncated:
            break
    assert np.mean(errors) < tolerance
