"""`forerun watch` without ROS: what was heard becomes a picture, and a picture text."""

from __future__ import annotations

import json
import math
from dataclasses import asdict

import pytest
from rich.console import Console

from forerun.plain import plain
from forerun.terminal.foresight import prediction_error
from forerun.terminal.heard import Heard
from forerun.terminal.screen import screen
from forerun.terminal.view import Surroundings, Topic, View, view

AROUND = Surroundings(
    "7", "LOCALHOST", Topic("/joint_states", ("/driver",)), Topic("/commands", ("/controller",)), nodes=("/driver",)
)
NOW = 100.0


def controller(heard: Heard, name: str = "controller", at: float = NOW, control: str = "running") -> None:
    values = {"emergency stop": "False", "dry run": "True", "safety.scale": "0.2", "ticks plan": "500", "ticks safe": "3"}
    stop = {"reason of the last stop": "the newest state is 0.12 s old", "time of the last stop": "2026-01-01T00:00:00"}
    heard.status(f"{name}: control", 0, control, values | stop, at)
    timing = {
        "topic": "/commands",
        "rate [Hz]": "49.9",
        "rate, nominal [Hz]": "50",
        "missed ticks": "2",
        "period p50 [ms]": "20.01",
    }
    heard.status(f"{name}: timing", 1, "2 deadlines were missed in the last 5 s", timing, at)
    heard.status(f"{name}: states", 0, "states arrive", {"age of the state [s]": "0.004"}, at)
    bundle = {"bundle": "0123456789abcdef", "candidate": "fedcba: 12 of 100", "swaps": "1", "disagreement": "0.02"}
    heard.status(f"{name}: bundle", 0, "mpc agent", bundle, at)


def streams(heard: Heard, rate: float = 50.0, seconds: float = 2.0) -> None:
    for step in range(round(seconds * rate), -1, -1):
        time = NOW - step / rate
        heard.state(["a"], [math.sin(time)], [math.cos(time)], time, time)
        heard.commands.add(time)


def text_of(found: View) -> str:
    console = Console(width=200, force_terminal=False)
    with console.capture() as captured:
        console.print(screen(found))
    return captured.get()


def test_rates_bundle_limits_misses_and_the_last_stop_are_shown() -> None:
    heard = Heard()
    controller(heard)
    streams(heard)
    heard.announced = '{"uri": "bundles/second"}'
    found = view(heard, AROUND, NOW)
    assert found.controller is not None and found.missing == ()
    assert found.controller.value("control", "safety.scale") == 0.2 and found.controller.value("control", "dry run") is True
    assert found.states.rate == pytest.approx(50.0) and found.states.p99 == pytest.approx(20.0)
    shown = text_of(found)
    for words in (
        "running",
        "0123456789ab",
        "fedcba: 12 of 100",
        "states 50.0 Hz",
        "49.9 of 50 Hz",
        "p50 20.01",
        "2 ticks",
        "plan 500",
    ):
        assert words in shown
    for words in ("scale 0.2", "dry run", "the newest state is 0.12 s old", "disagreement 0.02", "0.004 s old", "bundles/second"):
        assert words in shown
    json.dumps(plain(asdict(found)), allow_nan=False)


def test_any_node_that_reports_is_shown_with_all_that_it_says() -> None:
    heard = Heard()
    controller(heard)
    heard.status("trainer: training", 0, "training 3 of 40", {"trials": "12", "verdict": "better [by far]"}, NOW)
    heard.status("motor 3", 2, "too hot", {}, NOW - 9)
    shown = text_of(view(heard, AROUND, NOW))
    for words in (
        "trainer: training",
        "training 3 of 40",
        "trials: 12",
        "better [by far]",
        "motor 3",
        "too hot",
        "silent for 9 s",
    ):
        assert words in shown


def test_the_error_of_plans_whose_time_has_come_is_told() -> None:
    heard = Heard()
    streams(heard)
    for begin in (NOW - 1.0, NOW - 0.5, NOW - 0.01):
        times = [begin + 0.02 * (step + 1) for step in range(8)]
        heard.forecast(["a"], begin, times, [[math.sin(time) + 0.01, math.cos(time) - 0.2] for time in times])
    error = prediction_error(heard)
    assert error is not None and (error.steps, error.plans) == (5, 2), "of the third the time has not come"
    assert (error.position, error.velocity) == pytest.approx((0.01, 0.2), rel=1e-3)
    assert "5 steps ahead off by 0.01 rad (m), 0.2 rad/s" in text_of(view(both(heard), AROUND, NOW))


def both(heard: Heard) -> Heard:
    controller(heard)
    return heard


def test_plans_that_cannot_be_compared_are_left_out() -> None:
    heard = Heard()
    streams(heard)
    heard.forecast(["other"], NOW - 1.0, [NOW - 0.9], [[0.0, 0.0]])
    heard.forecast(["a"], NOW - 1.0, [NOW - 0.9], [[0.0]])
    heard.forecast(["a"], NOW - 1.0, [], [])
    assert prediction_error(heard) is None
    heard.state(["a"], [0.0], [], NOW, NOW)
    heard.state(["a", "b"], [0.0, 0.0], [0.0, 0.0], NOW - 50, NOW)
    assert len(heard.rows) == 1, "other joints, or a clock that was set back, begin anew"


def test_who_is_missing_is_said_with_what_to_do() -> None:
    alone = Surroundings("7", "LOCALHOST", Topic("/joint_states"), Topic("/commands"))
    (said,) = view(Heard(), alone, NOW).missing
    assert "nothing is heard" in said and "ROS_DOMAIN_ID 7" in said and "discovery LOCALHOST" in said and "forerun doctor" in said
    said = " ".join(view(Heard(), AROUND, NOW).missing)
    assert "no controller reports on /diagnostics" in said and "/driver" in said
    heard = Heard()
    controller(heard, at=NOW - 10)
    said = " ".join(view(heard, AROUND, NOW).missing)
    assert "controller has been silent for 10 s" in said and "nothing comes on /joint_states: /driver publishes it" in said


def test_a_namespace_shows_its_own_nodes_and_the_root_names_the_others() -> None:
    heard = Heard()
    controller(heard, "one/controller")
    controller(heard, "two/controller", control="inactive")
    around = Surroundings("0", "SUBNET", Topic("/two/joint_states"), Topic("/two/commands"), "/two", elsewhere=("/one",))
    found = view(heard, around, NOW)
    assert found.controller is not None and found.controller.name == "two/controller" and found.others == ()
    assert "--namespace /one" in " ".join(found.missing)
    assert "commands" not in " ".join(found.missing), "a controller that stands says so itself"


def test_memory_is_bounded_and_the_streams_are_those_of_the_last_seconds() -> None:
    heard = Heard()
    for step in range(30_000):
        heard.state(["a"], [0.0], [0.0], step / 500, step / 500)
    assert len(heard.rows) <= 2502
    measured = heard.states.measured(30_000 / 500)
    assert measured.rate == pytest.approx(500, rel=0.01)
    assert heard.states.measured(1000.0).rate == 0.0
