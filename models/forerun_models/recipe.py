"""A recipe: all settings of learning and planning for one robot and task, as validated YAML."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from forerun_sim import resources
from forerun_sim.spec import Strict, load_yaml, validate

Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]


class Collection(Strict):
    """How many simulated trials to learn from. ``steps`` is control steps a trial."""

    episodes: Count = 200
    steps: Count = 250


class ModelSettings(Strict):
    """The dynamics ensemble: ``members`` networks of ``layers`` hidden layers of ``hidden`` units; the best ``elites`` predict.
    ``history`` is K, the rows that the networks see; robot.yaml's if absent."""

    members: Count = 7
    elites: Count = 5
    hidden: Count = 128
    layers: Count = 2
    history: Count | None = None

    @model_validator(mode="after")
    def _elites_exist(self) -> ModelSettings:
        if self.elites > self.members:
            raise ValueError(f"{self.elites} elites of {self.members} members cannot be chosen")
        return self


class Phase(Strict):
    """Epochs with one length of the rollouts that the loss looks at, in control steps."""

    epochs: Count
    horizon: Count


class Training(Strict):
    """``batch`` windows a member and step, ``steps_per_epoch`` optimizer steps; the phases follow one another.

    Held out: ``holdout`` of the trials, at least one; the error of their rollouts over ``validation_horizon`` steps decides
    which weights each member keeps. Stops after ``patience`` epochs without a better member in the last phase. ``mirror`` adds
    the mirror image of each trial (all states and actions negated), for robots whose physics does not know left from right.
    """

    batch: Count = 256
    steps_per_epoch: Count = 200
    phases: tuple[Phase, ...] = (Phase(epochs=10, horizon=1), Phase(epochs=10, horizon=10))
    learning_rate: Positive = 1e-3
    final_learning_rate: Positive = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Count = 10
    gradient_norm: Positive = 10.0
    validation_horizon: Count = 25
    mirror: bool = False


class Finetuning(Strict):
    """Fine-tuning on real trials: ``real_fraction`` of every batch is real, the rest simulated. ``batch`` and the like are as in
    ``Training``. A candidate is promoted when its error on held-out real trials is below ``promote_below`` times its parent's."""

    real_fraction: Fraction = 0.5
    training: Training = Training(
        steps_per_epoch=100, phases=(Phase(epochs=30, horizon=10),), learning_rate=3e-4, holdout=0.25, patience=8
    )
    promote_below: Positive = 0.98


class Planner(Strict):
    """iCEM (Pinneri et al. 2020). ``samples`` in the first iteration, shrinking by ``shrink`` in each later one; ``keep`` of the
    elites are carried to the next iteration and tick. ``colour`` is the exponent of the noise spectrum, ``std`` its standard
    deviation on actions in [-1, 1]. ``disagreement_weight`` penalises returns by the members' spread."""

    kind: Literal["icem"] = "icem"
    horizon: Count = 25
    samples: Count = 96
    iterations: Count = 3
    shrink: Annotated[float, Field(ge=1)] = 1.25
    elites: Count = 10
    keep: Fraction = 0.3
    colour: Annotated[float, Field(ge=0)] = 2.0
    std: Positive = 0.5
    momentum: Fraction = 0.1
    discount: Annotated[float, Field(gt=0, le=1)] = 1.0
    disagreement_weight: Annotated[float, Field(ge=0)] = 0.0
    members: Count | None = None


class Recipe(Strict):
    """Settings of one robot and task; every value has a default, so a recipe holds only what differs."""

    robot: str
    task: str | None = None
    collection: Collection = Collection()
    model: ModelSettings = ModelSettings()
    training: Training = Training()
    finetuning: Finetuning = Finetuning()
    planner: Planner = Planner()

    def as_data(self) -> dict[str, Any]:
        """Plain data, as it would be written in YAML."""
        return self.model_dump(mode="json")


def load_recipe(name_or_path: str | Path | None, robot: str) -> Recipe:
    """The recipe at a path, or shipped under that name, or the one called like the robot, or the defaults.

    Raises:
        InputError: no such recipe, or a key is wrong; the message names the file and the key.
    """
    if name_or_path is None:
        shipped = resources.available("recipes")
        if robot not in shipped:
            return Recipe(robot=robot)
        name_or_path = shipped[robot]
    path = Path(name_or_path)
    if not path.exists() and not path.suffix:
        path = resources.find("recipes", str(name_or_path))
    return validate(Recipe, load_yaml(path), path)
