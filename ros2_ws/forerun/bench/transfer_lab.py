"""One robot and one seed of ``forerun bench transfer``: data, models and evaluations, each a piece that is done once.

All that learns sees what the controller recorded over DDS: ``stages`` are seconds of the plant's life, and what is recorded
between two stages is driven by the bundle that was in use after the first of them. All evaluations begin in the same states; they
are played in this process, which gives the very returns that DDS in lockstep gives (a test holds both equal).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from forerun import lockstep
from forerun.bench import transfer_swing
from forerun.bench.pieces import Pieces
from forerun.demo.measure import score
from forerun.lockstep import Lockstep
from forerun.training.control_check import control
from forerun_models.bundle import load
from forerun_models.export import Provenance, export_bundle
from forerun_models.training.clocks import one_clock
from forerun_models.training.finetune import finetune, load_parent
from forerun_models.training.run import train
from forerun_models.training.split import hold_out
from forerun_models.training.store import pack_trials, unpack_trials
from forerun_sim.changes import Change
from forerun_sim.engines.mujoco_ahead import Ahead
from forerun_sim.errors import InputError
from forerun_sim.files import write_file
from forerun_sim.identify import Settings, identify
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot
from forerun_sim.tasks import TaskFunction
from forerun_sim.trial import Trial

Play = Callable[[Path, Lockstep, Path], tuple[Path, list[Trial]]]

ENGINE = "mujoco"
EVALUATED = 1_000_000
"""Number of the first episode that is evaluated; data come from the episodes from 0 on."""
IDENTIFICATION = {"engine": "mujoco_urdf", "steps": 25, "segments": 60, "generations": 15}
AFTER = 10_000
"""Number of the first episode after a change."""
_LATER = 1000.0
"""Seconds between two episodes' numbers on the clock of the robot's life."""
HELD_OUT = 0.2
"""Of the rows, by which an identification is judged."""


@dataclass(frozen=True)
class Setup:
    """What is the same for all seeds: the ``zero_shot`` bundle, evaluation ``episodes`` of ``seconds`` each, the ``stages`` [s],
    and how data are recorded. ``name`` is what the rows say, the robot's where it is empty."""

    robot: str
    zero_shot: Path
    seconds: float
    episodes: int
    stages: tuple[int, ...]
    play: Play = lockstep.play
    name: str = ""

    @property
    def title(self) -> str:
        """What the rows say."""
        return self.name or self.robot


def _without_dds(bundle: Path, setting: Lockstep, folder: Path) -> tuple[Path, list[Trial]]:
    """What is recorded after a change: the same rows in half the processor time."""
    return folder, lockstep.alone(bundle, setting)


class Lab:
    """Pieces of ``setup`` with one ``seed``: of the plant's noise and initial states, of fine-tuning and of training.

    ``shared`` holds what does not depend on the seed.
    """

    def __init__(self, setup: Setup, seed: int, pieces: Pieces, shared: Pieces) -> None:
        self.setup, self.seed, self._pieces, self._shared = setup, seed, pieces, shared
        self.spec, self.recipe = load_robot(setup.robot), load_parent(load(setup.zero_shot, robot=setup.robot)).recipe
        self.task = TaskFunction(self.spec, self.recipe.task)

    # Data --------------------------------------------------------------------------------------------------------------

    def data(self, stage: int) -> list[Trial]:
        """The plant's life up to ``stage``."""
        found: list[Trial] = []
        for before, after in self._spans(stage):
            name = f"data_{before}_{after}"
            found += self._record(name, self.tuned(before), after - before, before, {})
        return found

    def _spans(self, stage: int) -> list[tuple[int, int]]:
        ends = [end for end in self.setup.stages if end <= stage]
        return list(zip([0, *ends[:-1]], ends, strict=True))

    def _record(
        self, name: str, bundle: Path, seconds: int, first: int, change: Mapping[str, Any], play: Play | None = None
    ) -> list[Trial]:
        """``seconds`` of the plant under ``bundle``, in episodes of equal length, numbered from ``first`` on."""
        episodes = max(1, round(seconds / self.setup.seconds + 0.49))

        def work(folder: Path) -> dict[str, Any]:
            setting = self._setting(seconds / episodes, first, episodes, self.seed, folder, change)
            bag, trials = (play or self.setup.play)(bundle, setting, folder)
            write_file(folder / "trials.npz", pack_trials(trials))
            return {"bag": str(bag), "bundle": str(bundle), "rows": [len(trial) for trial in trials]}

        self._pieces.done(name, work)
        file = self._pieces.folder(name) / "trials.npz"
        trials = unpack_trials(file.read_bytes(), str(file))
        # Each recording, and each episode without DDS, has a clock of its own; the robot's life has one.
        return one_clock([replace(trial, start=trial.start + first * _LATER) for trial in trials])

    def _setting(self, seconds: float, first: int, episodes: int, seed: int, folder: Path, change: Mapping[str, Any]) -> Lockstep:
        changes = None
        if change:
            changes = folder / "changes.yaml"
            write_file(changes, yaml.safe_dump({"format": 1, "changes": [{"at": 0.0, **change}]}))
        return Lockstep(self.setup.robot, self.task.name, seconds, first, episodes, ENGINE, seed, changes)

    # Models ------------------------------------------------------------------------------------------------------------

    def tuned(self, stage: int) -> Path:
        """The bundle in use after ``stage`` seconds: the newest that passed the gate. Each candidate begins from the zero-shot
        bundle and learns from all data so far."""
        for end in [stage, *(end for end in reversed(self.setup.stages) if end < stage)]:
            if end == 0:
                break
            name = f"tuned_{end}"
            if self._tune(name, self.setup.zero_shot, self.data(end))["promoted"]:
                return self._pieces.folder(name) / "bundle"
        return self.setup.zero_shot

    def _tune(self, name: str, parent: Path, trials: Sequence[Trial]) -> dict[str, Any]:
        def work(folder: Path) -> dict[str, Any]:
            verdict = finetune(load_parent(load(parent)), list(trials), folder / "bundle", self.seed, driven=control)
            found = verdict.as_json()
            return {key: found[key] for key in ("promoted", "reason", "parent_error", "candidate_error", "checks")}

        return self._pieces.done(name, work)

    def verdict(self, stage: int) -> dict[str, Any]:
        """What the gate said of the candidate of ``stage``."""
        return self._tune(f"tuned_{stage}", self.setup.zero_shot, self.data(stage))

    def scratch(self, stage: int) -> Path:
        """A bundle trained by the recipe on the data up to ``stage`` alone."""
        name = f"scratch_{stage}"

        def work(folder: Path) -> dict[str, Any]:
            run = train(self.data(stage), self.spec, self.recipe, self.seed, folder / "run")
            provenance = Provenance(run.trained_on, run.seed, held_out=run.held_out)
            export_bundle(folder / "bundle", run.model, self.spec, self.recipe, run.replay, provenance)
            return {"error": min(epoch.best for epoch in run.epochs)}

        self._pieces.done(name, work)
        return self._pieces.folder(name) / "bundle"

    def identified(self, stage: int) -> dict[str, float]:
        """The simulator's parameters that the data up to ``stage`` tell."""

        def work(folder: Path) -> dict[str, Any]:
            learned, judged = hold_out(self.data(stage), HELD_OUT, self.seed)
            fit = identify(self.spec, learned, judged, Settings(**IDENTIFICATION, seed=self.seed))  # type: ignore[arg-type]
            return {"values": fit.values, "worse": list(fit.worse)}

        values: dict[str, float] = self._pieces.done(f"identified_{stage}", work)["values"]
        return values

    # Evaluations -------------------------------------------------------------------------------------------------------

    def evaluate(self, bundle: Path, name: str = "", change: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns and successes of ``bundle`` on the plant after the ``change`` called ``name``, if any."""

        def work(folder: Path) -> dict[str, Any]:
            setting = self._setting(self.setup.seconds, EVALUATED, self.setup.episodes, 0, folder, change or {})
            return self._scored(lockstep.alone(bundle, setting))

        first = bundle == self.setup.zero_shot
        owner = "zero_shot" if first else bundle.parent.name  # the piece that made it
        shared = bundle.parent.parent == self._shared.folder("")
        return (self._shared if first or shared else self._pieces).done(f"{owner}_evaluated{name and f'_{name}'}", work)

    def _scored(self, trials: Sequence[Trial]) -> dict[str, Any]:
        found = [score(trial, self.task, self.setup.seconds) for trial in trials]
        return {"returns": [one.total for one in found], "successes": [bool(one.success) for one in found]}

    def oracle(self, name: str = "", change: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """Returns of the same planner that is given the plant as its model, and the true state; after the ``change`` called
        ``name``, if any. None where ``Ahead`` knows no such plant."""
        if self.setup.name in transfer_swing.TASKS:
            if change:
                return None
            return self.evaluate(transfer_swing.oracle(self.setup.name, self._shared, self.seed))
        try:
            Ahead(self.spec, ENGINE)
        except InputError:
            return None

        def work(folder: Path) -> dict[str, Any]:
            plant = self._plant(change)
            known = Change(at=0.0, **change).of(plant.nominal) if change else plant.nominal
            return self._simulated(Ahead(self.spec, ENGINE, known.flat()), plant, true=True)

        return self._shared.done(f"oracle{name and f'_{name}'}", work)

    def hanging(self, name: str = "", change: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Returns of the plant that is told nothing."""

        def work(folder: Path) -> dict[str, Any]:
            plant, trials = self._plant(change), []
            for episode in range(EVALUATED, EVALUATED + self.setup.episodes):
                plant.reset(episode)
                states = []
                for _ in range(round(self.setup.seconds / self.spec.control.period)):
                    states.append(plant.true_state())
                    plant.step(np.zeros(self.spec.action_size))
                rows = np.asarray(states, np.float32)
                nothing = np.zeros((len(rows), self.spec.action_size), np.float32)
                trials.append(Trial(rows, nothing, self.spec.control.period, self.spec.name))
            return self._scored(trials)

        return self._shared.done(f"hanging{name and f'_{name}'}", work)

    def by_identification(self, stage: int) -> dict[str, Any]:
        """Returns of the same planner with the identified simulator as its model, in the state that is measured."""

        def work(folder: Path) -> dict[str, Any]:
            return self._simulated(Ahead(self.spec, "mujoco_urdf", self.identified(stage)), self._plant(), true=False)

        return self._pieces.done(f"identified_{stage}_evaluated", work)

    def _simulated(self, ahead: Ahead, plant: Plant, *, true: bool) -> dict[str, Any]:
        from forerun.bench.transfer_planner import play, simulator_planner

        planner = simulator_planner(ahead, self.spec, self.recipe)
        numbers = range(EVALUATED, EVALUATED + self.setup.episodes)
        return self._scored([play(planner, plant, n, self.setup.seconds, 0, true=true) for n in numbers])

    def _plant(self, change: Mapping[str, Any] | None = None) -> Plant:
        changes = [Change(at=0.0, **change)] if change else []
        return Plant(self.spec, engine=ENGINE, task=self.task.name, seed=0, randomize=False, changes=changes)

    # Changes -----------------------------------------------------------------------------------------------------------

    def recovery(
        self,
        name: str,
        change: Mapping[str, Any],
        before: Path,
        stages: Sequence[int],
        enough: Callable[[Mapping[str, Any]], bool],
    ) -> dict[int, dict[str, Any]]:
        """Evaluations after ``change`` by seconds since it, 0 and ``stages``, until one is ``enough``: the bundle ``before`` it
        goes on, and is fine-tuned on what it recorded since."""
        bundle, last, trials = before, 0, []
        found = {0: self.evaluate(bundle, name, change)}
        for stage in stages:
            if enough(found[last]):
                break
            trials += self._record(f"{name}_data_{last}_{stage}", bundle, stage - last, AFTER + last, change, _without_dds)
            if self._tune(f"{name}_tuned_{stage}", before, trials)["promoted"]:
                bundle = self._pieces.folder(f"{name}_tuned_{stage}") / "bundle"
            found[stage], last = self.evaluate(bundle, name, change), stage
        return found
