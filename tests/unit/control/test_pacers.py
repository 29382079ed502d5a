"""When a tick begins that follows the states; what the system may refuse."""

from __future__ import annotations

import os
import threading
import time

import pytest

from forerun.control.loop import Loop
from forerun.control.pacers import Arrivals, StatePacer
from forerun.control.rights import Rights, set_affinity

PERIOD = 0.02


def ticks(arrivals: list[float], until: float) -> list[tuple[float, bool]]:
    """Times of the ticks, and whether a state began them."""
    gate, found, now = Arrivals(PERIOD), [], 0.0
    gate.start(0.0)
    for arrival in [*arrivals, until]:
        while gate.patience <= arrival:
            now = gate.patience
            gate.silent(now)
            found.append((now, False))
        if arrival < until and gate.arrived(arrival):
            found.append((arrival, True))
    return found


def every(period: float, count: int, jitter: float = 0.0) -> list[float]:
    return [0.001 + i * period + (jitter if i % 3 == 1 else 0.0) for i in range(count)]


@pytest.mark.parametrize("jitter", [0.0, 0.004, -0.004])
def test_every_state_at_the_control_rate_gets_a_tick(jitter: float) -> None:
    arrivals = every(PERIOD, 200, jitter)
    assert ticks(arrivals, 4.0) == [(arrival, True) for arrival in arrivals]


@pytest.mark.parametrize("factor", [0.98, 1.02])
def test_robot_whose_clock_differs_is_followed(factor: float) -> None:
    arrivals = every(PERIOD * factor, 200)
    assert ticks(arrivals, arrivals[-1] + 0.001) == [(arrival, True) for arrival in arrivals]


@pytest.mark.parametrize("times", [2, 3, 10])
def test_states_at_a_multiple_of_the_rate_do_not_tick_more_often(times: int) -> None:
    found = ticks(every(PERIOD / times, 200 * times), 4.0)
    assert len(found) == pytest.approx(200, abs=1) and all(by_state for _, by_state in found)


def test_ticks_go_on_when_states_stay_away_and_follow_them_again() -> None:
    arrivals = [*every(PERIOD, 10), *(1.0 + arrival for arrival in every(PERIOD, 10))]
    found = ticks(arrivals, 1.2)
    alone = [now for now, by_state in found if not by_state]
    assert len(alone) == pytest.approx(40, abs=2)
    assert max(after - before for before, after in zip([0.0, *alone], alone, strict=False)) < 0.25
    assert [by_state for _, by_state in found[-8:]] == [True] * 8


def test_state_begins_a_tick_at_once_and_silence_begins_one_later() -> None:
    pacer = StatePacer(0.05)
    seen: list[float] = []
    loop = Loop(pacer, seen.append, lambda error: None)
    loop.start()
    while not seen:
        pacer.push(time.monotonic())
        time.sleep(0.01)
    count = len(seen)
    deadline = time.monotonic() + 10
    while len(seen) < count + 3 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert loop.stop() and len(seen) >= count + 3


def test_core_that_is_not_there_is_refused_by_name() -> None:
    refused: list[str] = []

    def ask() -> None:
        refused.extend(Rights(cores=(4000,)).claim(0))
        refused.append(set_affinity(0, sorted(os.sched_getaffinity(0))[:1]))

    thread = threading.Thread(target=ask)
    thread.start()
    thread.join()
    assert refused[0].startswith("cpu_affinity: core 4000 is not this process's to use; give some of: 0")
    assert refused[1] == ""
