"""The double pendulum's recipe with changes, and its model of the randomized simulator."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from forerun.bench.records import Options
from forerun_models.recipe import Recipe, load_recipe
from forerun_sim.collect import collect
from forerun_sim.spec import RobotSpec

if TYPE_CHECKING:
    from forerun_models.training.run import Run

NETWORKS: dict[str, Any] = {
    "model": {"members": 7, "elites": 5, "hidden": 64, "history": 8},
    "training": {
        "batch": 64,
        "steps_per_epoch": 100,
        "phases": [{"epochs": epochs, "horizon": horizon} for epochs, horizon in ((3, 1), (8, 5), (12, 10), (14, 25))],
        "learning_rate": 5e-3,
        "weight_decay": 0.2,
        "holdout": 0.15,
        "validation_horizon": 50,
        "mirror": True,
    },
}
"""An ensemble that knows no physics: the recipe before."""
_EPISODES, _STEPS, _DRAWN = 80, 500, 500
"""Simulated episodes, each of another robot; the control steps of each; the seed by which they are drawn."""
_PRETRAINING: dict[str, Any] = {
    "least_squares": None,
    "holdout": 0.05,
    "phases": [{"epochs": epochs, "horizon": horizon} for epochs, horizon in ((5, 10), (8, 25), (10, 50))],
}


def changed(robot: str, changes: dict[str, Any]) -> Recipe:
    """The recipe shipped for ``robot``, with ``changes``."""
    return Recipe.model_validate(merged(load_recipe(robot, robot).as_data(), changes))


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """``base`` with ``changes``, mapping by mapping."""
    return base | {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }


def simulated(robot: RobotSpec, options: Options) -> Run:
    """The shipped recipe's model of the randomized simulator, before any real trial: one for all that begin with it."""
    import torch

    from forerun_models.training.run import load_run, train

    folder = (options.kept or options.work) / "simulation"
    if (folder / "weights.safetensors").exists():
        return load_run(folder)
    torch.set_num_threads(1)
    runs = collect(robot, episodes=_EPISODES, seed=_DRAWN, steps=_STEPS)
    trials = [run.trial(robot) for run in runs]
    runs.close()
    return train(trials, robot, changed(robot.name, {"training": _PRETRAINING}), 0, folder, resume=folder.exists())
