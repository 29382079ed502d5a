"""What is left of an agent's return when its bundle runs in the controller node, over ROS 2, in lockstep: the simulator waits for
each command, so that a busy machine changes nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from forerun.bench.records import Measurement, Options, Row, need_ros

EPISODES = 5
SEED = 1000
"""Of the simulator: its episodes are none of those in training."""


@dataclass(frozen=True)
class Case:
    """An agent that learns for ``steps`` in ``env``, with ``options`` of the environment and a ``recipe`` (its own if absent);
    ``evaluations`` of ``judged`` episodes each while it learns."""

    env: str
    agent: str
    steps: int
    recipe: str | None = None
    options: dict[str, Any] = field(default_factory=dict)
    evaluations: int = 10
    judged: int = EPISODES


_SINCOS = {"angles": "sincos", "history": 2}
_NEWEST = {"angles": "sincos", "history": 1}
_SEEN = {"camera": "above", "randomize": False}
CASES = {
    "pendulum-dyna-q": Case("forerun/pendulum-balance-v0", "dyna-q", 30_000, "dyna_q_pendulum", {"history": 1}),
    "pendulum-sac": Case("forerun/pendulum-balance-v0", "sac", 8_000, "sac_small", _SINCOS, evaluations=8, judged=20),
    "pendulum-mbpo": Case("forerun/pendulum-balance-v0", "mbpo", 800, "mbpo_small", _SINCOS, evaluations=4),
    "pendulum-dreamer": Case("forerun/pendulum-balance-v0", "dreamer", 4_500, "dreamer_fine", _NEWEST, evaluations=9, judged=20),
    "pendulum-dreamer-pixels": Case("forerun/pendulum-balance-v0", "dreamer", 3_000, "dreamer_pixels_fine", _SEEN, evaluations=6),
    "pendulum-mpc": Case("forerun/pendulum-balance-v0", "mpc", 700, "mpc_value", {"angles": "sincos"}, evaluations=2),
}
"""Row -> what is measured."""


def measure(options: Options) -> Measurement:
    """A row a case and seed: the return of the agent that is exported, that of training's best evaluation, there, in the
    simulator's episodes in the environment, and in the same ones over ROS 2."""
    need_ros()
    rows = [
        _row(name, CASES[name], seed, options.kept or options.work, options)
        for name in options.chosen(list(CASES))
        for seed in options.seeds
    ]
    return Measurement("deployment", rows, {"episodes": EPISODES, "simulator_seed": SEED})


def _row(name: str, case: Case, seed: int, folder: Path, options: Options) -> Row:
    from forerun import lockstep
    from forerun.deployment import in_environment, kept, setting_of
    from forerun_models.agents.best import best_of
    from forerun_models.agents.learn import learn, load_learned
    from forerun_models.export.agents import export_run

    run, bundle = folder / f"{name}-{seed}", options.work / f"{name}-{seed}.bundle"
    options.note(f"deployment: {name}, seed {seed}, learns for {case.steps} steps")
    learned = learn(
        case.env,
        case.agent,
        case.steps,
        seed,
        run,
        recipe=case.recipe,
        options=case.options,
        eval_every=max(1, case.steps // case.evaluations),
        eval_episodes=case.judged,
        resume=True,
        tensorboard=False,
    )
    export_run(run, bundle)
    setting = setting_of(bundle, seed=SEED)
    options.note(f"deployment: {name}, seed {seed}, over ROS 2")
    said = options.work / f"{name}-{seed}.ros"
    episodes = lockstep.deploy(bundle, setting, EPISODES, said)
    about, agent = load_learned(run, best=True)
    numbers = [int(episode.seed) for episode in episodes if episode.seed is not None]
    # What plans in the bundle is another model than the agent's own, so that the episodes would not be those of the same agent.
    same = None if case.agent == "mpc" else float(np.mean(in_environment(agent, about, setting, numbers)))
    reached = float(np.mean([episode.total for episode in episodes]))
    exported = best_of(learned.rows)
    trained = exported["eval_return_mean"]
    return {
        "case": name,
        "env": case.env,
        "agent": case.agent,
        "seed": seed,
        "env_steps": case.steps,
        "eval_episodes": case.judged,
        "exported_after": int(exported["env_steps"]),
        "return_last": round(learned.rows[-1]["eval_return_mean"], 3),
        "return_training": round(trained, 3),
        "return_environment": "" if same is None else round(same, 3),
        "return_ros": round(reached, 3),
        "kept_of_training": round(kept(trained, reached), 3),
        "kept_of_environment": "" if same is None else round(kept(same, reached), 3),
        "successes_ros": sum(bool(episode.success) for episode in episodes),
        "episodes": EPISODES,
        "pace": "lockstep",
    }
