"""Everything that windows of unseen trials tell of a bundle: errors, calibration, disagreement, and where it goes wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun_models.bundle import Bundle, Forecast
from forerun_models.evaluation.bootstrap import Estimate, median, root_mean
from forerun_models.evaluation.kstep import STEPS, Cuts, rmse
from forerun_models.uncertainty.familiarity import QUANTILE, SECONDS, evidence, surprise
from forerun_models.uncertainty.use import disagreement

Floats = NDArray[np.float64]

COVERAGES = (0.5, 0.9)
BINS = 10
"""Of the histogram of the probability integral transform."""
WORST = 4
_GAUSSIAN = {0.5: 0.6744897501960817, 0.9: 1.6448536269514722}


@dataclass(frozen=True)
class Errors:
    """At one number of steps, in standard deviations of the state.

    Attributes:
        mean: root mean square over windows and dimensions.
        median: over windows, of the root mean square over dimensions.
        by_joint: joint -> (position, velocity) root mean square.
    """

    mean: Estimate
    median: Estimate
    by_joint: dict[str, tuple[Estimate, Estimate]]


@dataclass(frozen=True)
class Uncertainty:
    """At one number of steps.

    Attributes:
        coverage: probability -> share of the errors within the interval that should hold so many.
        pit: [bins] share of the probability integral transform in each of ten equal bins; 0.1 each where all is calibrated.
        aleatoric, epistemic: mean predicted variances, in squared standard deviations of the state.
        squared_error: what they should add up to.
        likelihood: mean log-likelihood of a dimension, nats, standardised.
    """

    coverage: dict[float, float]
    pit: list[float]
    aleatoric: float
    epistemic: float
    squared_error: float
    likelihood: float


@dataclass(frozen=True)
class Disagreement:
    """Whether the bundle knows these states and this robot.

    Attributes:
        median, high: spread of the members over the bundle's horizon; ``high`` is the 99th percentile of the windows.
        threshold: the bundle's, None where it has none.
        above: share of the windows above it.
        correlation: rank correlation with the error; nan where one of them is constant.
        surprise: median of how much worse than told forecasts came true, logarithm of the mean square (``uncertainty.surprise``).
        surprise_threshold, surprised: the bundle's, and the share of the windows above it; None where it has none.
    """

    median: float
    high: float
    threshold: float | None
    above: float | None
    correlation: float
    surprise: float
    surprise_threshold: float | None
    surprised: float | None


@dataclass(frozen=True)
class Window:
    """A window that was predicted badly: ``trial`` and ``row`` where it begins, its error at the last step, states [H, S]."""

    trial: str
    row: int
    error: float
    truth: list[list[float]]
    predicted: list[list[float]]
    deviation: list[list[float]]


@dataclass(frozen=True)
class Judgement:
    """What was found out about one bundle; ``by_trial`` is RMSE_k by trial, ``calibrated`` says whether its variances are (else
    they are the model's own)."""

    errors: dict[int, Errors]
    by_trial: dict[str, dict[int, float]]
    uncertainty: dict[int, Uncertainty]
    disagreement: Disagreement
    worst: list[Window]
    calibrated: bool

    def as_json(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


def judge(bundle: Bundle, cuts: Cuts, std: Floats, sources: Sequence[str], joints: Sequence[str]) -> Judgement:
    """Judges ``bundle`` on windows.

    Args:
        cuts: of unseen trials, at the bundle's rate.
        std: [S] the yardstick.
        sources: what the trials are called, by the numbers in ``cuts.trial``.
        joints: names.

    Raises:
        BundleError: the bundle has no model.
    """
    forecast = bundle.forecast(cuts.past_states, cuts.past_actions, cuts.actions)
    error = forecast.mean.astype(np.float64) - cuts.future
    scaled = error / std
    steps = [k for k in STEPS if k <= cuts.future.shape[1]]
    return Judgement(
        errors={k: _errors(scaled[:, k - 1] ** 2, cuts.trial, joints) for k in steps},
        by_trial={name: rmse(scaled[cuts.trial == i] ** 2) for i, name in enumerate(sources) if (cuts.trial == i).any()},
        uncertainty={k: _uncertainty(forecast, error, std, k) for k in steps},
        disagreement=_disagreement(bundle, forecast, scaled, std, cuts),
        worst=_worst(forecast, cuts, scaled, sources),
        calibrated=forecast.calibration is not None,
    )


def _errors(squared: Floats, trial: NDArray[np.int64], joints: Sequence[str]) -> Errors:
    """Of normalised squared errors [N, S]."""
    each, count = squared.mean(axis=1), len(joints)
    return Errors(
        mean=root_mean(each, trial),
        median=median(np.sqrt(each), trial),
        by_joint={
            name: (root_mean(squared[:, i], trial), root_mean(squared[:, count + i], trial)) for i, name in enumerate(joints)
        },
    )


def _uncertainty(forecast: Forecast, error: Floats, std: Floats, step: int) -> Uncertainty:
    at, calibration, horizon = step - 1, forecast.calibration, error.shape[1]
    variance = np.maximum(forecast.variance, 1e-18)
    z = error / np.sqrt(variance)
    widths: dict[float, Floats]
    if calibration is None:
        widths = {level: np.full(z.shape[2], _GAUSSIAN[level]) for level in COVERAGES}
        probability = gaussian(z[:, at])
    else:
        widths = {level: calibration.width(level, horizon)[at] for level in COVERAGES}
        probability = calibration.probability(z)[:, at]
    share, _ = np.histogram(probability, bins=BINS, range=(0.0, 1.0))
    scaled = variance[:, at] / std**2
    return Uncertainty(
        coverage={level: float((np.abs(z[:, at]) <= widths[level]).mean()) for level in COVERAGES},
        pit=(share / share.sum()).tolist(),
        aleatoric=float((forecast.aleatoric[:, at] / std**2).mean()),
        epistemic=float((forecast.epistemic[:, at] / std**2).mean()),
        squared_error=float(((error[:, at] / std) ** 2).mean()),
        likelihood=float(-0.5 * (z[:, at] ** 2 + np.log(2 * np.pi * scaled)).mean()),
    )


def gaussian(z: Floats) -> Floats:
    """Standard normal distribution function (Abramowitz and Stegun 7.1.26, good to 1e-7)."""
    x = np.abs(z) / np.sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    series = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    erf = 1.0 - series * np.exp(-(x**2))
    return np.asarray(0.5 + 0.5 * np.sign(z) * erf)


def _disagreement(bundle: Bundle, forecast: Forecast, scaled: Floats, std: Floats, cuts: Cuts) -> Disagreement:
    manifest = bundle.manifest
    own = np.asarray(manifest.metrics.get("state_std", std), np.float64)
    reach = min(manifest.horizon, scaled.shape[1])
    spread = disagreement(forecast.members[:, :, :reach].astype(np.float64), own).mean(axis=1)
    error = np.sqrt((scaled[:, :reach] ** 2).mean(axis=(1, 2)))
    told = evidence(*surprise(forecast, cuts.future, own, reach), cuts.trial, cuts.row, round(SECONDS * manifest.rate))
    limits = manifest.thresholds.get("disagreement"), manifest.thresholds.get("surprise")
    return Disagreement(
        median=float(np.median(spread)),
        high=float(np.quantile(spread, QUANTILE)),
        threshold=limits[0],
        above=None if limits[0] is None else float((spread > limits[0]).mean()),
        correlation=rank_correlation(spread, error),
        surprise=float(np.median(told)),
        surprise_threshold=limits[1],
        surprised=None if limits[1] is None else float((told > limits[1]).mean()),
    )


def rank_correlation(a: Floats, b: Floats) -> float:
    """Spearman's, of values without ties of account; nan where one is constant."""
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return float("nan")
    return float(np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1])


def _worst(forecast: Forecast, cuts: Cuts, scaled: Floats, sources: Sequence[str]) -> list[Window]:
    """The worst window of each of the worst trials."""
    error = np.sqrt((scaled**2).mean(axis=(1, 2)))
    found: list[Window] = []
    seen: set[int] = set()
    for index in np.argsort(-error):
        trial = int(cuts.trial[index])
        if trial in seen:
            continue
        seen.add(trial)
        traces = (cuts.future[index], forecast.mean[index], np.sqrt(forecast.variance[index]))
        truth, predicted, deviation = (np.round(array.astype(np.float64), 6).tolist() for array in traces)
        found.append(Window(sources[trial], int(cuts.row[index]), float(error[index]), truth, predicted, deviation))
        if len(found) == WORST:
            break
    return found
