"""The rehearsal before hardware: a bundle drives a simulated robot that it was not trained on, and is judged as on real logs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from forerun.control.agent import BundleAgent
from forerun.demo.measure import score
from forerun.evaluation import Evaluation, evaluate
from forerun.report import Episode
from forerun_models.bundle import Bundle
from forerun_sim.collect import collect
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction


@dataclass(frozen=True)
class Rehearsal:
    """``episodes`` of ``task`` in ``engine``, the numbers of those ``discarded`` whose physics exploded, and, of a bundle with a
    model, how well it predicted them."""

    engine: str
    task: str
    episodes: list[Episode]
    discarded: list[int]
    evaluation: Evaluation | None

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return {
            "engine": self.engine,
            "task": self.task,
            "returns": [episode.total for episode in self.episodes],
            "successes": [episode.success for episode in self.episodes],
            "discarded": self.discarded,
            "prediction": None if self.evaluation is None else self.evaluation.as_json(),
        }


def rehearse(bundle: Bundle, folder: Path, spec: RobotSpec, engine: str, task: str | None, episodes: int, seed: int) -> Rehearsal:
    """Runs the ``bundle`` in ``folder`` for ``episodes`` of a ``task`` of ``spec`` (its first if None), all randomization on.

    Raises:
        InputError: the robot has no tasks, or no model for the engine; there is no such task.
        BundleError: the bundle is another robot's.
    """
    if not spec.tasks:
        raise InputError(f"robot '{spec.name}' has no tasks to rehearse: add 'tasks' to its robot.yaml")
    function = TaskFunction(spec, task)
    recordings = collect(
        spec, episodes=episodes, task=function.name, seed=seed, engine=engine, initial="task", policy=BundleAgent(folder)
    )
    trials = [recording.trial(spec) for recording in recordings]
    played = [score(trial, function, function.task.duration) for trial in trials]
    judged = evaluate(bundle, trials) if trials and bundle.has_model else None
    return Rehearsal(engine, function.name, played, recordings.discarded, judged)
