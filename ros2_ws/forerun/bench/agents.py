"""How fast agents learn by the clock: steps of experience and updates a second, on one core, without an environment.

An agent gets noise of an environment's shape as experience, so only its own work is timed: ``observe`` and ``update`` after each
step as in `forerun learn`, and ``act``. Beside other work ``update_cpu_ms``, the processor's time, says more than the clock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from gymnasium.spaces import Box

from forerun.bench.records import Measurement, Options, Row
from forerun_models.agents.base import Agent, EnvSpec, Step

EPISODE = 200
"""Steps."""
UPDATES = 25
"""How many are timed at least."""
ACTS = 200


@dataclass(frozen=True)
class Case:
    """An agent, its recipe (its own if absent), the shape of what it sees ([O], or a picture [H, W, C]), ``actions`` numbers."""

    agent: str
    recipe: str | None
    shape: tuple[int, ...]
    actions: int = 1

    def spec(self) -> EnvSpec:
        """The environment that it believes to be in."""
        box = Box(0, 255, self.shape, np.uint8) if len(self.shape) == 3 else Box(-1, 1, self.shape, np.float32)
        return EnvSpec("noise", box, self.actions)


CASES = {
    "dreamer": Case("dreamer", None, (3,)),
    "dreamer-pixels": Case("dreamer", "dreamer_pixels", (32, 32, 3)),
}
"""Row -> what is measured."""


def measure(options: Options) -> Measurement:
    """A row a case."""
    import torch

    torch.set_num_threads(1)
    rows = []
    for name in options.chosen(list(CASES)):
        options.note(f"agents: {name}")
        rows.append(_row(name, CASES[name], options.seeds[0]))
    return Measurement("agents", rows, {"threads": 1, "episode": EPISODE, "updates": UPDATES})


def _row(name: str, case: Case, seed: int) -> Row:
    from forerun_models.agents.registry import make_agent, settings_of

    settings, spec = settings_of(case.agent, case.recipe), case.spec()
    agent = make_agent(case.agent, spec, settings, seed)
    experience = Experience(agent, seed)
    while not experience.step():  # until it begins to learn
        pass
    began, worked, steps = time.perf_counter(), time.process_time(), experience.steps
    updates = 0
    while updates < UPDATES:
        updates += experience.step()
    taken, steps = time.perf_counter() - began, experience.steps - steps
    worked = time.process_time() - worked
    actor, seen = agent.actor(explore=True), spec.observation.sample()
    actor.reset(seed)
    acting = _mean_seconds(lambda: actor.act(seen))
    return {
        "row": name,
        "agent": case.agent,
        "updates_per_s": round(updates / taken, 2),
        "update_ms": round(1e3 * taken / updates, 2),
        "update_cpu_ms": round(1e3 * worked / updates, 2),
        "steps_per_update": round(steps / updates, 2),
        "env_steps_per_s": round(1.0 / (taken / steps + acting), 1),
        "act_ms": round(1e3 * acting, 3),
        "observation": "x".join(map(str, case.shape)),
        "seed": seed,
    }


class Experience:
    """Noise for an agent, one step after another."""

    def __init__(self, agent: Agent, seed: int):
        self.steps = 0
        self._agent, self._random = agent, np.random.default_rng(seed)
        self._space = agent.env.observation
        self._space.seed(seed)
        self._seen = self._space.sample()

    def step(self) -> bool:
        """One step; whether the agent learned after it."""
        following = self._space.sample()
        action = self._random.uniform(-1, 1, self._agent.env.action_size).astype(np.float32)
        last = self.steps % EPISODE == EPISODE - 1
        self._agent.observe(Step(self._seen, action, float(self._random.normal()), following, False, last))
        self._seen = self._space.sample() if last else following
        self.steps += 1
        return bool(self._agent.update())


def _mean_seconds(work: Callable[[], object]) -> float:
    work()
    began = time.perf_counter()
    for _ in range(ACTS):
        work()
    return (time.perf_counter() - began) / ACTS
