"""States that go wrong in what they say: the robot stops and says why, or goes on where nothing is lost (docs/faults.md)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import pytest

from forerun.domains import claimed_domain
from support.fault_rig import FaultRig, fault_rig
from support.probe import ERROR, OK

HOUR = 3600.0
NAN, INF = math.nan, math.inf


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRig]:
    with claimed_domain() as domain, fault_rig(domain, tmp_path_factory.mktemp("states")) as made:
        yield made


@pytest.fixture
def rig(shared: FaultRig) -> Iterator[FaultRig]:
    """Healthy before each fault; whole after it."""
    shared.healthy()
    yield shared
    shared.whole()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        pytest.param({"rate": 0.0}, "the newest state is", id="silent"),
        pytest.param({"position": [NAN, 0.0]}, "position of joint 'slider' is nan", id="position-nan"),
        pytest.param({"velocity": [0.0, -INF]}, "velocity of joint 'hinge' is -inf", id="velocity-inf"),
        pytest.param({"stamp": "still"}, "the newest state is", id="stamps-stand-still"),
        pytest.param({"stamp": HOUR}, "joint_states is stamped 3.6e+03 s in the future; synchronise", id="stamps-jump-ahead"),
        pytest.param({"stamp": -HOUR}, "joint_states is stamped 3.6e+03 s in the past; synchronise", id="stamps-jump-back"),
        pytest.param({"stamp": 0.5}, "s in the future; synchronise", id="stamps-half-a-second-ahead"),
        pytest.param(
            {"names": ["slider"], "position": [0.4], "velocity": [0.0]},
            "has no joint 'hinge'; it has: slider",
            id="joint-missing",
        ),
        pytest.param({"names": ["slider", "tilt"]}, "has no joint 'hinge'; it has: slider, tilt", id="joint-renamed"),
        pytest.param(
            {"names": ["slider", "hinge", "slider"], "position": [0.4, 0.0, 0.4], "velocity": [0.0, 0.0, 0.0]},
            "names joint 'slider' more than once",
            id="joint-twice",
        ),
        pytest.param({"names": [], "position": [], "velocity": []}, "no joint 'slider'; it has: none", id="empty"),
        pytest.param({"velocity": []}, "0 velocity values for 2 joints", id="no-velocity"),
        pytest.param({"position": [0.4]}, "1 position values for 2 joints", id="positions-too-short"),
        pytest.param({"velocity": [0.3, 0.0]}, "repeats the same numbers: joint 'slider' would move at 0.3", id="values-frozen"),
    ],
)
def test_state_that_cannot_be_used_stops_the_robot_until_reset(rig: FaultRig, fault: dict[str, Any], words: str) -> None:
    before = len(rig.probe.statuses)
    rig.robot.order(**fault)
    values = rig.stops("stopped: ", ERROR)
    assert words in values["reason of the last stop"]
    assert [text for level, text, _ in rig.probe.statuses[before:] if words in text and level == ERROR]
    rig.probe.until(lambda: rig.probe.parts["states"].level != OK, "the diagnostics of the states say so, too")
    # A robot that is well again does not move by itself: its bundle says "latch".
    count = len(rig.probe.commands)
    rig.robot.order(names=["slider", "hinge"], position=[0.4, 0.0], velocity=[0.0, 0.0], rate=50.0, stamp="now")
    rig.probe.until(lambda: rig.probe.parts["states"].level == OK, "good states arrive")
    rig.probe.until_commands(5)
    assert {tuple(command) for _, command in rig.probe.commands[count:]} == {(0.0,)}
    assert rig.probe.trigger("controller/reset").success
    rig.runs()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param({"names": ["hinge", "slider"], "position": [0.0, 0.4]}, id="reordered"),
        pytest.param(
            {"names": ["gripper", "hinge", "slider"], "position": [9.0, 0.0, 0.4], "velocity": [NAN, 0.0, 0.0]}, id="extra-joint"
        ),
        pytest.param({"stamp": "zero"}, id="stamps-zero"),
        pytest.param({"stamp": 0.005}, id="stamps-slightly-ahead"),
        pytest.param({"stamp": -0.05}, id="stamps-late"),
    ],
)
def test_robot_goes_on_where_nothing_is_lost(rig: FaultRig, change: dict[str, Any]) -> None:
    rig.robot.order(**change)
    rig.goes_on(60)
    assert rig.says("control") == "running"


@pytest.mark.parametrize(("rate", "low", "high"), [(25.0, 15.0, 30.0), (100.0, 70.0, 115.0)], ids=["half", "double"])
def test_ticks_keep_their_rate_at_half_and_double_the_states(rig: FaultRig, rate: float, low: float, high: float) -> None:
    rig.robot.order(rate=rate)
    rig.goes_on(60)

    def rates(name: str) -> float:
        return float(next(entry.value for status in rig.probe.parts.values() for entry in status.values if entry.key == name))

    rig.probe.until(lambda: low < rates("rate of states [Hz]") < high, "the diagnostics tell the rate of states", 60.0)
    assert rates("rate [Hz]") < 55.0
    rig.goes_on(10)
    assert rig.says("control") == "running"


def test_single_wrong_position_is_passed_over_by_a_short_safe_action(rig: FaultRig) -> None:
    before = len(rig.probe.statuses)
    rig.robot.order(position=[-1.9, 0.0])
    rig.robot.order(position=[0.4, 0.0])
    rig.probe.until_commands(25)
    rig.healthy()
    assert not [text for _, text, _ in rig.probe.statuses[before:] if "limit" in text]
