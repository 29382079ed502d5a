"""Velocities from positions, for logs that hold none."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def derive(times: Floats, positions: Floats, period: float) -> Floats:
    """Velocity as the slope of a parabola fitted to the samples around each one (Savitzky and Golay, for uneven steps).

    The window reaches about one control period to either side and holds at least five samples: it smooths without lag, so the
    velocity belongs to the instant of its position. At the ends the window is one-sided.

    Args:
        times: [N] s, rising strictly.
        positions: [N, J] unwrapped.
        period: control period [s].

    Returns:
        [N, J]; zeros where N is 1.
    """
    count = len(times)
    if count == 1:
        return np.zeros_like(positions)
    width = min(max(5, 2 * math.ceil(period / float(np.median(np.diff(times)))) + 1), count)
    first = np.clip(np.arange(count) - width // 2, 0, count - width)
    window = first[:, None] + np.arange(width)
    offset = times[window] - times[:, None]
    scale = np.abs(offset).max(axis=1)
    design = (offset / scale[:, None])[..., None] ** np.arange(min(3, count))
    slope = np.linalg.pinv(design)[:, 1, :] / scale[:, None]
    return np.asarray(np.einsum("nw,nwj->nj", slope, positions[window]))
