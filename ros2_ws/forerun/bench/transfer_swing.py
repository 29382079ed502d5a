"""Acrobot and pendubot as foreign plants: one robot, a task each, and an oracle whose trajectory knows the plant.

No bundle of theirs is ready: a rigid-body model is learned in the randomized simulator, once for all seeds, and a trajectory is
planned in it. The oracle's trajectory is planned in the same equations with the plant's own masses, inertias, rotors, friction,
lag and delay; like every bundle it sees what the sensors report.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import torch
import yaml

from forerun.bench.pieces import Pieces
from forerun_models.dynamics.physical import Physical
from forerun_models.export import Provenance, export_bundle
from forerun_models.recipe import Recipe, load_recipe
from forerun_models.training.run import load_run, train
from forerun_models.training.start import build, initialise
from forerun_models.training.windows import Windows
from forerun_sim.collect import collect
from forerun_sim.files import write_file
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial

ROBOT, RECIPE = "double_pendulum", "double_pendulum_swing"
TASKS = ("acrobot", "pendubot")
SIMULATED = "mujoco_urdf"
_NONE = -20.0
"""Logarithm of next to nothing."""


def recipe_of(task: str) -> Recipe:
    """The recipe for ``task``."""
    return load_recipe(RECIPE, ROBOT).model_copy(update={"task": task})


def simulated(task: str, pieces: Pieces, seed: int) -> Path:
    """A bundle for ``task``, learned in randomized simulation alone."""

    def learn(folder: Path) -> dict[str, Any]:
        spec, recipe = load_robot(ROBOT), recipe_of(task)
        asked = recipe.collection
        runs = collect(spec, episodes=asked.episodes, steps=asked.steps, seed=seed, engine=SIMULATED)
        trained = train([run.trial(spec) for run in runs], spec, recipe, seed, folder / "run")
        return {"error": min(epoch.best for epoch in trained.epochs)}

    def plan(folder: Path) -> dict[str, Any]:
        run = load_run(pieces.folder("learned") / "run")
        about = Provenance(run.trained_on, seed, held_out=run.held_out)
        export_bundle(folder / "bundle", run.model, run.robot, recipe_of(task), run.replay, about)
        return {}

    pieces.done("learned", learn)
    pieces.done("simulated", plan)
    return pieces.folder("simulated") / "bundle"


def oracle(task: str, pieces: Pieces, seed: int) -> Path:
    """A bundle for ``task`` whose trajectory knows the plant."""

    def work(folder: Path) -> dict[str, Any]:
        spec, recipe = true_robot(folder / "robot"), recipe_of(task)
        trials = [run.trial(spec) for run in collect(load_robot(ROBOT), episodes=4, steps=200, seed=seed, engine="mujoco")]
        export_bundle(folder / "bundle", true_model(spec, recipe, trials), spec, recipe, trials, Provenance({}, seed))
        return {}

    pieces.done("known", work)
    return pieces.folder("known") / "bundle"


def true_robot(folder: Path) -> RobotSpec:
    """The robot as its foreign plant is, written to ``folder``."""
    spec = load_robot(ROBOT)
    shutil.copytree(spec.folder, folder)
    plant = yaml.safe_load((folder / "foreign" / "plant.yaml").read_text())
    model = ElementTree.parse(folder / "foreign" / plant["model"])
    file = folder / f"{ROBOT}.urdf"
    urdf = ElementTree.parse(file)
    joints: dict[str, dict[str, float]] = {"viscous": {}, "coulomb": {}, "armature": {}}
    for body in model.iter("body"):
        own, joint = body.find("inertial"), body.find("joint")
        link = urdf.find(f"link[@name='{body.get('name')}']/inertial")
        assert own is not None and joint is not None and link is not None
        _set(link, "origin", xyz=own.attrib["pos"])
        _set(link, "mass", value=own.attrib["mass"])
        moments = own.attrib["diaginertia"].split()
        _set(link, "inertia", ixx=moments[0], iyy=moments[1], izz=moments[2])
        for name, attribute in (("viscous", "damping"), ("coulomb", "frictionloss"), ("armature", "armature")):
            joints[name][joint.attrib["name"]] = float(joint.attrib[attribute])
    urdf.write(file)
    robot = yaml.safe_load((folder / "robot.yaml").read_text())
    robot["actuators"] = {**joints, **plant["actuators"]}
    robot["sensors"] = plant["sensors"]
    write_file(folder / "robot.yaml", yaml.safe_dump(robot, sort_keys=False))
    return load_robot(folder)


def _set(inertial: ElementTree.Element, name: str, **values: str) -> None:
    element = inertial.find(name)
    assert element is not None
    element.attrib.update(values)


@torch.no_grad()
def true_model(spec: RobotSpec, recipe: Recipe, trials: Sequence[Trial]) -> Physical:
    """The equations of motion of ``spec``, with nothing learned; ``trials`` give the statistics alone."""
    model = build(spec, recipe.model)
    assert isinstance(model, Physical)
    initialise(model, Windows(trials, model.features.history, 3), 0)
    model.friction.stiction.fill_(_NONE)
    for network in (model.network, model.reading):
        for parameter in network.parameters():
            parameter.zero_()
    return model.eval()
