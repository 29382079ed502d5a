"""Whatever is wanted, what is sent keeps the limits; whatever is measured, a breach is seen."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from forerun.control import safety
from forerun.control.limits import Limits, SafetySettings
from forerun_sim.errors import InputError
from support.tiny_bundle import Body

FINITE = st.floats(-1e6, 1e6)
ARM = Body(
    joints=("a", "b", "c"),
    actions=("c", "a"),
    overrides={
        "interfaces": ("effort", "position"),
        "command_lower": [-10.0, -1.0],
        "command_upper": [10.0, 1.0],
        "slew": [100.0, 2.0],
        "position_lower": [-1.0, -np.inf, -2.0],
        "position_upper": [1.0, np.inf, 2.0],
        "velocity_limit": [3.0, np.inf, 5.0],
        "deceleration": [np.nan, np.nan, 4.0],
    },
)
LIMITS = Limits.of(ARM.manifest(8))


@settings(deadline=None)
@given(st.lists(st.tuples(FINITE, FINITE), min_size=1, max_size=30))
def test_commands_never_leave_limits_or_slew(wanted: list[tuple[float, float]]) -> None:
    last = np.zeros(2)
    for pair in wanted:
        command = safety.limit_command(LIMITS, np.array(pair), last)
        assert (command >= LIMITS.command_lower).all() and (command <= LIMITS.command_upper).all()
        assert (np.abs(command - last) <= LIMITS.step(np.inf)).all()
        last = command


@settings(deadline=None)
@given(FINITE, st.floats(-10, 10))
def test_wanted_command_is_reached_in_the_fewest_steps(wanted: float, start: float) -> None:
    target = float(np.clip(wanted, -10, 10))
    last = np.array([start, 0.0])
    needed = math.ceil(abs(target - start) / LIMITS.step(np.inf)[0] * (1 + 1e-6))
    for _ in range(needed):
        last = safety.limit_command(LIMITS, np.array([wanted, 0.0]), last)
    assert last[0] == pytest.approx(target, abs=1e-5)


def test_command_outside_newly_narrowed_limits_walks_back_without_a_jump() -> None:
    narrow = replace(LIMITS, command_lower=np.array([-1.0, -1.0]), command_upper=np.array([1.0, 1.0]))
    assert safety.limit_command(narrow, np.zeros(2), np.array([10.0, 0.0]))[0] == pytest.approx(8.0)


def test_stop_holds_the_commanded_not_the_measured_position() -> None:
    target = safety.safe_target(replace(LIMITS, safe_action="hold"), np.array([7.0, 0.4]), np.zeros(3))
    assert target is not None and target.tolist() == [0.0, 0.4]


def test_damping_opposes_a_fresh_velocity_and_is_nothing_without_one() -> None:
    damping = replace(LIMITS, safe_action="damp", damp_gain=np.array([2.0, 5.0]))
    with_velocity = safety.safe_target(damping, np.zeros(2), np.array([1.0, 1.0, 3.0]))
    without = safety.safe_target(damping, np.zeros(2), None)
    assert with_velocity is not None and with_velocity.tolist() == [-6.0, 0.0]
    assert without is not None and without.tolist() == [0.0, 0.0]


def test_position_joint_that_was_never_commanded_gets_no_command() -> None:
    assert safety.safe_target(LIMITS, None, None) is None
    assert safety.start_command(LIMITS, None) is None


@pytest.mark.parametrize(
    ("position", "velocity", "words", "outside"),
    [
        ((0, 0, 2.01), (0, 0, 0), "joint 'c' is at 2.01, outside [-2, 2]", True),
        ((0, 0, 0), (0, 0, -6.1), "joint 'c' is moving at -6.1, above 6", True),
        ((0, 0, 1.9), (0, 0, 1.0), "cannot stop before 2", False),
        ((0, 0, -1.9), (0, 0, -1.0), "cannot stop before -2", False),
    ],
)
def test_breach_names_joint_and_limit(position: tuple[float], velocity: tuple[float], words: str, outside: bool) -> None:
    found = safety.breach(LIMITS, np.array(position, float), np.array(velocity, float))
    assert found is not None and words in found.reason and found.outside is outside


def test_moving_away_from_a_limit_or_by_position_servo_is_no_breach() -> None:
    assert safety.breach(LIMITS, np.array([0, 0, 1.9]), np.array([0, 0, -2.0])) is None
    assert safety.breach(LIMITS, np.array([5.0, 0, 0]), np.array([9.0, 0, 0])) is None


@settings(deadline=None)
@given(st.floats(-2, 2), st.floats(-6, 6))
def test_joint_that_passes_the_watch_can_brake_within_its_limits(position: float, velocity: float) -> None:
    if safety.breach(LIMITS, np.array([0, 0, position]), np.array([0, 0, velocity])) is None:
        stop = position + math.copysign(velocity**2 / (2 * 4.0), velocity)
        assert -2 <= stop <= 2


def test_predicted_breach_is_found_in_any_row() -> None:
    rows = np.zeros((4, 6), np.float32)
    assert safety.predicted_breach(LIMITS, rows) is None
    rows[3, 2] = 2.5
    found = safety.predicted_breach(LIMITS, rows)
    assert found is not None and "is predicted at 2.5" in found.reason


def test_estop_needs_release_and_then_reset() -> None:
    stop = safety.EmergencyStop()
    stop.press()
    assert not stop.reset() and stop.latched
    stop.release()
    assert stop.latched
    assert stop.reset() and not stop.latched


@pytest.mark.parametrize(
    ("wanted", "words"),
    [
        (SafetySettings(slew=(200.0, 2.0)), "safety.slew is 200 for c; the bundle says 100"),
        (SafetySettings(command_lower=(-11.0, -1.0)), "safety.command_lower is -11 for c"),
        (SafetySettings(position_upper=(1.0, 1.0, 3.0)), "safety.position_upper is 3 for c"),
        (SafetySettings(stale_after=0.2), "safety.stale_after is 0.2; the bundle says 0.1"),
        (SafetySettings(max_misses=9), "safety.max_misses is 9; the bundle says 5"),
        (SafetySettings(slew=(1.0,)), "it needs one for each of: c, a"),
        (SafetySettings(velocity=(math.nan, 1.0, 1.0)), "safety.velocity holds nan"),
        (SafetySettings(command_lower=(5.0, 0.0), command_upper=(1.0, 1.0)), "leave no room for c"),
        (SafetySettings(scale=0.0), "safety.scale is 0"),
    ],
)
def test_parameters_may_only_tighten(wanted: SafetySettings, words: str) -> None:
    with pytest.raises(InputError, match=r".*") as caught:
        LIMITS.tightened(wanted)
    assert words in str(caught.value)


def test_scale_shrinks_effort_speed_and_slew_but_not_positions() -> None:
    half = LIMITS.tightened(SafetySettings(scale=0.5))
    assert half.command_upper.tolist() == [5.0, 1.0]
    assert half.slew.tolist() == [50.0, 1.0]
    assert half.velocity[2] == pytest.approx(3.0)


def test_position_command_stays_within_tightened_joint_limits() -> None:
    tight = LIMITS.tightened(SafetySettings(position_lower=(-0.5, -math.inf, -2.0), position_upper=(0.5, math.inf, 2.0)))
    assert tight.command_lower.tolist() == [-10.0, -0.5] and tight.command_upper.tolist() == [10.0, 0.5]


def test_later_bundle_cannot_loosen_what_holds() -> None:
    outer = LIMITS.tightened(SafetySettings(scale=0.5, max_disagreement=2.0))
    inner = LIMITS.within(outer)
    assert (inner.command_upper <= outer.command_upper).all() and (inner.slew <= outer.slew).all()
    assert inner.allowed_disagreement == 2.0


def test_bundle_that_takes_over_does_not_change_how_the_robot_is_stopped() -> None:
    first = replace(LIMITS, safe_action="damp", damp_gain=np.array([2.0, 0.0]))
    second = replace(LIMITS, safe_action="zero", damp_gain=np.zeros(2)).within(first)
    assert second.safe_action == "damp" and second.damp_gain.tolist() == [2.0, 0.0]
