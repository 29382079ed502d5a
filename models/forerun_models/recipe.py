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


class RigidBodySettings(Strict):
    """Of a model of kind ``rigid_body``: physics steps in a control step, how many of the last commands may still act (the newest
    counts), the size of the recurrent unit that reads the history, and how many numbers of its own its context hands to the
    network, beside friction, torque and strength of each joint. ``variety``: how much drives may differ from run to run, as the
    standard deviation of the logarithm of their strength (``dynamics/drives.py``); 0 where all runs are of one and the same.

    That torque is at most ``offset`` of the drives' largest effort. ``friction`` is what joints have at first where robot.yaml
    gives none [SI]. ``added``: how much the network may add to a step, in units of what one step of the physics was off at first;
    where the data end, physics decides. ``integrator``: the forces of a physics step are those at its beginning (``euler``);
    about its middle, as the step before leads there (``leapfrog``), at no cost; or those in its middle, at twice the cost
    (``midpoint``: for drives with little friction, which keep energy)."""

    substeps: Count = 2
    offset: Annotated[float, Field(ge=0)] = 0.03
    friction: Positive = 1e-3
    added: Positive = 0.2
    integrator: Literal["euler", "leapfrog", "midpoint"] = "euler"
    commands: Annotated[int, Field(ge=2)] = 3
    recurrent: Count = 32
    context: Annotated[int, Field(ge=0)] = 2
    variety: Annotated[float, Field(ge=0)] = 0.0


class ModelSettings(Strict):
    """The world model: ``members`` side by side, of which the best ``elites`` predict. ``history`` is K, the rows that they see;
    robot.yaml's if absent.

    ``kind``: ``ensemble`` of networks of ``layers`` hidden layers of ``hidden`` units, for any robot; or ``rigid_body``, the
    physics of the robot's URDF with learned parameters, an observer, and a network of two layers of ``hidden`` units for the
    rest."""

    kind: Literal["ensemble", "rigid_body"] = "ensemble"
    rigid_body: RigidBodySettings = RigidBodySettings()
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


class LeastSquares(Strict):
    """Of the physics of each member of a rigid-body model, after its training: at most ``iterations`` of Levenberg and Marquardt,
    on ``windows`` windows of ``horizon`` steps (``training/least_squares.py``)."""

    iterations: Count = 4
    windows: Count = 384
    horizon: Count = 50


class Training(Strict):
    """``batch`` windows a member and step, ``steps_per_epoch`` optimizer steps; the phases follow one another.

    Held out: ``holdout`` of the trials, at least one, or of a handful a stretch of one; the error of their rollouts over
    ``validation_horizon`` steps decides which weights each member keeps. Stops after ``patience`` epochs without a
    better member in the last phase. ``mirror`` adds the mirror image of each trial (all states and actions negated), for robots
    whose physics does not know left from right.
    ``yardstick`` of the errors of a rollout: how far the state moves in as many steps, so that the first steps weigh most; or a
    share of its spread that grows evenly from step to step, where noise hides what the first steps would tell.
    ``choose``: of all epochs each member keeps its best one by held-out trials, or all keep their last, where the few trials that
    can be held out are no judge.
    ``averaging``: what is judged and kept are weights averaged over the steps, which forget by this factor a step (0: none).
    ``least_squares``: how the physics of a model of kind rigid_body is fitted after the last epoch; absent: not at all.
    """

    batch: Count = 256
    steps_per_epoch: Count = 200
    yardstick: Literal["displacement", "spread"] = "displacement"
    phases: tuple[Phase, ...] = (Phase(epochs=10, horizon=1), Phase(epochs=10, horizon=10))
    learning_rate: Positive = 1e-3
    final_learning_rate: Positive = 1e-4
    weight_decay: Annotated[float, Field(ge=0)] = 1e-5
    holdout: Annotated[float, Field(gt=0, lt=1)] = 0.1
    patience: Count = 10
    gradient_norm: Positive = 10.0
    validation_horizon: Count = 25
    mirror: bool = False
    choose: Literal["best", "last"] = "best"
    averaging: Annotated[float, Field(ge=0, lt=1)] = 0.0
    least_squares: LeastSquares | None = None


class ControlCheck(Strict):
    """Pairs of episodes, at most ``episodes`` of at most ``seconds`` each, that a candidate and its parent drive from the same
    starts in the robot's simulator, identified from the real trials. Of what the parent's return gains over doing nothing the
    candidate may lose the share ``worse``, and what the spread of the pairs leaves open. No episodes: no check."""

    episodes: Annotated[int, Field(ge=0)] = 5
    seconds: Positive = 6.0
    worse: Annotated[float, Field(ge=0)] = 0.01


class Finetuning(Strict):
    """Fine-tuning on real trials. ``real_fraction`` of every batch is real; the rest is replay: the simulated trials that the
    bundle carries along, all of them, and of real trials of earlier fine-tunings at most as many rows. ``training`` is as the
    recipe's own.

    A candidate is promoted when its error on held-out real trials is below ``promote_below`` times its parent's; on held-out
    replay, and on older held-out real trials, not above ``forget_below`` times its parent's there (or, where that is more, its
    parent's on the real ones); when its intervals that should hold 90 % of what comes hold a share within ``coverage``; when
    99 of 100 plans take at most ``latency`` of a period, or hardly longer than its parent's at the same time; and when it
    controls a simulator that is like the robot as well as its parent (``control``).

    Real trials that are older than a change of the robot count no more: older trials are left out where, with them, errors on the
    newer ones are ``changed_above`` times as large (``training/change.py``)."""

    real_fraction: Fraction = 0.5
    training: Training = Training(
        steps_per_epoch=100, phases=(Phase(epochs=30, horizon=10),), learning_rate=3e-4, holdout=0.25, patience=8
    )
    promote_below: Positive = 0.98
    forget_below: Positive = 1.25
    coverage: tuple[Fraction, Fraction] = (0.7, 1.0)
    latency: Positive = 0.7
    control: ControlCheck = ControlCheck()
    changed_above: Positive = 1.15


class Scales(Strict):
    """Sizes of a trajectory's costs, from the start to its end; a cost c of size n counts tanh(pi c / n), one without a size
    nothing. ``time`` [s] until the task's success is reached; ``work``: sum over steps and joints of |change of position times
    command|; ``effort``: integral of the squared commands; ``roughness``: sum over joints of the standard deviation of the
    commands' changes from step to step over the task's duration; ``motion``: integral of the squared velocities."""

    time: Positive | None = None
    work: Positive | None = None
    effort: Positive | None = None
    roughness: Positive | None = None
    motion: Positive | None = None


class Tracking(Strict):
    """Deviations that count the same in the feedback along a trajectory: of positions, velocities and commands from it, and of
    how fast the commands change [1/s]; SI. ``stuck``: once it has arrived, a robot slower than this sticks, and is held where it
    came to rest (0: it is held at the target, however far it must be pulled there; for joints without dry friction)."""

    position: Positive = 0.1
    velocity: Positive = 1.0
    command: Positive = 1.0
    rate: Positive = 20.0
    stuck: Annotated[float, Field(ge=0)] = 0.0


class TrajectorySettings(Strict):
    """Of a planner of kind ``trajectory``. ``target`` are the positions of joints at its end (0 for the others), where the robot
    can stand; it begins in the middle of the task's initial states and takes ``seconds``. Commands are linear between knots,
    ``knot`` control steps apart. ``starts`` random first guesses (drawn by ``seed``) are improved ``iterations`` times, most of
    them for a part of that only; the best one by ``scales`` is followed, with the feedback of ``tracking``. ``margin``, in units
    of the task's success, softens the edge at which ``time`` ends. ``reserve`` of the commands' limits is left to the feedback.
    Where another moment of the trajectory would be cheaper to come back to, at ``rejoin`` times the cost, the robot goes on from
    there. Where it is too far from all of it, the robot is slowed down and led back to the start, and begins again when it has
    been at rest for ``pause`` seconds, twice as long after each further miss, up to 16 times."""

    target: dict[str, float] = Field(default_factory=dict)
    seconds: Positive = 3.0
    knot: Count = 5
    starts: Count = 16
    iterations: Count = 60
    seed: Annotated[int, Field(ge=0)] = 0
    scales: Scales = Scales(effort=1.0)
    margin: Positive = 0.03
    tracking: Tracking = Tracking()
    reserve: Annotated[float, Field(ge=0, lt=1)] = 0.2
    rejoin: Fraction = 0.2
    pause: Positive = 0.3


class Planner(Strict):
    """How the robot plans. ``kind``: iCEM (Pinneri et al. 2020), ``cem``, ``mppi`` or ``random`` shooting; or ``ilqr``, which
    plans by derivatives in torch alone (no bundle can be made of it) and says itself which settings it reads
    (``planners/ilqr.py``): it stops after ``iterations``, or where one gains no more than ``tolerance`` of the return. Or
    ``trajectory``: planned once in the model, when a bundle is made, and followed by the robot (``TrajectorySettings``; of the
    rest it reads ``horizon`` and ``members``).

    ``samples`` sequences an iteration, all told (iCEM's shrink by ``shrink`` in each later one; rounded up to whole blocks of
    16; of iCEM and CEM at least twice the elites). ``colour`` is the exponent of the noise spectrum, ``std`` its standard
    deviation on actions in [-1, 1]. ``elites`` refit iCEM and CEM, with ``momentum``; ``keep`` of them are carried to iCEM's next
    iteration and tick. ``temperature`` is MPPI's, in standard deviations of the returns.

    ``knots`` makes plans splines through that many values (``spline``: zero, linear or cubic), one value a step if absent.
    ``ensemble``: ``tsinf`` (a particle stays with its member), ``ts1`` (it meets another at each step), ``mean`` (all go on from
    the members' mean) or ``worst`` (the worst member's return counts). ``aleatoric`` draws the members' own noise too, for
    ``particles`` a member. ``disagreement_weight`` penalises returns by the members' spread. ``policy_samples`` of the first
    iteration come from the bundle's policy, with noise ``policy_std``."""

    kind: Literal["icem", "cem", "mppi", "random", "ilqr", "trajectory"] = "icem"
    trajectory: TrajectorySettings = TrajectorySettings()
    horizon: Count = 25
    samples: Count = 96
    iterations: Count = 4
    shrink: Annotated[float, Field(ge=1)] = 1.25
    elites: Count = 10
    keep: Fraction = 0.3
    colour: Annotated[float, Field(ge=0)] = 2.0
    std: Positive = 0.5
    momentum: Fraction = 0.1
    temperature: Positive = 0.3
    tolerance: Annotated[float, Field(ge=0)] = 1e-6
    discount: Annotated[float, Field(gt=0, le=1)] = 1.0
    knots: Annotated[int, Field(ge=2)] | None = None
    spline: Literal["zero", "linear", "cubic"] = "cubic"
    ensemble: Literal["ts1", "tsinf", "mean", "worst"] = "tsinf"
    aleatoric: bool = False
    particles: Count = 1
    disagreement_weight: Annotated[float, Field(ge=0)] = 0.0
    members: Count | None = None
    policy_samples: Annotated[int, Field(ge=0)] = 0
    policy_std: Annotated[float, Field(ge=0)] = 0.1

    @model_validator(mode="after")
    def _fits(self) -> Planner:
        if self.knots is not None and self.knots > self.horizon:
            raise ValueError(f"{self.knots} knots are more than the horizon's {self.horizon} steps")
        if self.kind in ("icem", "cem") and self.elites > self.samples:
            raise ValueError(f"{self.elites} elites cannot be chosen of {self.samples} samples")
        if self.policy_samples >= self.samples:
            raise ValueError(f"{self.policy_samples} policy_samples leave none of {self.samples} samples to be drawn")
        if self.particles > 1 and not self.aleatoric:
            raise ValueError("particles above 1 differ only by the members' noise: set 'aleatoric: true'")
        if self.aleatoric and self.ensemble == "mean":
            raise ValueError("'ensemble: mean' has no noise: leave 'aleatoric' out, or choose ts1 or tsinf")
        return self


class ValueLearning(Strict):
    """What can still be earned after a plan's end, and the policy behind ``planner.policy_samples``, learned in the trained model
    when a bundle is made: soft actor-critic with ``updates`` steps of ``batch`` imagined transitions. ``generations`` times
    ``rollouts`` begin in states of the trials and follow the policy for ``length`` control steps. ``hidden`` are units of each
    hidden layer, ``target_rate`` the share of the critics that flows into their targets, ``temperature`` what entropy is worth at
    first. Plans must have the same ``discount``."""

    updates: Count = 10_000
    generations: Count = 40
    rollouts: Count = 500
    length: Count = 10
    hidden: tuple[Count, ...] = Field(default=(64, 64), min_length=1)
    batch: Count = 256
    learning_rate: Positive = 1e-3
    discount: Annotated[float, Field(gt=0, lt=1)] = 0.99
    target_rate: Annotated[float, Field(gt=0, le=1)] = 0.02
    temperature: Positive = 0.1


class Recipe(Strict):
    """Settings of one robot and task; every value has a default, so a recipe holds only what differs."""

    robot: str
    task: str | None = None
    collection: Collection = Collection()
    model: ModelSettings = ModelSettings()
    training: Training = Training()
    finetuning: Finetuning = Finetuning()
    planner: Planner = Planner()
    value: ValueLearning | None = None

    @model_validator(mode="after")
    def _counts_alike(self) -> Recipe:
        if self.value is not None and self.value.discount != self.planner.discount:
            raise ValueError(
                f"planner.discount {self.planner.discount:g} is not value.discount {self.value.discount:g}: what comes after a "
                "plan must count as what comes in it; set both to the same"
            )
        return self

    @model_validator(mode="after")
    def _members_exist(self) -> Recipe:
        if self.planner.members is not None and self.planner.members > self.model.elites:
            raise ValueError(f"planner.members {self.planner.members} are more than the model's {self.model.elites} elites")
        return self

    @model_validator(mode="after")
    def _physics_exists(self) -> Recipe:
        fit = self.training.least_squares
        if fit is not None and self.model.kind != "rigid_body":
            raise ValueError(
                "training.least_squares fits the physics of a model: set model.kind to 'rigid_body', or leave it out"
            )
        if fit is not None and fit.horizon > (longest := max(phase.horizon for phase in self.training.phases)):
            raise ValueError(f"training.least_squares.horizon {fit.horizon} is longer than the longest phase's, {longest}")
        return self

    def as_data(self) -> dict[str, Any]:
        """Plain data, as it would be written in YAML."""
        return self.model_dump(mode="json")


def load_recipe(name_or_path: str | Path | None, robot: str, folder: Path | None = None) -> Recipe:
    """The recipe at a path, or shipped under that name; without one ``own_recipe``, or the defaults.

    Raises:
        InputError: no such recipe, or a key is wrong; the message names the file and the key.
    """
    if name_or_path is None:
        name_or_path = own_recipe(robot, folder)
        if name_or_path is None:
            return Recipe(robot=robot)
    path = Path(name_or_path)
    if not path.exists() and not path.suffix:
        path = resources.find("recipes", str(name_or_path))
    return validate(Recipe, load_yaml(path), path)


def own_recipe(robot: str, folder: Path | None) -> Path | None:
    """The recipe.yaml in the robot's ``folder``, or the shipped one that is called like the ``robot``."""
    if folder is not None and (folder / "recipe.yaml").is_file():
        return folder / "recipe.yaml"
    return resources.available("recipes").get(robot)
