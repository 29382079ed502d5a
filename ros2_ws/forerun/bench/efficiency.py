"""How few steps an agent that plans needs in environments that are not ours: dm_control's, through the generic interface.

One recipe for the family (``models/agents/mpc_dmc.yaml``), 10 000 environment steps a run, the action held for two as TD-MPC2 is
measured. A row an episode in which the agent learned, and one for the evaluation at the end. Runs in ``--keep`` go on where they
were stopped. dm_control may need an environment of its own (see ``forerun.bench.dmc``).
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from forerun.bench.records import Measurement, Options, Row, Unavailable

SETTLED = 10
"""So many seeds are left out: settings were chosen on some of them."""
EVALUATED = 3
"""Episodes at the end."""
RECIPE = "mpc_dmc"


@dataclass(frozen=True)
class Task:
    """A task of the suite, for so many environment ``steps``. Its reward is ``known`` to the planner, or learned."""

    name: str
    known: bool = True
    steps: int = 10_000


TASKS = {
    "cartpole": Task("cartpole-swingup"),
    "pendulum": Task("pendulum-swingup"),
    "reacher": Task("reacher-easy"),
    "cartpole-learned": Task("cartpole-swingup", known=False),
    "pendulum-learned": Task("pendulum-swingup", known=False),
    "reacher-learned": Task("reacher-easy", known=False),
}
"""Row -> what is learned."""


def measure(options: Options) -> Measurement:
    """Rows of every task and seed.

    Raises:
        Unavailable: dm_control is not here.
    """
    if find_spec("dm_control") is None:
        raise Unavailable(
            'dm_control is not here: pip install dm_control "mujoco<4", in an environment of its own that has forerun too'
        )
    import torch

    torch.set_num_threads(1)
    rows: list[Row] = []
    for seed in (SETTLED + number for number in options.seeds):
        for name in options.chosen(list(TASKS)):
            options.note(f"efficiency: {name}, seed {seed}")
            rows += _run(TASKS[name], seed, (options.kept or options.work) / f"{name}-{seed}")
    return Measurement("dmc", rows, {"recipe": RECIPE, "evaluated": EVALUATED})


def _run(task: Task, seed: int, out: Path) -> list[Row]:
    from forerun.bench.dmc import REPEAT
    from forerun_models.agents.folder import Folder
    from forerun_models.agents.learn import learn
    from forerun_sim import resources

    recipe = resources.find("agents", RECIPE)
    if not task.known:
        out.parent.mkdir(parents=True, exist_ok=True)
        changed = out.with_suffix(".yaml")
        changed.write_text(f"{recipe.read_text()}\nreward: learned\n")
        recipe = changed
    steps = task.steps // REPEAT
    done = learn(
        f"dm_control/{task.name}-v0",
        "mpc",
        steps,
        seed,
        out,
        recipe=recipe,
        imports=("forerun.bench.dmc",),
        eval_every=steps,
        eval_episodes=EVALUATED,
        resume=True,
        tensorboard=False,
    )
    told = {"task": f"dm_control/{task.name}", "reward": "known" if task.known else "learned", "seed": seed}
    rows: list[Row] = [
        {**told, "env_steps": int(REPEAT * row["env_steps"]), "kind": "training", "episode_return": round(row["return"], 1)}
        for row in Folder(out).episodes()
    ]
    last = done.rows[-1]
    spread = {"episode_return": round(last["eval_return_mean"], 1), "return_std": round(last["eval_return_std"], 1)}
    return [*rows, {**told, "env_steps": task.steps, "kind": "evaluation", **spread, "cpu_s": round(last["cpu_s"])}]
