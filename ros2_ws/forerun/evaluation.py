"""The k-step table of a bundle on trials, with the models that it must beat; several bundles side by side, in full."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle import Bundle
from forerun_models.evaluation.judge import Judgement, judge
from forerun_models.evaluation.kstep import HORIZON, STEPS, Cuts, cut, errors, rmse
from forerun_models.evaluation.predictors import Linear, Predictor, persistence
from forerun_sim.errors import InputError
from forerun_sim.trial import Trial

OURS = "this bundle"


@dataclass(frozen=True)
class Evaluation:
    """RMSE_k by model. ``std`` [S] is the yardstick of the errors, SI."""

    rows: dict[str, dict[int, float]]
    steps: tuple[int, ...]
    windows: int
    trials: int
    period: float
    std: list[float]
    bundle: str

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def evaluate(
    bundle: Bundle, trials: Sequence[Trial], reference: Sequence[Trial] | None = None, others: dict[str, Predictor] | None = None
) -> Evaluation:
    """Judges ``bundle`` by the k-step protocol.

    Args:
        bundle: with a model.
        trials: unseen ones, on the bundle's control grid.
        reference: training trials; the yardstick is their spread (else that of the bundle's own training states), and the linear
            model is fitted to them.
        others: further models to stand in the table.

    Raises:
        InputError: no trial is long enough for one window.
        BundleError: the bundle has no model.
    """
    cuts, std = _windows(bundle, trials, reference, bundle.manifest.history)
    rows = _baselines(cuts, std, reference)
    for name, predict in {**(others or {}), OURS: bundle.rollout}.items():
        rows[name] = rmse(errors(predict, cuts, std))
    steps = tuple(k for k in STEPS if k <= cuts.future.shape[1])
    return Evaluation(rows, steps, len(cuts), len(trials), trials[0].period, std.tolist(), bundle.digest)


@dataclass(frozen=True)
class Comparison:
    """Bundles judged on the same windows. ``baselines``: RMSE_k of what each of them must beat; ``std`` [S] is the yardstick.
    ``quality`` of the recordings by trial, as in ``bags.quality``, and ``warnings`` about them."""

    judgements: dict[str, Judgement]
    digests: dict[str, str]
    baselines: dict[str, dict[int, float]]
    steps: tuple[int, ...]
    windows: int
    sources: list[str]
    period: float
    std: list[float]
    joints: tuple[str, ...]
    quality: dict[str, dict[str, Any]]
    warnings: list[str]

    @property
    def trials(self) -> int:
        """How many there are."""
        return len(self.sources)

    @property
    def rows(self) -> dict[str, dict[int, float]]:
        """RMSE_k by model, the bundles last."""
        ours = {name: {k: found.errors[k].mean.value for k in self.steps} for name, found in self.judgements.items()}
        return {**self.baselines, **ours}

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        bundles = {name: {"sha256": self.digests[name], **found.as_json()} for name, found in self.judgements.items()}
        names = ("rows", "steps", "windows", "trials", "sources", "period", "std", "joints", "quality", "warnings")
        return {**{name: getattr(self, name) for name in names}, "bundles": bundles}


def compare(
    bundles: Mapping[str, Bundle],
    trials: Sequence[Trial],
    reference: Sequence[Trial] | None = None,
    warnings: Sequence[str] = (),
) -> Comparison:
    """Judges ``bundles`` (by name, at least one) on the windows of ``trials``; arguments and errors as in ``evaluate``.

    Without a ``reference`` the yardstick is the spread of the first bundle's training states. ``warnings`` say what is wrong with
    the recordings.

    Raises:
        InputError: the bundles are of robots with other joints, actions or rates.
    """
    first = next(iter(bundles.values()))
    for name, bundle in bundles.items():
        _refuse_other(name, bundle, first)
    cuts, std = _windows(first, trials, reference, max(bundle.manifest.history for bundle in bundles.values()))
    sources = [trial.source for trial in trials]
    joints = first.manifest.joints
    return Comparison(
        judgements={name: judge(bundle, cuts, std, sources, joints) for name, bundle in bundles.items()},
        digests={name: bundle.digest for name, bundle in bundles.items()},
        baselines=_baselines(cuts, std, reference),
        steps=tuple(k for k in STEPS if k <= cuts.future.shape[1]),
        windows=len(cuts),
        sources=sources,
        period=trials[0].period,
        std=std.tolist(),
        joints=joints,
        quality={trial.source: trial.meta["quality"] for trial in trials if "quality" in trial.meta},
        warnings=list(warnings),
    )


def _refuse_other(name: str, bundle: Bundle, first: Bundle) -> None:
    for what in ("joints", "actions", "rate"):
        mine, theirs = getattr(bundle.manifest, what), getattr(first.manifest, what)
        if mine != theirs:
            raise InputError(f"{name}: has other {what} than {first.path}: {mine} and {theirs}; evaluate them one by one")


def _windows(
    bundle: Bundle, trials: Sequence[Trial], reference: Sequence[Trial] | None, history: int
) -> tuple[Cuts, NDArray[np.float64]]:
    """The windows of the protocol and the yardstick [S]."""
    reach = min(HORIZON, max((len(trial) for trial in trials), default=0) - 1)
    if reach < 1:
        raise InputError("there is no trial with at least two rows to predict")
    cuts = cut(trials, history, horizon=reach)
    if reference is not None:
        std = np.concatenate([trial.states for trial in reference]).astype(np.float64).std(axis=0)
    else:
        std = np.asarray(bundle.manifest.metrics["state_std"], np.float64)
    return cuts, np.where(std > 1e-9, std, 1.0)


def _baselines(cuts: Cuts, std: NDArray[np.float64], reference: Sequence[Trial] | None) -> dict[str, dict[int, float]]:
    models: dict[str, Predictor] = {"persistence": persistence}
    if reference is not None:
        models["linear"] = Linear(reference)
    return {name: rmse(errors(predict, cuts, std)) for name, predict in models.items()}
