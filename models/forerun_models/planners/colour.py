"""Noise whose spectrum falls as 1 / f^colour, as a fixed linear map of white noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def colouring(horizon: int, colour: float) -> NDArray[np.float32]:
    """Matrix C [H, H] such that C z is coloured over time with unit variance at every step, for white z [H].

    The covariance is that of a stationary process of twice the length, so that the end of a plan is not tied to its start (as
    it would be in noise made by one inverse FFT of length H).
    """
    length = 2 * horizon
    frequency = np.fft.rfftfreq(length)
    frequency[0] = frequency[1]
    covariance = np.fft.irfft(frequency**-colour, n=length)[:horizon]
    covariance /= covariance[0]
    lag = np.abs(np.subtract.outer(np.arange(horizon), np.arange(horizon)))
    factor = np.linalg.cholesky(covariance[lag] + 1e-6 * np.eye(horizon))
    unit: NDArray[np.float32] = (factor / np.linalg.norm(factor, axis=1, keepdims=True)).astype(np.float32)
    return unit
