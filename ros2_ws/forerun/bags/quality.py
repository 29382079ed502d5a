"""How good a recording is, measured on its raw samples: what is wrong here limits every model that is learned from it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from forerun.grid import interpolate
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial

Floats = NDArray[np.float64]

_GAP = 3.0
"""Median steps (and control periods) from which on a step is a gap."""
_LONGEST_DELAY = 0.3
"""[s]"""
_SAMPLES = 6000
"""At most so many samples tell the delay."""
_CLEAR = 0.3
"""Partial correlation from which on a peak counts."""
_SLOW = 0.1
"""Speed [rad/s or m/s] within which friction changes its sign."""
_AT_LIMIT = 0.999


@dataclass(frozen=True)
class Quality:
    """One trial's. Times in s; per joint or action in the order of robot.yaml.

    Attributes:
        rate, command_rate: of states and commands [Hz], from the median step; 0 of fewer than two.
        jitter: 99th percentile of how far a step between states is from the median.
        gaps: steps longer than three median steps and three control periods; ``longest_gap`` the longest step.
        delay: per action, from a command to its effect, by cross-correlation; None where none shows.
        velocity_noise: per joint, standard deviation [rad/s or m/s] of what changes from one sample to the next alone.
        noise_share: the same as a share of the velocity's own standard deviation.
        saturation: per action, share of the time at a limit of the command.
    """

    rate: float
    command_rate: float
    jitter: float
    gaps: int
    longest_gap: float
    delay: tuple[float | None, ...]
    velocity_noise: tuple[float, ...]
    noise_share: tuple[float, ...]
    saturation: tuple[float, ...]

    def as_data(self) -> dict[str, Any]:
        """JSON values."""
        return {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Quality:
        """The counterpart of ``as_data``."""
        values: dict[str, Any] = {name: tuple(value) if isinstance(value, list) else value for name, value in data.items()}
        return cls(**values)


def measure(
    times: Floats,
    position: Floats,
    velocity: Floats,
    effort: Floats | None,
    command_times: Floats,
    commands: Floats,
    spec: RobotSpec,
) -> Quality:
    """The quality of one uninterrupted recording.

    Args:
        times: [N] s, rising strictly.
        position, velocity: [N, J], positions unwrapped.
        effort: [N, J] as measured, nan where it was not; None where it never was.
        command_times: [M] s, on the same clock.
        commands: [M, A].
        spec: the robot; gives limits, interfaces and the control period.
    """
    steps, period = np.diff(times), spec.control.period
    median = float(np.median(steps)) if len(steps) else 0.0
    long = steps > max(_GAP * median, _GAP * period)
    noise = _noise(times, position, velocity)
    spread = np.maximum(velocity.std(axis=0), 1e-12)
    return Quality(
        rate=1.0 / median if median > 0 else 0.0,
        command_rate=_rate(command_times),
        jitter=float(np.quantile(np.abs(steps - median), 0.99)) if len(steps) else 0.0,
        gaps=int(long.sum()),
        longest_gap=float(steps.max(initial=0.0)),
        delay=_delays(times, position, velocity, effort, command_times, commands, spec),
        velocity_noise=tuple(noise.tolist()),
        noise_share=tuple(np.minimum(noise / spread, 1.0).tolist()),
        saturation=_saturation(command_times, commands, spec),
    )


def _rate(times: Floats) -> float:
    step = float(np.median(np.diff(times))) if len(times) > 1 else 0.0
    return 1.0 / step if step > 0 else 0.0


def _noise(times: Floats, position: Floats, velocity: Floats) -> Floats:
    """Deviation per joint of what is noise in ``velocity``: the smaller of two measures, each of which takes more for noise.

    Of white noise on a smooth signal the second difference has six times the variance; jerky motion, as of a fast servo, has one,
    too. Where Simpson's rule compares it with ``position`` motion counts little, but the noise of the positions does.
    """
    if len(velocity) < 3:
        return np.zeros(velocity.shape[1])
    white = np.asarray((np.diff(velocity, 2, axis=0) ** 2).mean(axis=0) / 6.0)
    mean = (velocity[:-2] + 4.0 * velocity[1:-1] + velocity[2:]) / 6.0
    apart = mean - (position[2:] - position[:-2]) / (times[2:] - times[:-2])[:, None]
    return np.asarray(np.sqrt(np.minimum(white, 2.0 * apart.var(axis=0))))


def _saturation(times: Floats, commands: Floats, spec: RobotSpec) -> tuple[float, ...]:
    lower, upper = spec.action_limits()
    middle, half = (upper + lower) / 2, (upper - lower) / 2
    held = np.append(np.diff(times), 0.0) if len(times) > 1 else np.ones(1)
    at = np.abs(commands - middle) >= _AT_LIMIT * half
    shares = (at * held[:, None]).sum(axis=0) / max(float(held.sum()), 1e-12)
    return tuple(float(share) for share in shares)


def _delays(
    times: Floats,
    position: Floats,
    velocity: Floats,
    effort: Floats | None,
    command_times: Floats,
    commands: Floats,
    spec: RobotSpec,
) -> tuple[float | None, ...]:
    """Lag of the largest cross-correlation of each action with the quantity that it commands, both as changes over a period.

    Where the effort was not measured, an effort's effect is the velocity's change; what position and velocity explain of either
    is taken out first (partial correlation), for gravity, friction and feedback would else be taken for an effect.
    """
    samples = min(len(times), _SAMPLES)
    step = float(np.median(np.diff(times[:samples]))) if samples > 1 else 0.0
    most = round(_LONGEST_DELAY / step) if step > 0 else 0
    if len(command_times) < 2 or not 0 < 4 * most < samples:
        return (None,) * int(commands.shape[1])
    grid = times[0] + step * np.arange(int((times[samples - 1] - times[0]) / step))
    q, v = interpolate(times, position, grid), interpolate(times, velocity, grid)
    # A thousandth of a step: rounding must not put a command behind the state with which it was given.
    held = commands[np.maximum(np.searchsorted(command_times, grid + 1e-3 * step, side="right") - 1, 0)]
    width = max(1, round(spec.control.period / step))
    explained = np.concatenate([np.sin(q), np.cos(q), v, np.tanh(v / _SLOW), np.ones((len(q), 1))], axis=1)
    found: list[float | None] = []
    for column, joint in enumerate(spec.actuated):
        index = spec.joint_names.index(joint.name)
        measured = {"position": position, "velocity": velocity, "effort": effort}[joint.interface]
        if measured is not None and np.isfinite(measured[:, index]).all():
            source = interpolate(times, measured[:, index : index + 1], grid)[:, 0]
            cause, effect = (part[width:] - part[:-width] for part in (held[:, column], source))
            known = np.ones((len(q), 1))
        else:
            total = np.append(0.0, np.cumsum(held[:, column]))
            cause, effect, known = total[width:-1] - total[: -width - 1], v[width:, index] - v[:-width, index], explained
        lag = _lag(cause, effect, known[: len(cause)], most)
        found.append(None if lag is None else lag * step)
    return tuple(found)


def _lag(cause: Floats, effect: Floats, known: Floats, most: int) -> float | None:
    """Samples by which ``effect`` [N] follows ``cause`` [N], at most ``most``, beyond what ``known`` [N, P] explains of either;
    None where no peak stands out."""
    basis = np.linalg.qr(known[most:])[0]
    shifted = np.lib.stride_tricks.sliding_window_view(cause, most + 1)[: len(basis), ::-1]
    causes, outcome = (part - basis @ (basis.T @ part) for part in (shifted, effect[most:]))
    scale = np.sqrt((causes**2).sum(axis=0) * (outcome**2).sum())
    # A command that is constant, or a joint that stands still, shows nothing.
    if not np.isfinite(scale).all() or scale.min() < 1e-9 * len(basis):
        return None
    correlation = causes.T @ outcome / scale
    peak = int(np.argmax(correlation))
    # At an edge no peak is seen: the command answers the state (feedback) more than the state the command.
    if correlation[peak] < _CLEAR or not 0 < peak < most:
        return None
    low, top, high = correlation[peak - 1 : peak + 2]
    return peak + 0.5 * float(low - high) / min(float(low - 2 * top + high), -1e-12)


def warnings(trials: Sequence[Trial], spec: RobotSpec) -> list[str]:
    """What of the trials' quality will limit a model, a sentence a kind, with how many trials it concerns and the worst of them.

    Trials that were read without their quality (``load_trials(..., quality=True)`` measures it) say nothing.
    """
    known = [(trial.source, Quality.from_data(trial.meta["quality"])) for trial in trials if "quality" in trial.meta]
    rate, period = spec.control.rate, spec.control.period
    history, names, actions = spec.control.history, spec.joint_names, spec.action_names
    kinds: list[tuple[str, float, bool, Callable[[Quality], float]]] = [
        (
            f"states come less often than the control rate of {rate:g} Hz, what lies between them is interpolated: {{:.3g}} Hz",
            0.9 * rate,
            True,
            lambda q: q.rate,
        ),
        (
            f"commands come less often than the control rate of {rate:g} Hz: {{:.3g}} Hz",
            0.9 * rate,
            True,
            lambda q: q.command_rate,
        ),
        ("states come unevenly, by up to {:.2g} control periods", 0.25, False, lambda q: q.jitter / period),
        ("states are missing: {:.0f} gaps", 0.5, False, lambda q: float(q.gaps)),
        (
            f"commands act {{:.2g}} control periods late, a model sees {history}: raise control.history of robot.yaml",
            history - 0.5,
            False,
            lambda q: max((delay for delay in q.delay if delay is not None), default=0.0) / period,
        ),
    ]
    told = [_worst(text, known, figure, limit, below) for text, limit, below, figure in kinds]
    for i, name in enumerate(names):
        text = f"the velocity of {name} is noise to {{:.0%}} of its standard deviation: derive it from positions, or filter it"
        told.append(_worst(text, known, lambda q, i=i: q.noise_share[i], 0.15, False))  # type: ignore[misc]
    for i, name in enumerate(actions):
        text = f"the command of {name} is at its limit for {{:.0%}} of the time: what it does in between is hardly seen"
        told.append(_worst(text, known, lambda q, i=i: q.saturation[i], 0.3, False))  # type: ignore[misc]
    return [text for text in told if text]


def _worst(text: str, known: Sequence[tuple[str, Quality]], figure: Callable[[Quality], float], limit: float, below: bool) -> str:
    """``text`` with the worst figure, how many are beyond the ``limit`` and where the worst is; empty where none is."""
    figures = [(figure(quality), source) for source, quality in known]
    wrong = sorted((value, source) for value, source in figures if (value < limit if below else value > limit))
    if not wrong:
        return ""
    value, source = wrong[0] if below else wrong[-1]
    return f"{text.format(value)} ({len(wrong)} of {len(known)} trials; worst in {source})"
