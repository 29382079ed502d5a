"""Deadlines, clocks and phase: what paces the loop."""

from __future__ import annotations

import gc
import threading
import time

import pytest

from forerun.control.loop import Loop
from forerun.control.pacers import ClockPacer, MonotonicPacer, StepPacer
from forerun.control.phase import PhaseLock
from forerun.control.statistics import TickStatistics


def _run(pacer: MonotonicPacer | ClockPacer | StepPacer, count: int, work: float = 0.0) -> list[float]:
    times: list[float] = []
    done = threading.Event()

    def tick(now: float) -> None:
        times.append(now)
        if work and len(times) == 2:
            time.sleep(work)
        if len(times) >= count:
            done.set()

    loop = Loop(pacer, tick, lambda error: done.set())
    loop.start()
    assert done.wait(20.0)
    assert loop.stop()
    return times


def test_deadlines_do_not_drift() -> None:
    pacer = MonotonicPacer(0.01)
    times = _run(pacer, 60)
    elapsed = times[-1] - times[0]
    assert elapsed >= (59 + pacer.missed) * 0.01 - 0.02


def test_ticks_that_were_missed_are_skipped_and_counted() -> None:
    pacer = MonotonicPacer(0.01)
    _run(pacer, 10, work=0.2)
    assert pacer.missed >= 18


def test_garbage_is_not_collected_within_the_loop() -> None:
    seen: list[bool] = []
    done = threading.Event()

    def tick(now: float) -> None:
        seen.append(gc.isenabled())
        done.set()

    loop = Loop(MonotonicPacer(0.01), tick, lambda error: None)
    loop.start()
    assert done.wait(20.0) and loop.stop()
    assert not any(seen) and gc.isenabled()


def test_error_in_a_tick_ends_the_loop_and_is_reported() -> None:
    errors: list[Exception] = []
    done = threading.Event()

    def failed(error: Exception) -> None:
        errors.append(error)
        done.set()

    loop = Loop(MonotonicPacer(0.01), lambda now: 1 / 0 and None, failed)
    loop.start()
    assert done.wait(20.0) and loop.stop()
    assert isinstance(errors[0], ZeroDivisionError)


def test_simulated_clock_paces_the_ticks() -> None:
    pacer = ClockPacer(0.02)
    pacer.start()
    ticks = []
    for step in range(101):
        pacer.set(5.0 + step * 0.01)
        if step % 2 == 0 and (now := pacer.wait()) is not None:
            ticks.append(now)
    assert ticks == pytest.approx([5.0 + 0.02 * i for i in range(1, 51)])
    assert pacer.missed == 0


def test_simulated_clock_that_jumps_ahead_counts_what_was_missed() -> None:
    pacer = ClockPacer(0.02)
    pacer.set(1.0)
    assert pacer.wait() is None
    pacer.set(1.1)
    assert pacer.wait() == pytest.approx(1.1) and pacer.missed == 4


def test_simulated_clock_that_goes_back_starts_anew() -> None:
    pacer = ClockPacer(0.02)
    pacer.set(100.0)
    assert pacer.wait() is None
    pacer.set(1.0)
    assert pacer.wait() is None
    pacer.set(1.02)
    assert pacer.wait() == pytest.approx(1.02)


def test_lockstep_ticks_once_per_state() -> None:
    pacer = StepPacer()
    for i in range(5):
        pacer.push(float(i))
    assert _run(pacer, 5) == [0.0, 1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("offset", [0.0, 0.004, 0.009, 0.013, 0.0199])
def test_ticks_move_to_just_after_the_states(offset: float) -> None:
    period, lock = 0.02, PhaseLock(0.02, margin=0.002)
    tick = 100.0
    shifts = []
    for step in range(1000):
        lock.arrived(99.98 + offset + period * (step - 1))
        while tick < 99.98 + offset + period * step:
            shift = lock.correction(tick)
            shifts.append(abs(shift))
            tick += period + shift
    assert (tick - 99.98 - offset) % period == pytest.approx(0.002, abs=2e-4)
    assert max(shifts) <= 0.01 * period


def test_fast_states_leave_the_ticks_alone() -> None:
    lock = PhaseLock(0.02)
    for i in range(50):
        lock.arrived(i * 0.002)
    assert lock.correction(0.1) == 0.0 and lock.first(0.1) is None


def test_statistics_keep_the_newest_ticks() -> None:
    statistics = TickStatistics(capacity=4)
    for i in range(6):
        statistics.add(i * 10_000_000 + (5_000_000 if i == 5 else 0), 0.001 * i, float("nan") if i == 4 else 0.002)
    assert statistics.periods() == pytest.approx([0.01, 0.01, 0.015])
    assert statistics.compute() == pytest.approx([0.002, 0.003, 0.004, 0.005])
    assert len(statistics.latency()) == 3
    assert statistics.summary()["period_ms"]["max"] == pytest.approx(15.0)
