"""Whether the shipped cartpole plans are as good as those of PETS' setting (Chua et al. 2018), which take far longer.

Both learn from the same simulated trials and control the same nominal PyBullet plant from the same initial states, with sensor
noise; the simulator waits for the plans. PETS: 7 members of 4 x 200 units, CEM with 5 iterations of 350 sequences over 15 steps,
elites 10 %, TS1 with the members' own noise and 20 particles, which are 21 here, as each member has the same number. 15 steps are
0.3 s, short for a swing-up at 50 Hz, so there is also a row of PETS' sizes over the shipped recipe's horizon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from forerun.bench.pets_episodes import Control, Episodes
from forerun.bench.planner_sizes import PETS
from forerun.bench.records import Measurement, Options, Row
from forerun_models.recipe import ModelSettings, Planner, Recipe, load_recipe
from forerun_sim.collect import collect
from forerun_sim.spec import RobotSpec, load_robot

if TYPE_CHECKING:
    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_sim.trial import Trial

ROBOT = "cartpole"
SEEDS = 10
"""Episodes of each setting, if the command says nothing else."""
LONG_SEEDS = 1
"""Episodes of PETS' sizes over the longer horizon, at most."""
TIMED = 2500
"""Plans of ours whose time is taken, at least: the 99.9th percentile of fewer says nothing."""
PETS_MODEL = ModelSettings(members=7, elites=7, hidden=200, layers=4)
PETS_PLANNER = Planner(horizon=15, samples=350, iterations=5, **PETS)
PETS_THREADS = 2


@dataclass(frozen=True)
class _Setting:
    name: str
    recipe: Recipe
    model: str
    threads: int
    seeds: Sequence[int]
    timed: int = 0


def measure(options: Options) -> Measurement:
    """Returns, their difference to PETS' and plan times; trainings and episodes in ``options.kept`` are not done again."""
    spec, shipped = load_robot(ROBOT), load_recipe(ROBOT, ROBOT)
    folder = options.kept or options.work
    horizon = shipped.planner.horizon
    settings = [
        _Setting("forerun", shipped, "forerun", 1, options.seeds, TIMED),
        _Setting("pets", _with(shipped, PETS_PLANNER), "pets", PETS_THREADS, options.seeds),
        _Setting(
            f"pets-h{horizon}",
            _with(shipped, PETS_PLANNER.model_copy(update={"horizon": horizon})),
            "pets",
            PETS_THREADS,
            options.seeds[:LONG_SEEDS],
        ),
    ]
    models = _models(spec, {one.model: one.recipe for one in reversed(settings)}, folder, options.note)
    episodes = Episodes(folder / "episodes.jsonl", spec, shipped.task, options.steps)
    done: dict[str, list[dict[str, Any]]] = {}
    for one in settings:
        done[one.name] = _run(one, models[one.model], spec, episodes, options)
    reference = {row["seed"]: row["return"] for row in done["pets"]}
    rows: list[Row] = [_row(one, done[one.name], reference) for one in settings]
    told = {one.name: one.recipe.as_data() | {"threads": one.threads} for one in settings}
    return Measurement("pets", rows, {"steps": options.steps, "engine": "bullet", "recipes": told})


def _with(recipe: Recipe, planner: Planner) -> Recipe:
    return recipe.model_copy(update={"model": PETS_MODEL, "planner": planner})


def _models(
    spec: RobotSpec, recipes: Mapping[str, Recipe], folder: Path, note: Callable[[str], None]
) -> dict[str, tuple[Ensemble, float]]:
    """Trained ensembles by name, with the minutes that each took; the bags are simulated once."""
    import torch

    from forerun_models.dynamics.ensemble import Ensemble
    from forerun_models.training.run import load_run, train

    torch.set_num_threads(1)
    trials: list[Trial] = []
    models = {}
    for name, recipe in recipes.items():
        run = folder / name
        if not (run / "weights.safetensors").exists():
            if not trials:
                amount = recipe.collection
                note("pets: simulating trials")
                recordings = collect(spec, task=recipe.task, episodes=amount.episodes, steps=amount.steps, seed=0)
                trials = [recording.trial(spec) for recording in recordings]

            def told(epoch: Any, total: int, name: str = name) -> None:
                note(f"pets: training {name}, epoch {epoch.number} of {total}")

            train(trials, spec, recipe, 0, run, resume=run.exists(), on_epoch=told)
        finished = load_run(run)
        assert isinstance(finished.model, Ensemble), recipe.model.kind
        models[name] = (finished.model.eval(), sum(epoch.seconds for epoch in finished.epochs) / 60)
    return models


def _run(
    setting: _Setting, trained: tuple[Ensemble, float], spec: RobotSpec, episodes: Episodes, options: Options
) -> list[dict[str, Any]]:
    """Episodes of all seeds; ``Control`` is made only where one is missing."""
    control: Control | None = None
    rows = []
    plans = 0
    for number, seed in enumerate(setting.seeds):
        options.note(f"pets: {setting.name}, episode {number + 1} of {len(setting.seeds)}")
        key = f"{setting.name} {setting.recipe.model_dump_json()} {setting.threads}"
        found = episodes.find(key, seed)
        if found is None:
            control = control or Control(trained[0], spec, setting.recipe, setting.threads)
            # Further steps of the episode count for the time of plans alone.
            left = len(setting.seeds) - number
            extra = max(0, -(-(setting.timed - plans) // left) - options.steps)
            found = episodes.run(key, control, seed, extra)
        plans += len(found["plan_ms"])
        rows.append(found | {"train_min": trained[1]})
    return rows


def _row(setting: _Setting, done: Sequence[Mapping[str, Any]], reference: Mapping[int, float]) -> Row:
    returns = np.array([row["return"] for row in done])
    plans = np.concatenate([row["plan_ms"] for row in done])
    p50, p99, p999 = np.percentile(plans, (50, 99, 99.9))
    planner = setting.recipe.planner
    median, same = float(np.median(returns)), [reference[row["seed"]] for row in done]
    return {
        "setting": setting.name,
        "return_median": round(median, 2),
        "return_min": round(float(returns.min()), 2),
        "return_max": round(float(returns.max()), 2),
        # Below 0: worse than PETS' setting on the same seeds.
        "percent_above_pets": round(100 * (median - float(np.median(same))) / abs(float(np.median(same))), 2),
        "end_reward_median": round(float(np.median([row["end_reward"] for row in done])), 3),
        "episodes": len(done),
        "plan_p50_ms": round(float(p50), 2),
        "plan_p99_ms": round(float(p99), 2),
        "plan_p999_ms": round(float(p999), 2),
        "plans": len(plans),
        "threads": setting.threads,
        "runs": done[0]["runs"],
        "members": setting.recipe.model.elites,
        "hidden": setting.recipe.model.hidden,
        "layers": setting.recipe.model.layers,
        "samples": planner.samples,
        "particles": planner.particles * setting.recipe.model.elites if planner.aleatoric else setting.recipe.model.elites,
        "iterations": planner.iterations,
        "horizon": planner.horizon,
        "train_min": round(done[0]["train_min"], 1),
        "seed": done[0]["seed"],
    }
