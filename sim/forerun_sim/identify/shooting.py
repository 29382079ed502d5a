"""Multiple shooting (Bock 1987): the states in which segments begin are unknown too, and leave the problem before it is solved.

Near some coordinates x and starts s the errors of a segment are r + J dx + K ds. What was measured around a start says where it
is, within some deviation, and counts as further errors of the segment. For any dx the best ds is -(shift + gain dx): put in, it
leaves r' + J' dx, in which the parameters are asked for nothing that another start explains as well.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_FARTHEST = 5.0
"""Deviations of a measured start beyond which none is sought."""


@dataclass(frozen=True)
class Around:
    """Errors near ``coordinates`` [P] as a linear function of them, the starts eliminated.

    Attributes:
        coordinates: [P].
        residuals: [N, M] there, M = K S + S: those of the predictions, then those of the starts.
        slopes: [N, M, P].
        starts: [N, S], the best ones there.
        gain: [N, S, P], how they move with the coordinates (less is more: starts - gain dx).
    """

    coordinates: Array
    residuals: Array
    slopes: Array
    starts: Array
    gain: Array

    def starts_at(self, coordinates: Array) -> Array:
        """The best starts [N, S] at other ``coordinates`` [P] nearby."""
        return np.asarray(self.starts - self.gain @ (coordinates - self.coordinates))


@dataclass(frozen=True)
class Starts:
    """What is known of the starts of segments beforehand: ``likely`` [N, S] within ``deviation`` [S], both SI; ``spread`` is that
    of the predictions' errors, against which this knowledge is weighed."""

    likely: Array
    deviation: Array
    spread: float

    @property
    def pull(self) -> Array:
        """Errors [S] that count for each unit by which a start is off."""
        return np.asarray(self.spread / self.deviation)

    def errors(self, starts: Array) -> Array:
        """What ``starts`` [..., N, S] count as errors."""
        return np.asarray(self.pull * (starts - self.likely))

    def within(self, starts: Array) -> Array:
        """``starts`` [N, S], none farther than is sensible."""
        reach = _FARTHEST * self.deviation
        return np.asarray(np.clip(starts, self.likely - reach, self.likely + reach))

    def better(self, starts: Array, residuals: Array, slopes: Array) -> Array:
        """The best starts [N, S], given residuals [N, K, S] from ``starts`` and their ``slopes`` [N, K, S, S] by starts."""
        return self.within(starts - self._solved(starts, residuals, slopes))

    def _solved(self, starts: Array, residuals: Array, slopes: Array) -> Array:
        flat, by_start = residuals.reshape(len(starts), -1), slopes.reshape(len(starts), -1, starts.shape[1])
        weight = self.pull**2
        square = by_start.transpose(0, 2, 1) @ by_start + np.diag(weight)
        slope = np.einsum("nms,nm->ns", by_start, flat) + weight * (starts - self.likely)
        return np.asarray(np.linalg.solve(square, slope[..., None])[..., 0])

    def eliminated(self, coordinates: Array, starts: Array, residuals: Array, by_start: Array, slopes: Array) -> Around:
        """The errors near ``coordinates`` [P], given residuals [N, K, S] from ``starts`` [N, S], and their slopes by starts
        [N, K, S, S] and by coordinates [N, K, S, P]."""
        count, size = starts.shape
        flat, by_start = residuals.reshape(count, -1), by_start.reshape(count, -1, size)
        slopes = slopes.reshape(count, -1, slopes.shape[-1])
        square = by_start.transpose(0, 2, 1) @ by_start + np.diag(self.pull**2)
        gain = np.asarray(np.linalg.solve(square, by_start.transpose(0, 2, 1) @ slopes), dtype=np.float64)
        shift = self._solved(starts, residuals, by_start)
        moved = starts - shift
        left = np.concatenate([flat - np.einsum("nms,ns->nm", by_start, shift), self.errors(moved)], axis=1)
        tied = np.concatenate([slopes - by_start @ gain, -self.pull[:, None] * gain], axis=1)
        return Around(coordinates, left, tied, moved, gain)
