"""A point on a line that is pushed to the middle: the smallest problem of continuous control, with a known best policy."""

from __future__ import annotations

import numpy as np
from gymnasium.spaces import Box

from forerun_models.agents.base import Agent, EnvSpec, Step

PUSH = 0.5
SPEC = EnvSpec("point", Box(-np.inf, np.inf, (1,), np.float32), action_size=1, horizon=10)


def best_action(x):
    """Straight to the middle, as fast as it goes."""
    return np.clip(-np.asarray(x) / PUSH, -1.0, 1.0)


def step(x, action, number):
    """The step ``number`` (from 0) of an episode, which ends by time alone."""
    following = x + PUSH * float(action)
    seen = (np.array([x], np.float32), np.array([action], np.float32).reshape(1))
    return Step(*seen, -(following**2), np.array([following], np.float32), False, number + 1 == SPEC.horizon)


def returns(act, starts=(-1.5, -0.7, 0.4, 1.2)):
    """Sum of rewards of an episode from each of ``starts`` under ``act(x) -> action``."""
    total = []
    for x in starts:
        rewards = 0.0
        for number in range(SPEC.horizon):
            outcome = step(x, act(x), number)
            rewards, x = rewards + outcome.reward, float(outcome.following[0])
        total.append(rewards)
    return np.array(total)


def learn(agent: Agent, episodes: int, first: int = 0) -> list[dict[str, float]]:
    """Lets ``agent`` learn; what its updates said. (``first`` is the number of the first episode.)"""
    said = []
    for episode in range(first, first + episodes):
        x = float(np.random.default_rng(episode).uniform(-1.5, 1.5))
        actor = agent.actor(explore=True)
        actor.reset(episode)
        for number in range(SPEC.horizon):
            outcome = step(x, actor.act(np.array([x], np.float32))[0], number)
            agent.observe(outcome)
            said.append(agent.update())
            x = float(outcome.following[0])
        said.append(agent.end_episode())
    return said
