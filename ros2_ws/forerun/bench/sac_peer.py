"""Runs where Stable-Baselines3 is: ``python -m forerun.bench.sac_peer update|learn ...``; prints JSON.

Its SAC gets the networks, batch, step size and warm-up of ours; all else is the same by default.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from forerun.bench.timing import turns

WARM = 300
"""Transitions before updates are timed."""
EACH = 10
"""Updates of a turn."""
REPEATS = 15


def update(hidden: int, seed: int) -> dict[str, Any]:
    """Milliseconds an update of both, in turns: median on the wall's clock, and of the processor."""
    import numpy as np

    from forerun_models.agents.base import Step
    from forerun_models.agents.environment import make_environment
    from forerun_models.agents.registry import agent_class, make_agent, settings_of
    from forerun_models.agents.sac.agent import SacAgent

    settings = settings_of("sac").model_copy(update={"hidden": (hidden, hidden), "warm_up": WARM})
    environment = make_environment("Pendulum-v1", agent_class("sac"))
    ours = make_agent("sac", environment.spec, settings, seed)
    assert isinstance(ours, SacAgent)
    draws, seen = np.random.default_rng(seed), environment.reset(seed)
    for _ in range(WARM):
        action = draws.uniform(-1, 1, 1).astype(np.float32)
        outcome = environment.step(action)
        ours.observe(Step(seen, action, outcome.reward, outcome.observation, outcome.terminated, outcome.truncated))
        seen = environment.reset(seed) if outcome.truncated else outcome.observation
    theirs = _model("Pendulum-v1", (hidden, hidden), ours.settings.batch, ours.settings.learning_rate, WARM, seed)
    theirs.learn(WARM + 1)
    actor = ours.actor(explore=True)
    actor.reset(seed)
    works = {
        "ours": lambda: [ours.update() for _ in range(EACH)],
        "theirs": lambda: theirs.train(EACH, ours.settings.batch),
        "our_act": lambda: [actor.act(seen) for _ in range(EACH)],
        "their_act": lambda: [theirs.predict(seen) for _ in range(EACH)],
    }
    taken = turns(works, REPEATS)
    wall = {name: 1e3 * float(np.median(times.wall)) / EACH for name, times in taken.items()}
    cpu = {name: 1e3 * float(np.median(times.cpu)) / EACH for name, times in taken.items()}
    return {
        "update_ms": round(wall["ours"], 3),
        "sb3_update_ms": round(wall["theirs"], 3),
        "times_sb3": round(wall["theirs"] / wall["ours"], 2),
        "update_cpu_ms": round(cpu["ours"], 3),
        "sb3_update_cpu_ms": round(cpu["theirs"], 3),
        "times_sb3_cpu": round(cpu["theirs"] / cpu["ours"], 2),
        "act_ms": round(wall["our_act"], 3),
        "sb3_act_ms": round(wall["their_act"], 3),
        "hidden": hidden,
        "batch": ours.settings.batch,
        "seed": seed,
    }


def learn(env_id: str, steps: int, every: int, seed: int) -> dict[str, Any]:
    """The curve of Stable-Baselines3's SAC: (environment steps, mean return) where ours are evaluated, in the same episodes."""
    from stable_baselines3.common.callbacks import BaseCallback

    from forerun.bench.sac import EVALUATED
    from forerun_models.agents.base import Actor
    from forerun_models.agents.environment import make_environment
    from forerun_models.agents.evaluate import evaluate
    from forerun_models.agents.registry import agent_class, settings_of
    from forerun_models.agents.sac.settings import SacSettings

    settings = settings_of("sac", "sac_small")
    assert isinstance(settings, SacSettings)
    judge = make_environment(env_id, agent_class("sac"))
    model = _model(env_id, settings.hidden, settings.batch, settings.learning_rate, settings.warm_up, seed)
    curve: list[tuple[int, float]] = []

    class Theirs(Actor):
        def reset(self, seed: int) -> None:
            pass

        def act(self, observation: Any) -> Any:
            return model.predict(observation, deterministic=True)[0] / judge.env.action_space.high  # type: ignore[attr-defined]

    class Look(BaseCallback):  # type: ignore[misc]
        def _on_step(self) -> bool:
            if self.num_timesteps % every == 0:
                curve.append((self.num_timesteps, evaluate(Theirs(), judge, EVALUATED, seed, self.num_timesteps // every).mean))
            return True

    began = time.process_time()
    model.learn(steps, callback=Look())
    return {"curve": curve, "cpu_s": time.process_time() - began}


def _model(env_id: str, hidden: tuple[int, ...], batch: int, rate: float, warm_up: int, seed: int) -> Any:
    import torch
    from stable_baselines3 import SAC
    from stable_baselines3.common.logger import configure

    torch.set_num_threads(1)
    model = SAC(
        "MlpPolicy",
        env_id,
        learning_rate=rate,
        batch_size=batch,
        learning_starts=warm_up,
        policy_kwargs={"net_arch": list(hidden)},
        seed=seed,
        device="cpu",
    )
    model.set_logger(configure(None, []))
    return model


if __name__ == "__main__":
    job, *arguments = sys.argv[1:]
    jobs = {"update": lambda: update(*map(int, arguments)), "learn": lambda: learn(arguments[0], *map(int, arguments[1:]))}
    print(json.dumps(jobs[job]()))
