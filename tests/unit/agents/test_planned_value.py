"""A value learned from plans: right where the best value is known, and never beyond what rewards can sum up to."""

from __future__ import annotations

import copy
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import torch
from torch import Tensor

from forerun_models.agents.buffer import Buffer
from forerun_models.agents.environment_model import EnvironmentModel
from forerun_models.agents.mpc import MpcAgent, MpcSettings
from forerun_models.agents.planned_value import PlannedValue, PlannedValueSettings
from forerun_models.planners.networks import Networks
from forerun_models.recipe import Planner
from support import point

SETTINGS = PlannedValueSettings.model_validate(
    {"kind": "plans", "hidden": [32, 32], "batch": 64, "discount": 0.9, "states": 100, "length": 5, "every": 10}
)
GOAL = 4.0


def exact(ends: bool = False, known: Any = None) -> EnvironmentModel:
    """The point's own motion; 1 a step beyond ``GOAL``, which may end the episode."""

    def step(states: list[Tensor], actions: list[Tensor]) -> tuple[Tensor, Tensor]:
        after = states[0] + point.PUSH * actions[0]
        return after, torch.zeros_like(after)

    model = SimpleNamespace(
        known_reward=known,
        dynamics=SimpleNamespace(members=2, step=step),
        rewards=lambda before, action, after: (after[..., 0] >= GOAL).float(),
        endings=lambda after: (after[..., 0] >= GOAL) & ends,
    )
    return cast(EnvironmentModel, model)


@pytest.fixture(scope="module")
def buffer() -> Buffer:
    """Seen are places from -1 to 5, by chance."""
    made, random = Buffer(1000, (1,), np.float32, 1), np.random.default_rng(0)
    for number in range(400):
        x, action = float(random.uniform(-1, 5)), float(random.uniform(-1, 1))
        reward = float(x + point.PUSH * action >= GOAL)
        made.add(point.step(x, action, number)._replace(reward=reward))
    return made


def learned(buffer: Buffer, model: EnvironmentModel, steps: int = 400) -> PlannedValue:
    value = PlannedValue(1, 1, SETTINGS, seed=0)
    value.imagine(model, buffer, 0)
    value.update(model, buffer, steps)
    return value


@pytest.fixture(scope="module")
def value(buffer: Buffer) -> PlannedValue:
    return learned(buffer, exact())


def test_values_are_those_of_going_straight_to_the_goal_and_staying(value: PlannedValue) -> None:
    places = torch.tensor([[0.25], [1.25], [2.25], [3.25], [4.25]])
    away = torch.tensor([7.0, 5.0, 3.0, 1.0, 0.0])  # steps without reward
    assert value.value(places) == pytest.approx(10.0 * 0.9**away, rel=0.2)


def test_an_end_is_worth_what_it_pays_and_nothing_after(buffer: Buffer) -> None:
    found = learned(buffer, exact(ends=True)).value(torch.tensor([[1.25], [3.25]]))
    assert found == pytest.approx([0.9**5, 0.9], rel=0.15)


def test_a_goal_that_no_episode_has_reached_is_found_in_the_model(buffer: Buffer) -> None:
    poor = Buffer(1000, (1,), np.float32, 1)
    for number, (x, action) in enumerate(zip(*(buffer.all()[name][:, 0] for name in ("observation", "action")), strict=True)):
        if x + point.PUSH * action < GOAL:
            poor.add(point.step(float(x), float(action), number)._replace(reward=0.0))
    near = torch.tensor([[3.25]])
    assert learned(poor, exact(), steps=100).value(near) == 0.0
    assert learned(poor, exact(known=lambda *_: None), steps=100).value(near) > 3.0


def test_what_was_really_done_is_among_the_plans(buffer: Buffer) -> None:
    one = SETTINGS.model_copy(update={"sequences": 2, "mixed": 0.0, "std": 1e-6})
    made, seen = PlannedValue(1, 1, one, seed=0), Buffer(100, (1,), np.float32, 1)
    for number in range(8):
        seen.add(point.step(point.PUSH * number, 1.0, number)._replace(reward=0.0))
    made.imagine(exact(), buffer, 0)
    states, worth = made.plan(exact(), seen)
    near = (states[:, 0] >= 1.5) & (states[:, 0] < 2.0)  # five pushes lead over the goal, standing still does not
    assert worth[near].max() > 0.6


def test_no_place_is_worth_more_than_rewards_can_sum_up_to(value: PlannedValue) -> None:
    astray = copy.deepcopy(value)
    astray.critics.parameters.mul_(10.0)
    found = astray.value(torch.linspace(-1000, 1000, 50)[:, None])
    assert found.min() >= 0.0 and found.max() <= 10.0


def test_its_networks_say_the_same_and_can_be_packed(value: PlannedValue) -> None:
    networks, places = value.networks(), torch.linspace(-3, 8, 20)[:, None]
    again = Networks.unpack(networks.pack(), "value")
    assert again.policy is None
    for one in (networks, again):
        assert torch.allclose(one.value(places, torch.zeros(0)), value.value(places), atol=1e-4)


def test_it_goes_on_from_its_state_to_the_same_values(value: PlannedValue, buffer: Buffer) -> None:
    found: list[Any] = []
    for _ in range(2):
        other = PlannedValue(1, 1, SETTINGS, seed=5)
        other.load_state_dict(copy.deepcopy(value.state_dict()))
        other.update(exact(), buffer, 415)
        found.append(other.value(torch.tensor([[0.3], [3.0]])))
    assert torch.equal(*found)


def test_plans_of_two_steps_lead_to_what_pays_eight_steps_away() -> None:
    settings = MpcSettings.model_validate(
        {
            "warmup": 60,
            "train_every": 100,
            "model": {"members": 3, "elites": 3, "hidden": 16, "updates": 150, "learning_rate": 5e-3},
            "planner": {"horizon": 2, "samples": 32, "elites": 6, "iterations": 2, "std": 0.8},
            "value": SETTINGS.model_dump(),
        }
    )
    agent, random = MpcAgent(point.SPEC, settings, 0), np.random.default_rng(0)
    for number in range(300):
        x, action = float(random.uniform(-1, 5)), random.uniform(-1, 1, 1)
        reward = float(np.exp(-(((x + point.PUSH * action[0] - 4.0) / 0.4) ** 2)))
        agent.observe(point.step(x, action[0], number)._replace(reward=reward))
        agent.update()
    actor, x, total = agent.actor(explore=False), 0.0, 0.0
    actor.reset(0)
    for _ in range(14):
        x += point.PUSH * float(np.clip(np.asarray(actor.act(np.array([x], np.float32)))[0], -1, 1))
        total += float(np.exp(-(((x - 4.0) / 0.4) ** 2)))
    assert total > 4  # of 6.2 that are possible


def test_a_value_without_a_policy_has_no_sequences_to_try() -> None:
    with pytest.raises(ValueError, match="without 'kind'"):
        MpcSettings(planner=Planner(policy_samples=4), value=SETTINGS)
