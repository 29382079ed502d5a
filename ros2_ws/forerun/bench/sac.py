"""Soft actor-critic against Stable-Baselines3's, and what a model saves: cost of an update, and learning curves.

Stable-Baselines3 may be in an environment of its own that also has forerun's packages: ``FORERUN_SB3_PYTHON`` names its Python.
Where it is not found, its rows are left out. Curves are of one thread; returns are those of the same deterministic episodes, and
``cpu_s`` is the processor's time for learning and evaluations.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from forerun.bench.records import Measurement, Options, Row, Unavailable
from forerun.bench.sac_offline import WAYS, data, row

UPDATES = {"update-64": 64, "update-256": 256}
"""Row -> units of both hidden layers."""
EVALUATED = 5
"""Episodes of an evaluation."""
PEER = "sb3"


@dataclass(frozen=True)
class Curve:
    """A learning curve: ``steps`` of environment ``env``; ``threshold`` is the return whose first reaching is told. ``recipe``
    of the agent; that for small networks if absent."""

    env: str
    agent: str
    steps: int
    every: int
    threshold: float
    recipe: str | None = None


CURVES = {
    "pendulum-sac": Curve("Pendulum-v1", "sac", 6000, 500, -200.0),
    "pendulum-sb3": Curve("Pendulum-v1", PEER, 6000, 500, -200.0),
    "pendulum-mbpo": Curve("Pendulum-v1", "mbpo", 1500, 100, -200.0),
    "pendulum-dreamer": Curve("Pendulum-v1", "dreamer", 5000, 1000, -200.0, "dreamer"),
    "inverted-sac": Curve("InvertedPendulum-v5", "sac", 6000, 500, 950.0),
    "inverted-mbpo": Curve("InvertedPendulum-v5", "mbpo", 1500, 100, 950.0),
}


def measure(options: Options) -> Measurement:
    """A row a size of update, a row a curve and seed, and a row a way of learning offline and seed.

    Curves in ``options.kept`` are not learned again.

    Raises:
        Unavailable: only rows were asked for that need Stable-Baselines3, and it is not here.
    """
    python = _python_of_peer()
    rows: list[Row] = []
    chosen = options.chosen([*UPDATES, *CURVES, *WAYS])
    steps = data() if set(chosen) & set(WAYS) else []
    for name in chosen:
        if name in WAYS:
            for seed in options.seeds:
                options.note(f"sac: {name}, seed {seed}")
                rows.append(row(name, steps, seed))
            continue
        if python is None and (name in UPDATES or CURVES[name].agent == PEER):
            options.note(f"sac: {name} is left out: Stable-Baselines3 is not here")
            continue
        if name in UPDATES:
            options.note(f"sac: {name}")
            rows.append({"row": name, **_ask(python, "update", str(UPDATES[name]), str(options.seeds[0]))})
            continue
        for seed in options.seeds:
            options.note(f"sac: {name}, seed {seed}")
            rows.append(_curve_row(name, seed, python, options))
    if not rows:
        raise Unavailable("Stable-Baselines3 is not here: pip install it, or name a Python that has it in FORERUN_SB3_PYTHON")
    told = {name: vars(CURVES[name]) for name in chosen if name in CURVES}
    return Measurement("sac", rows, {"threads": 1, "evaluated": EVALUATED, "recipes": "*_small", "curves": told})


def _python_of_peer() -> str | None:
    named = os.environ.get("FORERUN_SB3_PYTHON")
    return named or (sys.executable if find_spec("stable_baselines3") is not None else None)


def _ask(python: str | None, *arguments: str) -> dict[str, Any]:
    """What ``forerun.bench.sac_peer`` prints last."""
    assert python is not None
    ran = subprocess.run([python, "-m", "forerun.bench.sac_peer", *arguments], capture_output=True, text=True, check=False)
    if ran.returncode != 0:
        raise Unavailable(f"{python}: {(ran.stderr.strip().splitlines() or ['no message'])[-1]}")
    answer: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return answer


def _curve_row(name: str, seed: int, python: str | None, options: Options) -> Row:
    curve = CURVES[name]
    folder = options.kept or options.work
    kept = folder / f"{name}-{seed}.json"
    if not kept.exists():
        folder.mkdir(parents=True, exist_ok=True)
        if curve.agent == PEER:
            found = _ask(python, "learn", curve.env, str(curve.steps), str(curve.every), str(seed))
        else:
            found = _learned(curve, seed, folder / f"{name}-{seed}")
        kept.write_text(json.dumps(found))
    found = json.loads(kept.read_text())
    return {"row": name, "seed": seed, "env": curve.env, "agent": curve.agent, **figures(curve, found["curve"], found["cpu_s"])}


def _learned(curve: Curve, seed: int, out: Path) -> dict[str, Any]:
    """The curve of one of our agents, as ``sac_peer`` gives that of the other."""
    import torch

    from forerun_models.agents.learn import learn

    torch.set_num_threads(1)
    began = time.process_time()
    run = learn(
        curve.env,
        curve.agent,
        curve.steps,
        seed,
        out,
        recipe=curve.recipe or f"{curve.agent}_small",
        eval_every=curve.every,
        eval_episodes=EVALUATED,
        tensorboard=False,
        resume=True,
    )
    return {
        "curve": [(row["env_steps"], row["eval_return_mean"]) for row in run.rows],
        "cpu_s": time.process_time() - began,
    }


def figures(curve: Curve, points: Sequence[tuple[int, float]], cpu_s: float) -> Row:
    """Of a curve of (environment steps, mean return): the last return, the mean of the last three, the steps after which the
    threshold was first reached (empty: never), cost, and the curve itself."""
    reached = [steps for steps, value in points if value >= curve.threshold]
    last = [value for _, value in points[-3:]]
    return {
        "env_steps": points[-1][0],
        "return_last": round(points[-1][1], 1),
        "return_last_three": round(sum(last) / len(last), 1),
        "threshold": curve.threshold,
        "steps_to_threshold": reached[0] if reached else "",
        "cpu_s": round(cpu_s, 1),
        "cpu_ms_per_step": round(1e3 * cpu_s / points[-1][0], 2),
        "curve": " ".join(f"{steps}:{value:.0f}" for steps, value in points),
    }
