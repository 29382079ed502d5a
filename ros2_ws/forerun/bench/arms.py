"""How well an arm of slow position servos follows a moving posture: the servo alone, a PD controller around it, and the planner
with a model from simulation, before and after fine-tuning on a minute of the arm.

The arm is the foreign plant of ``so101``, whose servos answer 140 ms late (100 ms in the simulator that is learned from). The
loop is the controller's own core in lockstep on a simulated clock; the goal changes at every tick. Every method is told the
reference's position and velocity of now and aims a ``lead`` along the velocity ahead; leads and the PD's gains are chosen in the
nominal simulator, nothing on the foreign arm.

``rms_mrad`` is the distance of the true joints from the reference, over the joints that move and the time after the first second;
``lag_ms`` the shift at which it is least. The hand of another arm, which follows a moving goal, is in ``arms_hand``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from forerun.bench.pieces import Pieces
from forerun.bench.records import Measurement, Options, Row
from forerun.control.controller import Controller
from forerun.control.planning import InlinePlanner
from forerun.control.settings import Settings
from forerun.control.states import State
from forerun_models.bundle import Bundle, load
from forerun_models.export import Provenance, export_bundle
from forerun_models.recipe import load_recipe
from forerun_models.training.finetune import finetune, load_parent
from forerun_models.training.run import train
from forerun_sim.collect import collect
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial

Floats = NDArray[np.float64]

ROBOT, RECIPE = "so101", "so101_track"
FOREIGN, NOMINAL = "mujoco", "bullet"
MOVING = (0, 1, 2, 3)
"""Joints that the reference moves; roll and jaw stay."""
LEADS = (0.0, 0.04, 0.08, 0.12, 0.16)
GAINS = ((0.3, 0.0), (0.6, 0.0), (1.0, 0.0), (0.6, 0.03), (1.0, 0.06))
"""Of the PD controller: rad of command per rad and per rad/s of error."""
LEARN, JUDGE, CHOOSE = 60.0, 20.0, 8.0
"""Seconds of the arm that are learned from, judged by, and of the simulator by which leads and gains are chosen."""
_SETTLED = 1.0


class Goal(Protocol):
    """A goal that moves."""

    def ahead(self, time: float, lead: float) -> Floats:
        """Where it would be ``lead`` [s] later if it went on as it does at ``time``."""


class Reference:
    """A smooth motion about the posture in which the arm begins: two sines of 0.15 to 0.6 Hz a joint, drawn by ``seed``."""

    def __init__(self, spec: RobotSpec, seed: int) -> None:
        rng = np.random.default_rng([seed, 101])
        task = spec.task("pose")
        start = [task.initial_position[name].normal for name in spec.joint_names]
        self._home = np.array([pair[0] if pair is not None else 0.0 for pair in start])
        self._size = np.zeros((2, len(self._home)))
        self._size[:, MOVING] = rng.uniform(0.1, 0.25, (2, len(MOVING)))
        self._pace = 2 * np.pi * rng.uniform(0.15, 0.6, (2, len(self._home)))

    def position(self, time: float) -> Floats:
        """[J] rad; every joint begins at rest in its home."""
        return np.asarray(self._home + (self._size * self._fade(time) * np.sin(self._pace * time)).sum(axis=0))

    def velocity(self, time: float) -> Floats:
        """[J] rad/s."""
        step = 1e-4
        return (self.position(time + step) - self.position(time - step)) / (2 * step)

    def ahead(self, time: float, lead: float) -> Floats:
        """Where the reference would be ``lead`` [s] later if it went on as it does at ``time``."""
        return self.position(time) + lead * self.velocity(time)

    def _fade(self, time: float) -> float:
        return 0.5 - 0.5 * math.cos(np.pi * min(max(time, 0.0), _SETTLED) / _SETTLED)


@dataclass(frozen=True)
class Law:
    """The servo is sent the reference ``lead`` [s] ahead, and ``gain`` and ``damping`` times its errors on top."""

    lead: float = 0.0
    gain: float = 0.0
    damping: float = 0.0

    def __call__(self, time: float, state: State, reference: Reference) -> Floats:
        wrong, slow = reference.position(time) - state.position, reference.velocity(time) - state.velocity
        return reference.ahead(time, self.lead) + self.gain * wrong + self.damping * slow


class Planned:
    """The controller with a bundle, whose goal is the reference ``lead`` [s] ahead."""

    def __init__(self, bundle: Bundle, lead: float, seed: int) -> None:
        self._controller = Controller(bundle, Settings(seed=seed), InlinePlanner())
        self._lead = lead

    def __call__(self, time: float, state: State, reference: Goal) -> Floats:
        self._controller.set_goal(reference.ahead(time, self._lead).tolist())
        self._controller.observe(state)
        command = self._controller.tick(time).command
        assert command is not None
        self._controller.sent(time, command)
        return np.asarray(command)


Method = Callable[[float, State, Any], Floats]
"""(time, newest state, goal) -> command [A]."""


def follow(spec: RobotSpec, engine: str, method: Method, reference: Reference, seconds: float, seed: int) -> tuple[Trial, Floats]:
    """What the sensors told, and the true positions [N, J] at the same times."""
    plant = Plant(spec, engine=engine, task="pose", seed=seed, randomize=False)
    try:
        return followed(plant, method, reference, seconds)
    finally:
        plant.close()


def followed(plant: Plant, method: Method, reference: Goal, seconds: float) -> tuple[Trial, Floats]:
    """As ``follow``, on ``plant``, from its episode 0 on."""
    spec, period = plant.spec, plant.spec.control.period
    lower, upper = spec.action_limits()
    reading = plant.reset(0)
    states, actions, true = [], [], []
    for step in range(round(seconds / period)):
        now = step * period
        newest = State(now, reading.position, reading.velocity, 0)
        command = np.clip(method(now, newest, reference), lower, upper)
        states.append(np.concatenate([newest.position, newest.velocity]))
        actions.append(command)
        true.append(plant.true_state()[: len(lower)])
        reading = plant.step(command) or reading
    trial = Trial(np.asarray(states, np.float32), np.asarray(actions, np.float32), period, spec.name)
    return trial, np.array(true)


def figures(true: Floats, reference: Reference, period: float) -> dict[str, float]:
    """Error [mrad] and lag [ms] of true positions [N, J] against the reference."""
    times = np.arange(len(true)) * period
    kept = times > _SETTLED

    def error(lag: float) -> float:
        wanted = np.array([reference.position(time - lag) for time in times[kept]])
        return float(np.sqrt(np.mean((true[kept] - wanted)[:, MOVING] ** 2)))

    lags = np.arange(-0.1, 0.3001, 0.01)
    return {"rms_mrad": 1e3 * error(0.0), "lag_ms": 1e3 * float(lags[np.argmin([error(lag) for lag in lags])])}


class Arm:
    """The methods with one ``seed``: of the training in simulation, the references, and fine-tuning. Pieces are done once."""

    def __init__(self, seed: int, pieces: Pieces) -> None:
        self.spec, self.seed, self._pieces = load_robot(ROBOT), seed, pieces

    def judged(self, name: str, make: Callable[[], Method]) -> dict[str, Any]:
        """Figures of a method on the foreign arm, along a reference that nobody has seen."""
        return self._pieces.done(f"judged_{name}", lambda folder: self._figures(FOREIGN, make(), 2000 + self.seed, JUDGE))

    def chosen(self, name: str, laws: Sequence[Law]) -> Law:
        """The law that follows best in the nominal simulator."""

        def work(folder: Path) -> dict[str, Any]:
            found = [self._figures(NOMINAL, law, 1000 + self.seed, CHOOSE)["rms_mrad"] for law in laws]
            return {"best": int(np.argmin(found)), "rms_mrad": found}

        return laws[int(self._pieces.done(f"chosen_{name}", work)["best"])]

    def lead(self, bundle: Path) -> float:
        """That with which the bundle follows best in the nominal simulator."""

        def work(folder: Path) -> dict[str, Any]:
            methods = [Planned(load(bundle), lead, self.seed) for lead in LEADS]
            found = [self._figures(NOMINAL, method, 1000 + self.seed, CHOOSE)["rms_mrad"] for method in methods]
            return {"best": int(np.argmin(found)), "rms_mrad": found}

        return LEADS[int(self._pieces.done("chosen_lead", work)["best"])]

    def simulated(self) -> Path:
        """The bundle of the recipe, from randomized simulation alone."""

        self._pieces.done("simulated", lambda folder: learned(self.spec, RECIPE, self.seed, folder))
        return self._pieces.folder("simulated") / "bundle"

    def tuned(self, parent: Path, lead: float) -> tuple[Path, Mapping[str, Any]]:
        """What ``parent`` becomes by ``LEARN`` seconds in which it drove the foreign arm (itself, if refused); the verdict."""

        def work(folder: Path) -> dict[str, Any]:
            method = Planned(load(parent), lead, self.seed)
            trials = [follow(self.spec, FOREIGN, method, Reference(self.spec, 3000 + self.seed), LEARN, self.seed)[0]]
            return tuned(parent, trials, self.seed, folder)

        verdict = self._pieces.done("tuned", work)
        return (self._pieces.folder("tuned") / "bundle" if verdict["promoted"] else parent), verdict

    def _figures(self, engine: str, method: Method, reference: int, seconds: float) -> dict[str, float]:
        wanted = Reference(self.spec, reference)
        _, true = follow(self.spec, engine, method, wanted, seconds, self.seed)
        return figures(true, wanted, self.spec.control.period)


def learned(spec: RobotSpec, recipe_name: str, seed: int, folder: Path) -> dict[str, Any]:
    """Makes ``folder``/bundle by a recipe, from randomized simulation alone; the held-out error."""
    recipe = load_recipe(recipe_name, spec.name)
    size = recipe.collection
    runs = collect(spec, episodes=size.episodes, steps=size.steps, task=recipe.task, seed=seed)
    trained = train([run.trial(spec) for run in runs], spec, recipe, seed, folder / "run")
    provenance = Provenance(trained.trained_on, trained.seed, held_out=trained.held_out)
    export_bundle(folder / "bundle", trained.model, spec, recipe, trained.replay, provenance)
    return {"error": min(epoch.best for epoch in trained.epochs)}


def tuned(parent: Path, trials: Sequence[Trial], seed: int, folder: Path) -> dict[str, Any]:
    """Fine-tunes ``parent`` to ``folder``/bundle, if the gate lets it pass; the verdict."""
    verdict = finetune(load_parent(load(parent)), trials, folder / "bundle", seed)
    return {key: verdict.as_json()[key] for key in ("promoted", "reason", "parent_error", "candidate_error")}


def measure(options: Options) -> Measurement:
    """A row a robot and method: medians and ranges over seeds, each with a training, goals and a minute of data of its own."""
    import torch

    from forerun.bench import arms_hand

    torch.set_num_threads(1)
    kept, rows = options.kept or options.work, list[Row]()
    for robot in options.chosen([ROBOT, arms_hand.ROBOT]):
        folders = [kept / f"{'' if robot == ROBOT else robot + '_'}seed_{seed}" for seed in options.seeds]
        pieces = [(seed, Pieces(folder, options.note)) for seed, folder in zip(options.seeds, folders, strict=True)]
        if robot == ROBOT:
            rows += _rows(robot, [_methods(Arm(*piece)) for piece in pieces])
        else:
            rows += _rows(robot, [arms_hand.MovingHand(*piece).methods() for piece in pieces])
    settings: dict[str, Any] = {"engine": FOREIGN, "chosen_in": NOMINAL, "recipe": load_recipe(RECIPE, ROBOT).as_data()}
    settings |= {"learn_s": LEARN, "judge_s": JUDGE, "leads": list(LEADS), "gains": [list(pair) for pair in GAINS]}
    hand = {"engine": arms_hand.FOREIGN, "drives": arms_hand.DRIVES.times, "payload_kg": arms_hand.PAYLOAD}
    settings |= {"hand": {**hand, "learn_s": arms_hand.LEARN, "judge_s": arms_hand.JUDGE, "gains": list(arms_hand.GAINS)}}
    return Measurement("arms", rows, settings)


def _rows(robot: str, by_seed: Sequence[Mapping[str, Mapping[str, float]]]) -> list[Row]:
    rows: list[Row] = []
    for name in by_seed[0]:
        row: dict[str, str | int | float] = {"robot": robot, "method": name}
        for key in by_seed[0][name]:
            values = [found[name][key] for found in by_seed]
            row |= {f"{key}_median": round(float(np.median(values)), 2), f"{key}_min": round(min(values), 2)}
            row |= {f"{key}_max": round(max(values), 2)}
        rows.append({**row, "seeds": len(by_seed)})
    return rows


def _methods(arm: Arm) -> dict[str, dict[str, float]]:
    """Figures of each method, in the order in which they ask for more."""
    ahead = arm.chosen("servo", [Law(lead) for lead in LEADS])
    pd = arm.chosen("pd", [Law(lead, *gains) for lead in LEADS for gains in GAINS])
    bundle = arm.simulated()
    lead = arm.lead(bundle)
    tuned, verdict = arm.tuned(bundle, lead)
    found = {
        "servo alone": arm.judged("servo", Law),
        "servo, reference ahead": arm.judged("servo_ahead", lambda: ahead),
        "PD around the servo, reference ahead": arm.judged("pd", lambda: pd),
        "planner, simulated model": arm.judged("simulated", lambda: Planned(load(bundle), lead, arm.seed)),
        "planner, fine-tuned model": arm.judged("tuned", lambda: Planned(load(tuned), lead, arm.seed)),
    }
    leads = (0.0, ahead.lead, pd.lead, lead, lead)
    rows = {name: {**figures, "lead_ms": 1e3 * told} for (name, figures), told in zip(found.items(), leads, strict=True)}
    rows["planner, fine-tuned model"]["promoted"] = float(verdict["promoted"])
    return rows
