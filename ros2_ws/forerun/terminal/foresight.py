"""How far plans were from what came: what they expected some steps ahead, beside what was measured since."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from forerun.terminal.heard import Floats, Heard

STEPS = 5
"""As the controller compares bundles (``control.live_error``)."""
_STILL = 1e-9


@dataclass(frozen=True)
class Error:
    """Root mean squares over joints and over ``plans`` plans, ``steps`` steps ahead.

    Attributes:
        position, velocity: [rad or m], [rad/s or m/s].
        share: of what the state changed meanwhile, each joint weighed alike; above 1, "nothing moves" is the better guess.
    """

    steps: int
    position: float
    velocity: float
    share: float
    plans: int


def prediction_error(heard: Heard) -> Error | None:
    """Of the plans of the last seconds whose time has come; None where there are none."""
    if len(heard.rows) < 2:
        return None
    stamps = np.array([stamp for stamp, _ in heard.rows])
    measured = np.stack([row for _, row in heard.rows])
    wrong, moved, steps = [], [], 0
    for forecast in heard.forecasts:
        step = min(STEPS, len(forecast.times))
        end = forecast.times[step - 1]
        if not set(forecast.joints) <= set(heard.joints) or forecast.begin < stamps[0] or end > stamps[-1]:
            continue
        columns = [heard.joints.index(name) for name in forecast.joints]
        columns += [len(heard.joints) + column for column in columns]
        then = _at(end, stamps, measured[:, columns])
        wrong.append(forecast.states[step - 1] - then)
        moved.append(then - _at(forecast.begin, stamps, measured[:, columns]))
        steps = step
    if not wrong:
        return None
    errors, changes = (np.sqrt(np.mean(np.square(rows), axis=0)) for rows in (wrong, moved))
    moving = changes > _STILL
    share = float(np.sqrt(np.mean(np.square(errors[moving] / changes[moving])))) if moving.any() else math.nan
    position, velocity = (float(np.sqrt(np.mean(np.square(part)))) for part in np.split(errors, 2))
    return Error(steps, position, velocity, share, len(wrong))


def _at(time: float, stamps: Floats, rows: Floats) -> Floats:
    """The row at ``time``, interpolated."""
    return np.array([np.interp(time, stamps, column) for column in rows.T])
