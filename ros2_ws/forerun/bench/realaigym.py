"""Acrobot and pendubot by the rules of the RealAIGym leaderboards: 10 s from hanging at rest, scored at 500 Hz, over DDS.

A model is learned in the randomized simulator. A trajectory is planned in it for each task, a bundle follows it on the
leaderboard's plant, and what the controller recorded fine-tunes the model for the next plan. Nothing else is learned from the
plant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forerun.bench.pieces import Pieces
from forerun.bench.realaigym_robust import CRITERIA, share
from forerun.bench.realaigym_score import score
from forerun.bench.records import Measurement, Options, Row, need_ros
from forerun.lockstep import Lockstep, play
from forerun_models.bundle import load
from forerun_models.export import Provenance, export_bundle
from forerun_models.recipe import Recipe, load_recipe
from forerun_models.training.finetune import finetune, load_parent
from forerun_models.training.run import load_run, train
from forerun_models.training.store import pack_trials, unpack_trials
from forerun_sim.collect import collect
from forerun_sim.files import write_file
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial

SEEDS = 3
ROBOT = "double_pendulum_ideal"
SIMULATED, PLANT = "mujoco_urdf", "mujoco"
TASKS = ("acrobot", "pendubot")
ROUNDS = 1
"""How often the model is fine-tuned on what was recorded so far, and everything planned anew."""
SECONDS = 10.0
MOVING = 4.0
"""Seconds of each attempt that the model learns from: then the robot stands, if all goes well, and standing says nothing new."""
ROBUSTNESS = "robustness"
PUBLISHED = {
    "acrobot": {"History-SAC": 0.655, "AR-EAPO": 0.633, "evolSAC": 0.524, "TVLQR": 0.504, "MC-PILCO": 0.316},
    "pendubot": {"History-SAC": 0.682, "AR-EAPO": 0.659, "evolSAC": 0.596, "TVLQR": 0.526, "MC-PILCO": 0.480},
}
"""Scores of the leaderboards."""


def measure(options: Options) -> Measurement:
    """A row a task, seed and round; and of the first seed's last round, how robust it is."""
    import torch

    need_ros()
    torch.set_num_threads(1)
    chosen = options.chosen([*TASKS, ROBUSTNESS])
    tasks = [task for task in TASKS if task in chosen] or list(TASKS)
    rows: list[Row] = []
    for seed in options.seeds:
        home = (options.kept or options.work) / f"seed_{seed}"

        def note(text: str, seed: int = seed) -> None:
            options.note(f"realaigym: seed {seed}: {text}")

        lab = Lab(seed, load_recipe(ROBOT, ROBOT), tasks, Pieces(home, note, 2 * len(tasks) * (ROUNDS + 1) + ROUNDS))
        if chosen != [ROBUSTNESS]:
            rows += [lab.row(task, number) for number in range(ROUNDS + 1) for task in tasks]
        if ROBUSTNESS in chosen and seed == options.seeds[0]:
            rows += [lab.robustness(task, ROUNDS) for task in tasks]
    settings = {"rounds": ROUNDS, "seconds": SECONDS, "published": PUBLISHED, "recipe": load_recipe(ROBOT, ROBOT).as_data()}
    return Measurement("realaigym", rows, settings)


@dataclass(frozen=True)
class Lab:
    """One seed: of the simulated trials, of training and of the planner's first guesses."""

    seed: int
    recipe: Recipe
    tasks: Sequence[str]
    pieces: Pieces

    def row(self, task: str, number: int) -> Row:
        """What the attempt after ``number`` rounds came to."""
        found, planned = self.attempt(task, number), self._plan(task, number)["expected"]
        best = max(PUBLISHED[task].values())
        seen = round(number * len(self.tasks) * SECONDS)
        # Apart from the columns of every measurement, of which one is called time, too.
        costs = {f"{name}_cost": round(value, 4) for name, value in found.items() if name not in ("success", "total")}
        about: dict[str, str | int | float] = {"task": task, "seed": self.seed, "round": number, "plant_s": seen}
        about |= {"score": round(found["total"], 4), "success": int(found["success"])}
        return about | costs | {"expected_score": round(planned, 4), "best_published": best}

    def robustness(self, task: str, number: int) -> Row:
        """Shares of successes where the plant is another one."""
        self._plan(task, number)
        found = {criterion: self._share(task, number, criterion) for criterion in CRITERIA}
        found[ROBUSTNESS] = float(np.mean(list(found.values())))
        return {"task": task, "seed": self.seed, "round": number, **{name: round(value, 3) for name, value in found.items()}}

    def _share(self, task: str, number: int, criterion: str) -> float:
        def work(folder: Path) -> dict[str, Any]:
            return {"share": share(self._bundle(task, number), ROBOT, task, criterion, self.seed)}

        return float(self.pieces.done(f"robust_{task}_{number}_{criterion}", work)["share"])

    def attempt(self, task: str, number: int) -> dict[str, Any]:
        """Score and costs on the plant."""

        def work(folder: Path) -> dict[str, Any]:
            self._plan(task, number)
            setting = Lockstep(ROBOT, task, SECONDS, 0, 1, PLANT, self.seed)
            trials = play(self._bundle(task, number), setting, folder)[1]
            write_file(folder / "trials.npz", pack_trials(trials))
            return scored(trials[0])

        return self.pieces.done(f"attempt_{task}_{number}", work)

    def _plan(self, task: str, number: int) -> dict[str, Any]:
        """The bundle of ``task`` after ``number`` rounds, and the score that its model expects."""
        self._learned(number)
        if number and task == self.tasks[0]:  # fine-tuning has planned for the task of its parent
            return {"expected": expected(self._bundle(task, number))}

        def work(folder: Path) -> dict[str, Any]:
            planner = self.recipe.planner
            course = planner.trajectory.model_copy(update={"seed": self.seed})
            recipe = self.recipe.model_copy(update={"task": task, "planner": planner.model_copy(update={"trajectory": course})})
            if number == 0:
                run = load_run(self.pieces.folder("model") / "run")
                about = Provenance(run.trained_on, self.seed, held_out=run.held_out)
                export_bundle(folder / "bundle", run.model, run.robot, recipe, run.replay, about)
            else:
                tuned = load(self._tuned(number))
                parent = load_parent(tuned)
                about = Provenance(tuned.manifest.trained_on, self.seed, parent=tuned.digest)
                export_bundle(folder / "bundle", parent.model, parent.robot, recipe, parent.replay, about)
            return {"expected": expected(folder / "bundle")}

        return self.pieces.done(f"plan_{task}_{number}", work)

    def _learned(self, number: int) -> None:
        """The model of that round: from simulation alone at first, then also from all attempts before."""
        if number == 0:
            self.pieces.done("model", self._train)
            return
        rows = round(MOVING / load_robot(ROBOT).control.period)
        before = [self._trial(task, earlier).part(0, rows) for earlier in range(number) for task in self.tasks]

        def work(folder: Path) -> dict[str, Any]:
            first = load(self._bundle(self.tasks[0], 0))
            verdict = finetune(load_parent(first), before, folder / "bundle", self.seed)
            return {"promoted": verdict.promoted, "reason": verdict.reason, "kstep": verdict.candidate_kstep}

        self.pieces.done(f"tuned_{number}", work)

    def _train(self, folder: Path) -> dict[str, Any]:
        robot, asked = load_robot(ROBOT), self.recipe.collection
        recordings = collect(robot, episodes=asked.episodes, steps=asked.steps, seed=self.seed, engine=SIMULATED)
        trials = [one.trial(robot) for one in recordings]
        run = train(trials, robot, self.recipe, self.seed, folder / "run")
        return {"error": min(epoch.best for epoch in run.epochs)}

    def _trial(self, task: str, number: int) -> Trial:
        self.attempt(task, number)
        file = self.pieces.folder(f"attempt_{task}_{number}") / "trials.npz"
        return unpack_trials(file.read_bytes(), str(file))[0]

    def _bundle(self, task: str, number: int) -> Path:
        if number and task == self.tasks[0]:
            return self._tuned(number)
        return self.pieces.folder(f"plan_{task}_{number}") / "bundle"

    def _tuned(self, number: int) -> Path:
        """The newest model that passed the gate."""
        for earlier in range(number, 0, -1):
            bundle = self.pieces.folder(f"tuned_{earlier}") / "bundle"
            if bundle.is_dir():
                return bundle
        return self._bundle(self.tasks[0], 0)


def expected(bundle: Path) -> float:
    """The score that the trajectory of ``bundle`` has in its model."""
    return 1.0 - float(load(bundle).manifest.metrics["trajectory"]["objective"])


def scored(trial: Trial) -> dict[str, Any]:
    """Score and costs of a recorded attempt."""
    found = score(trial.states.astype(np.float64), trial.actions.astype(np.float64), trial.period)
    return {**asdict(found), "total": found.total}
