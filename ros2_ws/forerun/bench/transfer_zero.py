"""What a robot is controlled by before it is known: a bundle learned in randomized simulation alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from forerun.bench import transfer_swing
from forerun.bench.pieces import Pieces
from forerun_models.export import Provenance, export_bundle
from forerun_models.recipe import load_recipe
from forerun_models.training.run import train
from forerun_sim.collect import collect
from forerun_sim.resources import bundle_folder
from forerun_sim.spec import load_robot

SEED = 0


def simulated(robot: str, pieces: Pieces) -> Path:
    """The ready bundle of ``robot``; where there is none, one is made by the robot's recipe, once, as one of ``pieces``, and for
    a task of ``transfer_swing`` by that task's."""
    if robot in transfer_swing.TASKS:
        return transfer_swing.simulated(robot, pieces, SEED)
    ready = bundle_folder(robot)
    if ready.is_dir():
        return ready

    def work(folder: Path) -> dict[str, Any]:
        spec, recipe = load_robot(robot), load_recipe(robot, robot)
        asked = recipe.collection
        runs = collect(spec, episodes=asked.episodes, steps=asked.steps, task=recipe.task, seed=SEED)
        trained = train([run.trial(spec) for run in runs], spec, recipe, SEED, folder / "run")
        about = Provenance(trained.trained_on, SEED, held_out=trained.held_out)
        export_bundle(folder / "bundle", trained.model, spec, recipe, trained.replay, about)
        return {"error": min(epoch.best for epoch in trained.epochs)}

    pieces.done("simulated", work)
    return pieces.folder("simulated") / "bundle"
