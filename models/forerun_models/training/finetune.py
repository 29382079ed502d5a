"""Fine-tuning: from a bundle and real trials to a candidate, and a verdict on whether it may touch the robot."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from forerun_models.bundle import Bundle
from forerun_models.dynamics.model import WorldModel
from forerun_models.evaluation.kstep import STEPS, cut, errors, rmse
from forerun_models.export import Provenance, export_bundle
from forerun_models.recipe import Recipe, load_recipe
from forerun_models.training.run import REPLAY_ROWS
from forerun_models.training.split import hold_out
from forerun_models.training.store import thin, unpack_model, unpack_trials
from forerun_models.training.trainer import Epoch, Source, Trainer
from forerun_models.training.windows import Windows
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.trial import Trial


@dataclass(frozen=True)
class Verdict:
    """Whether the candidate is better than its parent on real trials that neither was trained or stopped on.

    ``error`` is the mean over the steps of the judged horizon of the normalised RMSE; ``kstep`` holds RMSE_k.
    """

    promoted: bool
    reason: str
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

    def as_json(self) -> dict[str, Any]:
        """Plain data for the verdict file."""
        return asdict(self)


@dataclass(frozen=True)
class Parent:
    """What fine-tuning starts from: the content of a bundle's train/ folder."""

    robot: RobotSpec
    recipe: Recipe
    model: WorldModel
    replay: list[Trial]
    digest: str


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
    return Parent(
        robot, recipe, model, unpack_trials((folder / "replay.npz").read_bytes(), f"{folder}/replay.npz"), bundle.digest
    )


def finetune(
    parent: Parent,
    trials: Sequence[Trial],
    out: Path,
    seed: int,
    on_epoch: Callable[[Epoch, int], None] = lambda epoch, of: None,
) -> Verdict:
    """Trains a candidate on real trials mixed with the parent's replay, judges it, and writes the bundle ``out`` if it is better.

    Whole trials are kept apart twice: some decide when to stop, others judge.

    Args:
        parent: where to start.
        trials: real ones, at least three.
        out: bundle to write; nothing is written where the candidate is not promoted.
        seed: of the split and the batches.
        on_epoch: told of each epoch and of how many there are at most.

    Raises:
        InputError: fewer than three trials, or too short ones.
    """
    if len(trials) < 3:
        raise InputError(
            f"{len(trials)} trial(s) are too few to fine-tune on: some are for training, one says when to stop, one judges; "
            "record at least three trials (a trial ends at a reset or a gap)"
        )
    settings = parent.recipe.finetuning
    rest, judges = hold_out(trials, settings.training.holdout, seed)
    real, stoppers = hold_out(rest, settings.training.holdout, seed + 1)
    model = copy.deepcopy(parent.model)
    history, horizon = model.features.history, max(phase.horizon for phase in settings.training.phases)
    sources = [Source(Windows(real, history, horizon), settings.real_fraction)]
    if parent.replay:
        sources.append(Source(Windows(parent.replay, history, horizon), 1.0 - settings.real_fraction))
    reach = min(settings.training.validation_horizon, max(len(trial) for trial in stoppers) - 1)
    trainer = Trainer(model, sources, Windows(stoppers, history, reach), settings.training, seed)
    epochs: list[Epoch] = []

    def note(epoch: Epoch) -> None:
        epochs.append(epoch)
        on_epoch(epoch, trainer.epochs)

    trainer.run(note)
    verdict = replace(_judge(parent, model.eval(), judges, stoppers, real, seed), epochs=epochs)
    if verdict.promoted:
        rows = sum(len(trial) for trial in real)
        trained_on = {
            "trials": [trial.digest() for trial in real],
            "held_out": [trial.digest() for trial in (*judges, *stoppers)],
            "bags": sorted({trial.source.split("#")[0] for trial in trials}),
            "seed": seed,
        }
        metrics = {"kstep": {str(k): value for k, value in verdict.candidate_kstep.items()}, "judged_on": verdict.judged_on}
        replay = [*real, *thin(parent.replay, max(1, REPLAY_ROWS - rows))]
        provenance = Provenance(trained_on, seed, metrics, parent.digest, held_out=[*judges, *stoppers])
        export_bundle(out, model, parent.robot, parent.recipe, replay, provenance)
    return verdict


def _judge(
    parent: Parent,
    candidate: WorldModel,
    judges: Sequence[Trial],
    stoppers: Sequence[Trial],
    real: Sequence[Trial],
    seed: int,
) -> Verdict:
    settings = parent.recipe.finetuning
    reach = min(settings.training.validation_horizon, max(len(trial) for trial in judges) - 1)
    cuts = cut(judges, parent.model.features.history, horizon=reach)
    results = {}
    for name, model in (("parent", parent.model), ("candidate", candidate)):
        squared = errors(lambda s, p, a, model=model: _predict(model, s, p, a), cuts, parent.model.features.state_std.numpy())  # type: ignore[misc]
        results[name] = (float(np.sqrt(squared.mean(axis=(0, 2))).mean()), rmse(squared, STEPS))
    before, after = results["parent"][0], results["candidate"][0]
    promoted = bool(np.isfinite(after) and after < settings.promote_below * before)
    relation = f"{after:.4g} against the parent's {before:.4g} on {len(judges)} held-out trial(s), {len(cuts)} windows"
    wanted = f"below {settings.promote_below:g} times the parent's error is asked for"
    return Verdict(
        promoted=promoted,
        reason=f"{'better' if promoted else 'not better'}: {relation}; {wanted}",
        parent=parent.digest,
        parent_error=before,
        candidate_error=after,
        parent_kstep=results["parent"][1],
        candidate_kstep=results["candidate"][1],
        judged_on=[trial.digest() for trial in judges],
        stopped_on=[trial.digest() for trial in stoppers],
        trained_on=[trial.digest() for trial in real],
        seed=seed,
        epochs=[],
    )


@torch.no_grad()
def _predict(model: WorldModel, past_states: Any, past_actions: Any, actions: Any) -> Any:
    """The elites' mean, as ``Bundle.rollout`` computes it."""
    states, given, future = (torch.as_tensor(array) for array in (past_states, past_actions, actions))
    wide = [array.expand(model.members, *array.shape).unbind(2) for array in (states, given, future)]
    if model.memory_sizes:
        return torch.stack(model.rollout(*wide))[:, model.elites].mean(dim=1).transpose(0, 1).numpy()
    window, commands, predicted = list(wide[0]), list(wide[1]), []
    for action in wide[2]:
        commands = [*commands, action]
        mean = model.step(window, commands)[0][model.elites].mean(dim=0)
        window, commands = [*window[1:], mean.expand(model.members, *mean.shape)], commands[1:]
        predicted.append(mean)
    return torch.stack(predicted, dim=1).numpy()
