"""How good an agent is: whole episodes without exploration, in an environment of their own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from forerun_models.agents.base import Actor
from forerun_models.agents.environment import Environment

LONGEST = 10_000
"""Steps after which an evaluation ends an episode that the environment would never end."""
_EPISODE, _ACTOR = 1, 3


class Evaluation(NamedTuple):
    """Of some episodes: mean and standard deviation of the return, mean length, share of successes (None: no such thing)."""

    mean: float
    std: float
    length: float
    success: float | None


def seed_of(*numbers: int) -> int:
    """A seed that these numbers decide; others give unrelated ones."""
    return int(np.random.SeedSequence(numbers).generate_state(1)[0]) & 0x7FFFFFFF


class Played(NamedTuple):
    """An episode."""

    total: float
    length: int
    success: bool | None


def play(actor: Actor, environment: Environment, seed: int, actor_seed: int, options: Mapping[str, Any] | None = None) -> Played:
    """One episode of ``actor``, which ``seed`` and the environment's own ``options`` begin."""
    observation = environment.reset(seed, options)
    actor.reset(actor_seed)
    total, length, over = 0.0, 0, False
    while not over:
        outcome = environment.step(actor.act(observation))
        observation = outcome.observation
        total += outcome.reward
        length += 1
        over = outcome.terminated or outcome.truncated or (length >= LONGEST and environment.spec.horizon is None)
    return Played(total, length, outcome.success)


def evaluate(actor: Actor, environment: Environment, episodes: int, seed: int, number: int = 0) -> Evaluation:
    """Returns of ``episodes`` episodes.

    Args:
        actor: acts.
        environment: not the one that the agent learns in.
        episodes: at least one.
        seed: of the run.
        number: of the evaluation: (``seed``, ``number``) decides initial states, whichever the agent.
    """
    played = [
        play(actor, environment, seed_of(seed, _EPISODE, episode), seed_of(seed, _ACTOR, episode))
        for episode in range(number * episodes, (number + 1) * episodes)
    ]
    returns = [one.total for one in played]
    successes = [one.success for one in played if one.success is not None]
    success = float(np.mean(successes)) if successes else None
    return Evaluation(float(np.mean(returns)), float(np.std(returns)), float(np.mean([one.length for one in played])), success)
