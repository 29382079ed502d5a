"""An agent that plans on a plant whose commands act late: it is shown the commands that are still under way."""

from __future__ import annotations

import numpy as np
import pytest

from forerun_models.agents.base import Step
from forerun_models.agents.commands import Commands
from forerun_models.agents.mpc import MpcAgent, MpcSettings
from support import point

LATE = 2
"""Steps."""
SETTINGS = {
    "warmup": 100,
    "train_every": 100,
    "hold": 1,
    "model": {"members": 3, "elites": 3, "hidden": 16, "updates": 100, "learning_rate": 1e-2},
    "planner": {"horizon": 6, "samples": 32, "elites": 6, "iterations": 2, "std": 0.8},
}


def play(agent: MpcAgent, episodes: int, explore: bool) -> tuple[list[float], list[dict[str, float]]]:
    """Returns, and what updates said. The point (``support.point``) is pushed LATE steps after the command."""
    totals, said = [], []
    for episode in range(episodes):
        x = float(np.random.default_rng(episode).uniform(-1.5, 1.5))
        actor, given, total = agent.actor(explore), [0.0] * LATE, 0.0
        actor.reset(episode)
        for number in range(point.SPEC.horizon or 0):
            seen = np.array([x], np.float32)
            action = np.asarray(actor.act(seen), np.float32)
            given.append(float(action[0]))
            x += point.PUSH * given.pop(0)
            total -= x**2
            if explore:
                last = number + 1 == point.SPEC.horizon
                agent.observe(Step(seen, action, -(x**2), np.array([x], np.float32), False, last))
                said.append(agent.update())
        totals.append(total)
    return totals, said


def learned(commands: int) -> tuple[MpcAgent, float]:
    agent = MpcAgent(point.SPEC, MpcSettings.model_validate({**SETTINGS, "commands": commands}), 0)
    return agent, next(metrics["model_error"] for metrics in play(agent, 10, explore=True)[1] if "model_error" in metrics)


def test_what_acts_late_is_foreseen_and_controlled_only_with_the_commands_under_way() -> None:
    (blind, blind_error), (agent, error) = learned(0), learned(LATE)
    assert error < 0.1 < 0.5 < blind_error
    worse, better = (np.mean(play(one, 4, explore=False)[0]) for one in (blind, agent))
    assert better > worse + 0.5
    shown, actions, episode = (agent.buffer.all()[name] for name in ("observation", "action", "episode"))
    for number in np.unique(episode):
        rows = episode == number
        given = np.concatenate([np.zeros((LATE, 1), np.float32), actions[rows]])
        assert np.array_equal(shown[rows, 1:], np.concatenate([given[1:-1], given[:-2]], axis=1)), "newest first"


@pytest.mark.parametrize("count", [0, 1, 3])
def test_commands_stand_behind_the_observation_newest_first(count: int) -> None:
    commands = Commands(2, 1, count)
    shown = commands.first(np.array([5, 6], np.float32))
    for number in (1, 2):
        shown = commands.then(shown, np.array([0.4 * number], np.float32), np.array([5 + number, 6], np.float32))
    assert np.allclose(shown, [7, 6, 0.8, 0.4, 0.0][: commands.size])
