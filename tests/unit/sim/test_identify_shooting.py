"""Starts that are unknown too: what is left of a linear problem is what solving it whole says; slopes are exact at range ends."""

from __future__ import annotations

import numpy as np
import pytest

from forerun_sim.identify.information import step_to_fit
from forerun_sim.identify.objective import differences, slope
from forerun_sim.identify.segments import cut, smoothed
from forerun_sim.identify.shooting import Starts
from forerun_sim.trial import Trial


def test_eliminated_starts_leave_what_solving_for_all_at_once_finds() -> None:
    rng = np.random.default_rng(0)
    segments, steps, states, parameters = 5, 6, 2, 3
    residuals = rng.standard_normal((segments, steps, states))
    slopes = rng.standard_normal((segments, steps, states, parameters))
    by_start = rng.standard_normal((segments, steps, states, states))
    likely, starts = rng.standard_normal((2, segments, states))
    known = Starts(likely, np.array([0.5, 2.0]), 0.7)
    around = known.eliminated(np.zeros(parameters), starts, residuals, by_start, slopes)
    # All at once: parameters, then the starts of each segment; its errors, then those of its start.
    size = steps * states
    matrix = np.zeros((segments * (size + states), parameters + segments * states))
    right = np.zeros(len(matrix))
    for number in range(segments):
        rows = slice(number * (size + states), number * (size + states) + size)
        tied = slice(rows.stop, rows.stop + states)
        columns = slice(parameters + number * states, parameters + (number + 1) * states)
        matrix[rows, :parameters] = slopes[number].reshape(size, -1)
        matrix[rows, columns] = by_start[number].reshape(size, -1)
        matrix[tied, columns] = np.diag(known.pull)
        right[rows], right[tied] = residuals[number].ravel(), known.pull * (starts - likely)[number]
    whole = -np.linalg.lstsq(matrix, right, rcond=None)[0]
    flat = around.slopes.reshape(-1, parameters)
    step = -np.linalg.lstsq(flat, around.residuals.ravel(), rcond=None)[0]
    np.testing.assert_allclose(step, whole[:parameters])
    np.testing.assert_allclose(around.starts_at(step), starts + whole[parameters:].reshape(segments, states))


def test_what_would_leave_its_range_stays_at_its_end_and_the_others_make_the_best_of_it() -> None:
    rng = np.random.default_rng(1)
    slopes, wanted = rng.standard_normal((30, 4, 3)), np.array([0.5, -2.0, 0.1])
    residuals = 0.1 * -(slopes @ wanted)
    room = (np.full(3, -0.1), np.full(3, 0.1))
    step = step_to_fit(slopes, residuals, 0.0, room)
    assert step[1] == pytest.approx(-0.1)
    free = -np.linalg.lstsq(slopes[..., [0, 2]].reshape(-1, 2), (residuals + slopes[..., 1] * step[1]).ravel(), rcond=None)[0]
    np.testing.assert_allclose(step[[0, 2]], free, rtol=0.05)


def test_exact_slopes_are_those_of_parabolas_also_at_the_end_of_a_range() -> None:
    for at in (-1.0, 0.3, 1.0):
        for exact in (False, True):
            steps = differences(at, exact)
            assert all(-1.0 <= at + step <= 1.0 for step in steps)
            beside = np.array([(at + step) ** 2 for step in steps])
            assert slope(np.array(at**2), beside, steps) == pytest.approx(2 * at, abs=1e-9 if exact else 0.02)


def test_starts_are_smoothed_and_know_how_well() -> None:
    rng = np.random.default_rng(2)
    times = np.arange(300) * 0.02
    clean = np.stack([np.sin(2 * times), 2 * np.cos(2 * times)], axis=1)
    noisy = clean.copy()
    noisy[:, 0] += 0.001 * rng.standard_normal(300)
    noisy[:, 1] += 0.1 * rng.standard_normal(300)
    segments = cut([Trial(noisy.astype(np.float32), np.zeros((300, 1), np.float32), 0.02, "a")], 10, 100)
    truth = cut([Trial(clean.astype(np.float32), np.zeros((300, 1), np.float32), 0.02, "a")], 10, 100).before[:, -1]
    starts, deviation = smoothed(segments, 0.02)
    off = np.sqrt(((starts - truth) ** 2).mean(axis=0))
    assert off[1] < 0.4 * 0.1
    assert (off < deviation).all()
    assert (off > 0.2 * deviation).all()
