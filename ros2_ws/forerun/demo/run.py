"""The demo from beginning to end, and its report."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from forerun.bags import load_trials, write_trials
from forerun.demo.live import Plan, Say, run_live
from forerun.demo.outcome import Outcome, demo_report
from forerun.domains import own_domain
from forerun.report import render_report
from forerun_models.bundle import load
from forerun_models.export import Provenance, export_bundle
from forerun_models.recipe import Recipe, load_recipe
from forerun_models.training.run import train
from forerun_models.training.trainer import Epoch
from forerun_sim.collect import collect
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tasks import TaskFunction


@dataclass(frozen=True)
class Settings:
    """``episodes`` are run before and after fine-tuning each; ``engine`` is the plant that training never sees."""

    robot: str
    out: Path
    recipe: str | None = None
    seed: int = 0
    episodes: int = 5
    engine: str = "mujoco"


@dataclass
class _Clock:
    """Seconds by step."""

    steps: dict[str, float] = field(default_factory=dict)
    _began: float = field(default_factory=time.perf_counter)

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.steps[name] = round(now - self._began, 1)
        self._began = now


def run_demo(settings: Settings, say: Say, on_epoch: Callable[[Epoch, int], None]) -> Path:
    """Simulate, train, control the foreign robot, fine-tune on its bag, swap, control again, report; the report's path.

    Raises:
        InputError: the robot or recipe is wrong, or ``out`` holds something else.
        ForerunError: a step failed.
    """
    robot = load_robot(settings.robot)
    recipe = load_recipe(settings.recipe, robot.name, robot.folder)
    task = TaskFunction(robot, recipe.task)
    _clear(settings.out)
    clock = _Clock()
    say(f"1/5 simulate: {recipe.collection.episodes} randomized episodes of {robot.name} in PyBullet")
    bag = _simulate(robot, recipe, task.name, settings)
    clock.lap("simulate")
    say("2/5 train a dynamics ensemble on the bag")
    trials = load_trials(bag, robot, note=lambda text: None)
    run = train(trials, robot, recipe, settings.seed, settings.out / "run", on_epoch=on_epoch)
    clock.lap("train")
    say("3/5 export the model and its planner to a bundle")
    provenance = Provenance(
        run.trained_on, run.seed, {"held_out_error": min(epoch.best for epoch in run.epochs)}, held_out=run.held_out
    )
    bundle = load(export_bundle(settings.out / "bundle", run.model, robot, recipe, run.replay, provenance), robot=robot.name)
    clock.lap("export")
    with own_domain() as domain:
        say(f"4/5 control the foreign robot ({settings.engine}) at {robot.control.rate:g} Hz over DDS, ROS_DOMAIN_ID={domain}")
        plan = Plan(
            robot=settings.robot,
            task=task.name,
            engine=settings.engine,
            bundle=bundle.path,
            tuned=settings.out / "bundle_tuned",
            folder=settings.out,
            seed=settings.seed,
            episodes=settings.episodes,
            duration=task.task.duration,
            topics=(robot.topics.joint_states, robot.topics.commands, "trial"),
            promote_below=recipe.finetuning.promote_below,
        )
        session = run_live(plan, say)
    clock.lap("control and fine-tune")
    say("5/5 report")
    outcome = Outcome(settings.robot, settings.engine, settings.seed, settings.out, robot, task, run, bundle, session)
    return render_report(demo_report(outcome, clock.steps), settings.out / "report.html")


def _clear(out: Path) -> None:
    """An earlier demo's folder is replaced; anything else is refused."""
    marker = out / ".forerun-demo"
    if out.exists() and any(out.iterdir()):
        if not marker.exists():
            raise InputError(f"{out}: is not empty and no earlier demo made it; choose another folder with --out")
        shutil.rmtree(out)
    out.mkdir(parents=True, exist_ok=True)
    marker.touch()


def _simulate(robot: RobotSpec, recipe: Recipe, task: str, settings: Settings) -> Path:
    recordings = collect(
        robot,
        episodes=recipe.collection.episodes,
        steps=recipe.collection.steps,
        task=task,
        seed=settings.seed,
        workers=os.cpu_count() or 1,
    )
    bag = settings.out / "bag_simulated"
    write_trials(bag, list(recordings), robot)
    return bag
