"""Do the signs of ``forerun_models.uncertainty`` tell what a model knows from what it does not?

Familiar and unfamiliar windows: other designs of the real double pendulum than the one learned from (C.1), joints faster than in
any training trial, and a simulated one whose lower arm carries its own weight once more.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial

import numpy as np
from numpy.typing import NDArray

from forerun.bench.double_pendulum import ROBOT, UNSEEN, load_split
from forerun.bench.logs import as_trials, fit, folder_of_logs
from forerun.bench.records import Measurement, Options, Row
from forerun_models.bundle import Bundle
from forerun_models.evaluation.kstep import cut
from forerun_models.uncertainty import auroc, disagreement, evidence, surprise, unfamiliarity
from forerun_models.uncertainty.familiarity import SECONDS
from forerun_sim.collect import collect
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial

Floats = NDArray[np.float64]

OTHER_DESIGNS = ("C.0", "A.0")
SIMULATED = "double_pendulum_sim"
PAYLOAD = 2.0
EPISODES, EPISODE_STEPS = 8, 800
"""Of the simulated robot with and without payload, unseen by training."""
STRIDE = 10
KINDS = ("designs", "speed", "payload")


@dataclass(frozen=True)
class Signs:
    """Of N windows: the three signs, seconds of evidence behind surprise, and the largest speed of each joint [N, J]."""

    disagreement: Floats
    surprise: Floats
    distance: Floats
    seconds: Floats
    speed: Floats

    def where(self, mask: NDArray[np.bool_]) -> Signs:
        """Some of the windows."""
        return Signs(*(getattr(self, part.name)[mask] for part in fields(self)))


def signs(bundle: Bundle, trials: Sequence[Trial]) -> Signs:
    """What is known at each window's begin: the plan's disagreement and distance, and how former plans came true."""
    manifest = bundle.manifest
    horizon, std = manifest.horizon, np.asarray(manifest.metrics["state_std"])
    cuts = cut(trials, manifest.history, horizon=horizon, stride=STRIDE)
    forecast = bundle.forecast(cuts.past_states, cuts.past_actions, cuts.actions)
    ahead = disagreement(forecast.members.astype(np.float64), std).mean(axis=1)
    told = evidence(
        *surprise(forecast, cuts.future, std, horizon), cuts.trial, cuts.row, round(SECONDS * manifest.rate) - horizon
    )
    # A window's outcome is known a horizon later.
    past = np.full(len(cuts), -np.inf)
    for number in np.unique(cuts.trial):
        (own,) = np.nonzero(cuts.trial == number)
        known = np.searchsorted(cuts.row[own], cuts.row[own] - horizon, side="right")
        past[own[known > 0]] = told[own[known[known > 0] - 1]]
    speed = np.abs(cuts.future[:, :, manifest.state_size // 2 :]).max(axis=1)
    assert manifest.ground is not None
    away = manifest.ground.distance(forecast.mean).max(axis=1)
    return Signs(ahead, past, away, cuts.row / manifest.rate, speed)


def measure(options: Options) -> Measurement:
    """AUROC of each sign and of all, and how many windows the bundle's thresholds report, by seed and kind of unfamiliarity."""
    chosen = options.chosen(KINDS)
    rows: list[Row] = []
    if "designs" in chosen or "speed" in chosen:
        split = load_split(options)
        others = _other_designs(options, split.robot) if "designs" in chosen else {}
        usual = [trial for trial in split.validation if not str(trial.meta["id"]).startswith(UNSEEN)]
        trained = np.abs(np.concatenate([trial.states for trial in split.train]))
        fastest = trained[:, trained.shape[1] // 2 :].max(axis=0)
        for seed in options.seeds:
            real = _learned(options, ROBOT, seed, lambda: split.train)
            familiar = signs(real, usual)
            for design, trials in others.items():
                rows.append(_row(seed, f"design {design}", real, familiar, signs(real, trials), settled=True))
            if "speed" in chosen:
                unseen = signs(real, split.validation)
                fast = unseen.where((unseen.speed > fastest).any(axis=1))
                rows.append(_row(seed, "unseen speed", real, familiar, fast, settled=False))
    if "payload" in chosen:
        robot = load_robot(ROBOT)
        plain, loaded = _simulated(robot, 1.0), _simulated(robot, PAYLOAD)
        for seed in options.seeds:
            simulated = _learned(options, SIMULATED, seed, partial(_collected, robot, seed))
            familiar = signs(simulated, plain)
            rows.append(_row(seed, "doubled payload", simulated, familiar, signs(simulated, loaded), settled=True))
    settings = {"seconds_of_evidence": SECONDS, "stride": STRIDE, "payload": PAYLOAD, "threads": 1}
    return Measurement("uncertainty", rows, settings)


def _other_designs(options: Options, robot: RobotSpec) -> dict[str, list[Trial]]:
    """Design -> its trials on the protocol's grid."""
    folder, found = folder_of_logs(options, ROBOT), {}
    index = json.loads((folder / "index.json").read_text())["trials"]
    for design in OTHER_DESIGNS:
        mine = [entry for entry in index if entry["design"] == design and entry["grid100Hz"]]
        files = [folder / entry["file"] for entry in mine if "static_noise" not in entry["file"]]
        found[design] = as_trials(files, robot, options.work / "bags" / design)
    return found


def _row(seed: int, kind: str, bundle: Bundle, familiar: Signs, unfamiliar: Signs, *, settled: bool) -> Row:
    """``settled``: only windows with all the evidence that surprise takes together, for what does not change within a trial."""
    both = [one.where(one.seconds >= SECONDS) if settled else one for one in (familiar, unfamiliar)]
    early = [one.where((one.seconds >= 1.0) & (one.seconds < 2.0)) for one in (familiar, unfamiliar)]
    thresholds = bundle.manifest.thresholds

    def combined(one: Signs) -> Floats:
        return unfamiliarity(one.disagreement, one.surprise, thresholds, one.distance)

    return {
        "unfamiliar": kind,
        "seed": seed,
        "auroc_disagreement": round(auroc(both[0].disagreement, both[1].disagreement), 4),
        "auroc_surprise": round(auroc(both[0].surprise, both[1].surprise), 4),
        "auroc_distance": round(auroc(both[0].distance, both[1].distance), 4),
        "auroc_both": round(auroc(combined(both[0]), combined(both[1])), 4),
        "auroc_both_after_1s": round(auroc(*map(combined, early)), 4) if all(len(one.seconds) for one in early) else "",
        "reported_familiar": round(float((combined(both[0]) > 0).mean()), 4),
        "reported_unfamiliar": round(float((combined(both[1]) > 0).mean()), 4),
        "familiar_windows": len(both[0].seconds),
        "unfamiliar_windows": len(both[1].seconds),
    }


def _simulated(robot: RobotSpec, factor: float) -> list[Trial]:
    """Trials that no training saw, the lower arm ``factor`` times as heavy as its kind."""
    spec = (
        robot if factor == 1.0 else robot.model_copy(update={"nominal": {**robot.nominal, "mass.lower": factor * _mass(robot)}})
    )
    with_payload = collect(spec, episodes=EPISODES, seed=1000, steps=EPISODE_STEPS)
    return [recording.trial(spec) for recording in with_payload]


def _mass(robot: RobotSpec) -> float:
    from forerun_sim.urdf import robot_urdf

    return float(robot_urdf(robot).links["lower"].mass)


def _learned(options: Options, name: str, seed: int, trials: Callable[[], Sequence[Trial]]) -> Bundle:
    """The shipped recipe ``name`` trained on ``trials``, which are not made where the training was kept."""
    from forerun_models.recipe import load_recipe

    kept = options.kept is not None and (options.kept / f"{name}-{seed}" / "weights.safetensors").is_file()
    return fit([] if kept else trials(), load_robot(ROBOT), seed, options, load_recipe(name, ROBOT), name).bundle


def _collected(robot: RobotSpec, seed: int) -> list[Trial]:
    from forerun_models.recipe import load_recipe

    settings = load_recipe(SIMULATED, robot.name).collection
    return [one.trial(robot) for one in collect(robot, episodes=settings.episodes, seed=seed, steps=settings.steps)]
