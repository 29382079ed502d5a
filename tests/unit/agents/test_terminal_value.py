"""A planner's value at the horizon: equal to what is known where the best value is known, and worth as much as a long horizon."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from forerun_models.agents.base import EnvSpec
from forerun_models.agents.buffer import Buffer
from forerun_models.agents.environment_model import EnvironmentModel, EnvironmentSettings
from forerun_models.agents.mpc import MpcAgent, MpcSettings
from forerun_models.agents.terminal_value import TerminalValue, ValueSettings
from forerun_models.recipe import Planner
from support import point, slider
from support.planning import cost, decide, slider_planner

FAST = {"hidden": [32], "batch": 64, "learning_rate": 3e-3, "rollouts": 200, "updates_per_step": 5, "initial_temperature": 0.01}


def test_the_value_of_a_linear_quadratic_problem() -> None:
    """x' = x + u / 2 costs x'^2 + u^2, discounted by 0.7 a step: the value is -p x^2, p by Riccati's equation."""
    push, effort, discount = 0.5, 1.0, 0.7
    p = 0.0
    for _ in range(100):
        far = 1.0 + discount * p
        p = far - (far * push) ** 2 / (effort + far * push**2)
    settings = ValueSettings.model_validate(
        {
            **FAST,
            "hidden": [48, 48],
            "learning_rate": 1e-3,
            "discount": discount,
            "target_rate": 0.05,
            "initial_temperature": 1e-3,
            "target_entropy": -3.0,
        }
    )
    learner, buffer, random = TerminalValue(1, 1, settings, seed=0), Buffer(4000, (1,), np.float32, 1), np.random.default_rng(0)
    x, u = random.uniform(-1.5, 1.5, (2, 4000, 1)).astype(np.float32)
    u = np.clip(u, -1, 1)
    after = x + push * u
    reward = -(after**2)[:, 0] - effort * (u**2)[:, 0]
    never = np.zeros(len(x), np.bool_)
    buffer.extend({"observation": x, "action": u, "reward": reward, "following": after, "terminated": never, "truncated": never})
    learner.update(EnvironmentModel(1, 1, EnvironmentSettings(), 0), buffer, steps=600)
    seen = torch.linspace(-1, 1, 21)[:, None]
    expected = -p * seen[:, 0] ** 2
    error = (learner.value(seen) - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < 0.07
    gain = (1.0 + discount * p) * push / (effort + (1.0 + discount * p) * push**2)
    assert (learner.policy(seen)[:, 0] + gain * seen[:, 0]).abs().max() < 0.1


@pytest.mark.parametrize("horizon", [1, 3, 5])
@pytest.mark.parametrize("state", [(0.3, 0.2), (-0.3, 0.4)])
def test_a_short_plan_with_the_right_value_begins_as_the_best_long_one_does(horizon: int, state: tuple[float, float]) -> None:
    long = 100
    curve = _cost_to_go(long)
    value = {"value": lambda reached, goal: -((reached @ torch.tensor(curve, dtype=torch.float32)) * reached).sum(dim=-1)}
    short = {"samples": 128, "iterations": 8, "colour": 0.5, "horizon": horizon}
    gain, x, given = slider.riccati(long)[0], np.array(state), []
    best, y = [], np.array(state)
    for _ in range(12):
        given.append(decide(slider_planner(value, **short), x)["plan"][0, 0].double().numpy())
        x = slider.A @ x + slider.B @ given[-1]
        best.append(-(gain @ y))
        y = slider.A @ y + slider.B @ best[-1]
    assert cost(state, given) + x @ curve @ x == pytest.approx(cost(state, best) + y @ curve @ y, rel=0.01)
    assert given[0] == pytest.approx(best[0], abs=0.05 * slider.FORCE)


def _cost_to_go(horizon: int) -> NDArray[np.float64]:
    """V with the cost x' V x of ``horizon`` steps of the slider from x on, done as well as can be."""
    q, r = np.diag([1.0, 0.1]), 0.16 / slider.FORCE**2
    closed, curve = np.zeros((2, 2)), np.zeros((2, 2))
    for gain in slider.riccati(horizon)[::-1]:
        closed = slider.A - slider.B @ gain
        curve = closed.T @ (q + curve) @ closed + gain.T * r @ gain
    return curve


@pytest.fixture(scope="module")
def settings() -> MpcSettings:
    """Plans see two steps ahead."""
    return MpcSettings.model_validate(
        {
            "warmup": 60,
            "train_every": 100,
            "model": {"members": 3, "elites": 3, "hidden": 16, "updates": 150, "learning_rate": 5e-3},
            "planner": {"horizon": 2, "samples": 32, "elites": 6, "iterations": 2, "std": 0.8, "policy_samples": 4},
            "value": {**FAST, "discount": 0.9, "target_rate": 0.02},
        }
    )


def _far(x: float) -> float:
    """Pays near a place that is eight steps away from 0; plans of two steps see nothing of it."""
    return float(np.exp(-(((x - 4.0) / 0.4) ** 2)))


def _learn(agent: MpcAgent, steps: int, first: int = 0) -> None:
    random = np.random.default_rng(first)
    for _ in range(steps):
        x, action = float(random.uniform(-1, 5)), random.uniform(-1, 1, 1)
        agent.observe(point.step(x, action[0], 0)._replace(reward=_far(x + point.PUSH * action[0])))
        agent.update()


def _earned(agent: MpcAgent) -> float:
    actor, x, total = agent.actor(explore=False), 0.0, 0.0
    actor.reset(0)
    for _ in range(14):
        x += point.PUSH * float(np.clip(np.asarray(actor.act(np.array([x], np.float32)))[0], -1, 1))
        total += _far(x)
    return total


@pytest.fixture(scope="module")
def learned(settings: MpcSettings) -> MpcAgent:
    agent = MpcAgent(point.SPEC, settings, 0)
    _learn(agent, 300)
    return agent


def test_plans_of_two_steps_lead_to_what_pays_eight_steps_away(learned: MpcAgent, settings: MpcSettings) -> None:
    assert _earned(learned) > 4  # of 6.2 that are possible
    planner = settings.planner.model_copy(update={"policy_samples": 0})
    without = MpcAgent(point.SPEC, settings.model_copy(update={"value": None, "planner": planner}), 0)
    _learn(without, 60)
    assert _earned(without) < 0.1


def test_it_goes_on_from_its_state_to_the_same_values_and_actions(learned: MpcAgent, settings: MpcSettings) -> None:
    found: list[Any] = []
    for _ in range(2):
        agent = MpcAgent(point.SPEC, settings, 0)
        agent.load_state_dict(copy.deepcopy(learned.state_dict()))
        _learn(agent, 20, first=1)
        assert agent.value is not None
        actor = agent.actor(explore=False)
        actor.reset(0)
        found.append((agent.value.value(torch.tensor([[0.3]])), np.asarray(actor.act(np.array([0.3], np.float32)))))
    assert torch.equal(found[0][0], found[1][0])
    assert np.array_equal(found[0][1], found[1][1])


def test_values_return_to_what_rewards_can_sum_up_to(learned: MpcAgent) -> None:
    value, rewards = copy.deepcopy(learned.value), learned.buffer.all()["reward"]
    assert value is not None
    assert value.learner.possible == pytest.approx((0.0, float(rewards.max()) / (1.0 - 0.9)))
    value.learner.targets.parameters.mul_(4.0)  # astray: what follows is worth thousands
    seen = torch.from_numpy(learned.buffer.all()["observation"])
    value.learner.critics.parameters.copy_(value.learner.targets.parameters)
    assert value.value(seen).abs().max() > 50
    value.update(learned.model, learned.buffer, steps=700)
    found = value.value(seen)
    assert found.min() > -2 and found.max() < 12


def test_with_a_value_a_short_horizon_is_no_mistake(settings: MpcSettings) -> None:
    agent = MpcAgent(EnvSpec("point", point.SPEC.observation, 1, horizon=100), settings, 0)
    assert not any("planner.horizon" in text for text in agent.advice())


def test_a_policys_samples_without_a_policy_are_refused() -> None:
    with pytest.raises(ValueError, match="add 'value"):
        MpcSettings(planner=Planner(policy_samples=4))
