"""The control grid: what a model reads is the same from a bag and from the live stream."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from forerun.grid import LiveGrid, grid_times, interpolate, mean_held, resample, unwrap

Floats = NDArray[np.float64]

steps = st.lists(st.floats(0.001, 0.03), min_size=2, max_size=60)
seeds = st.integers(0, 2**32 - 1)


def rising(gaps: list[float], start: float = 0.0) -> Floats:
    return start + np.concatenate([[0.0], np.cumsum(gaps)])


@given(steps, seeds)
def test_interpolation_is_that_of_numpy(gaps: list[float], seed: int) -> None:
    rng = np.random.default_rng(seed)
    times = rising(gaps)
    values = rng.normal(size=(len(times), 3))
    at = rng.uniform(-0.1, times[-1] + 0.1, 50)
    expected = np.stack([np.interp(at, times, column) for column in values.T], axis=1)
    np.testing.assert_allclose(interpolate(times, values, at), expected, atol=1e-12)


@given(steps, seeds, st.floats(0.002, 0.05))
def test_action_is_the_exact_mean_of_the_held_command(gaps: list[float], seed: int, period: float) -> None:
    rng = np.random.default_rng(seed)
    times = rising(gaps)
    values = rng.normal(size=(len(times), 2))
    begin = np.sort(rng.uniform(0, times[-1], 20))
    means = mean_held(times, values, begin, begin + period)
    for mean, left in zip(means, begin, strict=True):
        # Cut the interval where the command changes: between two cuts it is one value.
        inside = times[(times > left) & (times < left + period)]
        cuts = np.concatenate([[left], inside, [left + period]])
        held = values[np.searchsorted(times, cuts[:-1], side="right") - 1]
        np.testing.assert_allclose(mean, (held * np.diff(cuts)[:, None]).sum(axis=0) / period, atol=1e-9)


def test_a_command_given_between_two_steps_counts_for_the_time_that_it_was_held() -> None:
    times, commands = np.array([0.0, 0.013]), np.array([[1.0], [5.0]])
    states = np.zeros((5, 2))
    _, _, actions = resample(np.arange(5) * 0.01, states, times, commands, 0.01)
    np.testing.assert_allclose(actions[:, 0], [1.0, 0.3 * 1 + 0.7 * 5, 5.0, 5.0, 5.0])


def test_a_constant_command_stays_what_it_is_to_the_last_bit() -> None:
    times = np.arange(200_001) * 1e-3
    values = np.full((len(times), 1), 0.1)
    means = mean_held(times[:2], values[:2], np.array([123.456]), np.array([123.466]))
    assert means[0, 0] == 0.1


def test_grid_starts_at_the_first_state_at_which_a_command_is_known() -> None:
    times = np.arange(10) * 0.01
    rows, states, actions = resample(times, times[:, None], np.array([0.034]), np.array([[2.0]]), 0.01)
    np.testing.assert_allclose(rows, times[4:])
    np.testing.assert_allclose(states[:, 0], times[4:])
    assert (actions == 2.0).all()


def test_no_command_before_the_last_state_gives_no_row() -> None:
    rows, states, actions = resample(np.array([0.0, 0.01]), np.zeros((2, 4)), np.array([0.5]), np.zeros((1, 3)), 0.01)
    assert rows.shape == (0,) and states.shape == (0, 4) and actions.shape == (0, 3)


@given(st.floats(0, 2e9), st.integers(1, 5000), st.sampled_from([0.001, 0.005, 0.01, 0.02, 1 / 30, 0.1]))
def test_a_grid_over_whole_periods_has_a_row_for_each(begin: float, count: int, period: float) -> None:
    begin = math.floor(begin * 1e3) / 1e3
    assert len(grid_times(0.0, count * period, period)) == count + 1


def test_wrapped_joint_turns_on_and_revolute_joint_is_left_alone() -> None:
    angle = np.linspace(0, 25, 400)
    wrapped = (angle + np.pi) % (2 * np.pi) - np.pi
    both = unwrap(np.stack([wrapped, wrapped], axis=1), np.array([True, False]))
    np.testing.assert_allclose(both[:, 0], angle, atol=1e-9)
    np.testing.assert_array_equal(both[:, 1], wrapped)


@st.composite
def recordings(draw: st.DrawFn) -> tuple[Floats, Floats, Floats, Floats, float]:
    """States at least as often as the grid, commands at any rate, both with jitter, on a clock that starts anywhere.

    All times are whole multiples of 2^-20 s, exact in floating point even in 2026.
    """
    rng = np.random.default_rng(draw(seeds))
    period = draw(st.sampled_from([2.0**-8, 2.0**-7, 2.0**-6, 2.0**-4]))
    start = draw(st.sampled_from([0.0, 12.5, 1.7e9]))
    state_step = period * draw(st.floats(0.1, 0.95))
    command_step = period * draw(st.floats(0.3, 4.0))
    count = draw(st.integers(40, 120))
    state_times = start + np.cumsum(state_step * rng.uniform(0.5, 1.05, count))
    command_times = state_times[0] + np.cumsum(command_step * rng.uniform(0.3, 1.2, 60)) - command_step * draw(st.floats(0, 1))
    state_times, command_times = (np.unique(np.floor(times * 2**20)) / 2**20 for times in (state_times, command_times))
    count = len(state_times)
    states = rng.normal(size=(count, 4))
    states[:, :2] = np.cumsum(states[:, :2], axis=0)
    return state_times, states, command_times, rng.normal(size=(len(command_times), 2)), period


@given(recordings(), st.integers(1, 16))
def test_live_history_equals_the_offline_grid_in_every_row_but_the_newest(
    recording: tuple[Floats, Floats, Floats, Floats, float], history: int
) -> None:
    state_times, states, command_times, commands, period = recording
    wrapped = states.copy()
    wrapped[:, 1] = (wrapped[:, 1] + np.pi) % (2 * np.pi) - np.pi
    joints = np.array([False, True])
    origin = state_times[0]
    continuous = np.concatenate([unwrap(wrapped[:, :2], joints), states[:, 2:]], axis=1)
    rows, offline_states, actions = resample(state_times - origin, continuous, command_times - origin, commands, period)
    if not len(rows):
        return
    offline = np.concatenate([offline_states, actions], axis=1).astype(np.float32)
    live = LiveGrid(period, history, 2, 2, continuous=joints)
    events = sorted([(t, 0, i) for i, t in enumerate(state_times)] + [(t, 1, i) for i, t in enumerate(command_times)])
    for n, now in enumerate(rows + origin):
        while events and events[0][0] <= now:
            time, kind, i = events.pop(0)
            assert live.add_command(time, commands[i]) if kind else live.add_state(time, wrapped[i, :2], states[i, 2:])
        got = live.history(now)
        assert got.shape == (history, 6)
        grid_row = np.maximum(np.arange(n - history + 1, n + 1), 0)
        complete = grid_row < n  # the newest row is a state held and a command under way
        np.testing.assert_allclose(got[complete], offline[grid_row[complete]], rtol=2e-6, atol=2e-6)


def test_newest_row_is_the_newest_state_held_and_the_command_under_way() -> None:
    live = LiveGrid(0.01, 3, 1, 1)
    for i in range(5):
        live.add_state(i * 0.01, [float(i)], [10.0 * i])
        live.add_command(i * 0.01 + 0.004, [-float(i)])
    np.testing.assert_allclose(live.history(0.049)[-1], [4.0, 40.0, -4.0])


def test_rows_before_the_start_repeat_the_first() -> None:
    live = LiveGrid(0.01, 4, 1, 1)
    live.add_command(5.0, [3.0])
    live.add_state(5.0, [1.0], [2.0])
    np.testing.assert_allclose(live.history(5.0), [[1.0, 2.0, 3.0]] * 4)
    live.add_state(5.01, [2.0], [2.0])
    np.testing.assert_allclose(live.history(5.01), [[1.0, 2.0, 3.0]] * 3 + [[2.0, 2.0, 3.0]])


def test_before_the_first_command_the_idle_command_stands() -> None:
    live = LiveGrid(0.01, 2, 1, 1, idle_command=[0.7])
    live.add_state(0.0, [1.0], [2.0])
    np.testing.assert_allclose(live.history(0.005), [[1.0, 2.0, 0.7]] * 2)


def test_a_late_state_is_not_taken_and_one_of_the_same_time_replaces() -> None:
    live = LiveGrid(0.01, 1, 1, 1)
    assert live.add_state(1.0, [1.0], [0.0])
    assert not live.add_state(0.9, [9.0], [0.0])
    assert live.add_state(1.0, [2.0], [0.0])
    assert live.history(1.0)[0, 0] == 2.0
    assert live.newest == 1.0


def test_memory_is_bounded_and_clear_forgets() -> None:
    live = LiveGrid(0.01, 4, 2, 1, max_rate=1000)
    sizes = set()
    for i in range(5000):
        live.add_state(i * 0.001, [i, i], [0, 0])
        live.add_command(i * 0.001, [i])
        sizes.add(len(live._states))
    assert max(sizes) <= 60
    np.testing.assert_allclose(live.history(4.999)[:, 0], [4969, 4979, 4989, 4999], atol=1e-3)
    live.clear()
    assert not live.ready
    with pytest.raises(ValueError, match="no state"):
        live.history(5.0)
