"""Fine-tuning: from a bundle and real trials to a candidate, and a verdict on whether it may touch the robot."""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from forerun_models.bundle import Bundle, load
from forerun_models.dynamics.model import WorldModel
from forerun_models.export import NETWORKS, Provenance, export_bundle
from forerun_models.planners.networks import Networks
from forerun_models.planners.trajectory.feedback import NoTrajectory
from forerun_models.recipe import Recipe, load_recipe
from forerun_models.training import change, gate
from forerun_models.training.change import Change
from forerun_models.training.gate import Check
from forerun_models.training.replay import carried, learned_from, of_child
from forerun_models.training.split import Split, hold_out, three_ways
from forerun_models.training.store import unpack_model, unpack_trials
from forerun_models.training.trainer import Epoch, Source, Trainer
from forerun_models.training.windows import Windows
from forerun_sim.errors import InputError
from forerun_sim.files import atomic_folder
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial

_HALVINGS = 2
"""How often a candidate that forgot too much is taken back half of its way."""


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate may take its parent's place, and all that was measured to find out.

    ``error`` is the mean over the steps of the judged horizon of the normalised RMSE on the held-out real trials; ``kstep``
    holds RMSE_k. ``checks`` end with the first that failed. Where the robot ``changed``, older real trials count no more. The
    candidate's weights are ``way`` of the way from its parent's to those that training found.
    """

    promoted: bool
    reason: str
    checks: list[Check]
    parent: str
    parent_error: float
    candidate_error: float
    parent_kstep: dict[int, float]
    candidate_kstep: dict[int, float]
    judged_on: list[str]
    stopped_on: list[str]
    trained_on: list[str]
    seed: int
    epochs: list[Epoch]
    changed: Change | None
    way: float = 1.0

    def as_json(self) -> dict[str, Any]:
        """Plain data for the verdict file."""
        return asdict(self)


@dataclass(frozen=True)
class Parent:
    """What fine-tuning starts from: the content of the train/ folder of ``bundle``."""

    bundle: Bundle
    robot: RobotSpec
    recipe: Recipe
    model: WorldModel
    replay: list[Trial]
    digest: str
    networks: Networks | None = None


Driven = Callable[[Parent, Bundle, Split, Verdict, int], Check]
"""(parent, candidate, trials, verdict so far, seed) -> the check **control**, for which simulated robots must be driven."""


def load_parent(bundle: Bundle) -> Parent:
    """The training side of ``bundle``, whose files ``bundle.load`` has checked.

    Raises:
        InputError: the bundle has no model, or no train/ folder.
    """
    folder = bundle.path / "train"
    if not bundle.has_model:
        raise InputError(
            f"{bundle.path}: holds a {bundle.manifest.agent} agent without a model, and models are what is fine-tuned; let the "
            "agent learn on (forerun learn ... --resume) and export it again"
        )
    if not (folder / "weights.safetensors").is_file():
        raise InputError(f"{bundle.path}: has no train/ folder, so there is nothing to fine-tune; export it from its run again")
    robot = load_robot(folder / "robot")
    recipe = load_recipe(folder / "recipe.yaml", robot.name)
    model = unpack_model((folder / "weights.safetensors").read_bytes(), (folder / "model.yaml").read_text(), robot, str(folder))
    replay = unpack_trials((folder / "replay.npz").read_bytes(), f"{folder}/replay.npz")
    kept = bundle.path / NETWORKS
    networks = Networks.unpack(kept.read_bytes(), str(kept)) if kept.is_file() else None
    return Parent(bundle, robot, recipe, model, replay, bundle.digest, networks)


def finetune(
    parent: Parent,
    trials: Sequence[Trial] | Split,
    out: Path,
    seed: int,
    on_epoch: Callable[[Epoch, int], None] = lambda epoch, of: None,
    on_judging: Callable[[], None] = lambda: None,
    driven: Driven | None = None,
) -> Verdict:
    """Trains a candidate on real trials mixed with the parent's replay, and writes the bundle ``out`` if it passes the gate.

    Args:
        parent: where to start.
        trials: real ones: at least three, or long enough to be cut into three; or who is for what.
        out: bundle to write; nothing is written where the candidate is not promoted.
        seed: of the split and the batches.
        on_epoch: told of each epoch and of how many there are at most.
        on_judging: told when training is over.
        driven: judges how the candidate controls; it is not asked of agents that cannot, nor where the recipe wants no episodes.

    Raises:
        InputError: too few trials, or too short ones.
    """
    settings = parent.recipe.finetuning
    training = settings.training
    horizon = max(phase.horizon for phase in training.phases)
    shortest = max(horizon, training.validation_horizon) + 1
    split = trials if isinstance(trials, Split) else three_ways(trials, training.holdout, seed, shortest)
    parent = replace(parent, replay=carried(parent.replay, split.trials))
    parent, split, changed = _as_it_is_now(parent, trials, split, shortest, seed)
    replay: list[Trial] = list(parent.replay)
    apart: list[Trial] = []
    simulated = [trial for trial in replay if not learned_from(trial)]
    if len(simulated) > 1:
        kept = {id(trial) for trial in hold_out(simulated, training.holdout, seed)[1]}
        apart, replay = ([trial for trial in replay if (id(trial) in kept) == held] for held in (True, False))
    model = copy.deepcopy(parent.model)
    history = model.features.history
    sources = [Source(Windows(split.train, history, horizon), settings.real_fraction)]
    if replay:
        sources.append(Source(Windows(replay, history, horizon), 1.0 - settings.real_fraction))
    reach = min(training.validation_horizon, max(len(trial) for trial in split.stop) - 1)
    trainer = Trainer(model, sources, Windows(split.stop, history, reach), training, seed)
    epochs: list[Epoch] = []

    def note(epoch: Epoch) -> None:
        epochs.append(epoch)
        on_epoch(epoch, trainer.epochs)

    trainer.run(note)
    on_judging()
    verdict = replace(_settle(parent, model.eval(), split, apart, seed), epochs=epochs, changed=changed)
    return _offer(parent, model, split, out, verdict, driven) if verdict.promoted else verdict


def _as_it_is_now(
    parent: Parent, trials: Sequence[Trial] | Split, split: Split, shortest: int, seed: int
) -> tuple[Parent, Split, Change | None]:
    """``parent`` and ``split`` without the real trials of the robot that it was before it changed, if it did."""
    settings = parent.recipe.finetuning
    before = [trial for trial in parent.replay if learned_from(trial)]
    changed = change.find(parent.model, [*before, *split.trials], settings.changed_above, shortest)
    if changed is None:
        return parent, split, None
    if not isinstance(trials, Split):
        newer = change.newer(trials, changed, shortest)
        if sum(len(trial) for trial in newer) >= 3 * shortest:
            split = three_ways(newer, settings.training.holdout, seed, shortest)
    return replace(parent, replay=change.kept(parent.replay, changed)), change.since(split, changed, shortest), changed


def _settle(parent: Parent, candidate: WorldModel, split: Split, apart: Sequence[Trial], seed: int) -> Verdict:
    """Judges ``candidate``; one that forgot too much is taken back towards its parent, in place, as far as it must.

    Between the weights of a model and what fine-tuning made of it, most of what is new is learned before most of what was known
    is lost (Wortsman et al. 2022, "Robust fine-tuning of zero-shot models").
    """
    first = verdict = _judge(parent, candidate, split, apart, seed)
    way = 1.0
    for _ in range(_HALVINGS):
        if verdict.checks[-1].passed or verdict.checks[-1].name not in ("replay", "earlier"):
            break
        way /= 2
        with torch.no_grad():
            for learned, before in zip(candidate.parameters(), parent.model.parameters(), strict=True):
                learned.lerp_(before, 0.5)
        verdict = replace(_judge(parent, candidate, split, apart, seed), way=way)
    return verdict if verdict.promoted else first


def _judge(parent: Parent, candidate: WorldModel, split: Split, apart: Sequence[Trial], seed: int) -> Verdict:
    """The checks that need no bundle."""
    settings = parent.recipe.finetuning
    horizon, std = settings.training.validation_horizon, parent.model.features.state_std.numpy()
    models = (parent.model, candidate)
    before, after = (gate.prediction(model, split.judge, horizon, std) for model in models)
    checks = [gate.better(settings, before, after, len(split.judge))]
    for name, trials in (("replay", apart), ("earlier", split.earlier)):
        if checks[-1].passed and trials:
            knew, knows = (gate.prediction(model, trials, horizon, std) for model in models)
            checks.append(gate.remembers(settings, name, knew, knows, before.mean))
    if checks[-1].passed:
        checks.append(gate.calibrated(settings, candidate, split.stop, split.judge, horizon))
    return Verdict(
        promoted=checks[-1].passed,
        reason=_reason(checks),
        checks=checks,
        parent=parent.digest,
        parent_error=before.mean,
        candidate_error=after.mean,
        parent_kstep=before.kstep,
        candidate_kstep=after.kstep,
        judged_on=[trial.digest() for trial in split.judge],
        stopped_on=[trial.digest() for trial in split.stop],
        trained_on=[trial.digest() for trial in split.train],
        seed=seed,
        epochs=[],
        changed=None,
    )


def _reason(checks: Sequence[Check]) -> str:
    last = checks[-1]
    if last.passed:
        return f"better: {checks[0].text}"
    return f"not better: {last.text}" if last.name == "real" else f"better, but {last.name}: {last.text}"


def _offer(parent: Parent, model: WorldModel, split: Split, out: Path, verdict: Verdict, driven: Driven | None) -> Verdict:
    """Makes the bundle aside, checks what only a bundle can show, and moves it to ``out`` where all is well."""
    trained_on = {
        "trials": verdict.trained_on,
        "held_out": [*verdict.judged_on, *verdict.stopped_on],
        "bags": sorted({trial.source.split("#")[0] for trial in split.trials}),
        "seed": verdict.seed,
    }
    metrics = {"kstep": {str(k): value for k, value in verdict.candidate_kstep.items()}, "judged_on": verdict.judged_on}
    provenance = Provenance(trained_on, verdict.seed, metrics, parent.digest, held_out=[*split.judge, *split.stop])
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name[:40]}.", suffix=".tmp", dir=out.parent) as folder:
        replay = of_child(parent.replay, split)
        candidate = Path(folder) / "candidate"
        try:
            made = export_bundle(candidate, model, parent.robot, parent.recipe, replay, provenance, parent.networks)
        except NoTrajectory as missing:
            checks = [*verdict.checks, gate.plans(missing)]
            return replace(verdict, promoted=False, reason=_reason(checks), checks=checks)
        bundle, checks = load(made), verdict.checks
        if bundle.has_agent:
            checks = [*checks, gate.in_time(parent.recipe.finetuning, bundle, parent.bundle)]
            if checks[-1].passed and driven is not None and parent.recipe.finetuning.control.episodes:
                checks.append(driven(parent, bundle, split, verdict, verdict.seed))
        if checks[-1].passed:
            with atomic_folder(out) as target:
                made.rename(target)
    reason = _reason(checks) + (f"; taken back to {verdict.way:.0%} of its way, for it forgot" if verdict.way < 1.0 else "")
    return replace(verdict, promoted=checks[-1].passed, reason=reason, checks=checks)
