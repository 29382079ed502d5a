"""Which states are trusted: broken streams are told from fast robots."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest

from forerun.control.limits import Limits, SafetySettings
from forerun.control.states import State
from forerun.control.ticks import Verdict
from forerun.control.watch import StateWatch
from forerun_models.bundle import Bundle
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot
from support.bench import PERIOD, Bench
from support.tiny_bundle import Body, Law

Make = Callable[..., Bench]
STALE = 0.1
ROBOT = {"velocity_limit": [6.0, np.inf], "position_lower": [-2.0, -np.inf], "position_upper": [2.0, np.inf]}
BROKEN = "jumped from"


def watch(velocity: Sequence[float] = (6.0, 30.0)) -> StateWatch:
    return StateWatch(Limits.of(Body(overrides=ROBOT).manifest(8)), np.array(velocity), PERIOD)


def feed(judge: StateWatch, *rows: tuple[float, float, float], velocity: float = 0.0, stamp: int = 1) -> list[str]:
    """What is wrong with each state (time, slider, hinge), judged when it comes."""
    found = []
    for time, slider, hinge in rows:
        state = judge.judge(State(time, np.array([slider, hinge]), np.full(2, velocity), stamp), time, STALE)
        if state is not None:
            judge.accept(state)
        found.append("" if state is not None else judge.refused)
    return found


def test_jump_is_refused_for_three_periods_then_the_robot_is_where_it_is() -> None:
    judge = watch()
    assert feed(judge, (1.0, 0.0, 0.0), (1.02, 0.01, 0.0)) == ["", ""]
    found = feed(judge, *((1.04 + 0.02 * i, 1.5, 0.0) for i in range(4)))
    assert all("joint 'slider' jumped from 0.01 to 1.5" in text for text in found[:3]) and found[3] == ""
    assert judge.anew and judge.newest is not None and judge.newest.position[0] == 1.5


def test_contradicting_publishers_are_refused_until_they_agree_for_a_second() -> None:
    judge = watch()
    rows = [(1.0 + 0.01 * i, 0.9 if i % 10 == 0 else -0.9, 0.0) for i in range(200)]
    found = feed(judge, *rows)
    assert not any(text == "" for text in found[20:])
    found = feed(judge, *((3.0 + 0.01 * i, -0.9, 0.0) for i in range(150)))
    assert BROKEN in found[80] and found[-1] == ""


def test_single_wrong_value_costs_a_moment() -> None:
    judge = watch()
    found = feed(judge, *((1.0 + 0.02 * i, -1.9 if i == 10 else 0.4, 0.0) for i in range(30)))
    assert [i for i, text in enumerate(found) if text] == [10, 11, 12, 13]


def test_turning_joint_may_be_measured_within_one_turn() -> None:
    judge = watch((6.0, 10.0))
    found = feed(judge, *((1.0 + 0.02 * i, 0.0, math.remainder(3.0 + 0.1 * i, 2 * math.pi)) for i in range(60)))
    assert found == [""] * 60


def test_joint_without_a_velocity_limit_may_be_anywhere() -> None:
    assert feed(watch((math.inf, math.inf)), *((1.0 + 0.02 * i, (-1.0) ** i, 0.0) for i in range(9))) == [""] * 9


def test_messages_without_stamps_may_come_all_at_once() -> None:
    rows = [(1.0 + 1e-4 * i, 0.2 * i, 0.0) for i in range(5)]
    assert feed(watch(), *rows, stamp=0) == [""] * 5


@pytest.mark.parametrize(("velocity", "refused"), [(0.3, True), (0.001, False), (0.0, False)])
def test_numbers_that_repeat_although_a_joint_moves_are_refused(velocity: float, refused: bool) -> None:
    found = feed(watch(), *((1.0 + 0.02 * i, 0.4, 0.0) for i in range(20)), velocity=velocity)
    assert ("repeats the same numbers" in found[-1]) is refused


def test_states_from_another_time_are_refused() -> None:
    judge = watch()
    for time, words in ((7.0, "3 s in the past"), (10.5, "0.5 s in the future")):
        assert judge.judge(State(time, np.zeros(2), np.zeros(2), 1), 10.0, STALE) is None
        assert words in judge.refused and "synchronise the clocks" in judge.refused


@pytest.mark.parametrize("robot", ["cartpole", "pendulum", "double_pendulum"])
def test_simulated_robot_that_is_driven_hard_is_believed(robot: str) -> None:
    spec = load_robot(robot)
    random = np.random.default_rng(0)
    velocity = np.array([joint.velocity or math.inf for joint in spec.joints])
    effort = np.array([joint.effort for joint in spec.actuated])
    body = Body(joints=tuple(spec.joint_names), actions=tuple(spec.action_names)).manifest(8)
    for seed in range(3):
        plant = Plant(spec, seed=seed)
        judge = StateWatch(Limits.of(body), velocity, spec.control.period)
        reading = plant.reset()
        for step in range(200):
            time = 1.0 + step * spec.control.period
            if reading is None:
                reading = plant.step(effort)
                continue
            state = State(time, np.asarray(reading.position), np.asarray(reading.velocity), 1)
            assert judge.judge(state, time, STALE) is not None, judge.refused
            judge.accept(state)
            reading = plant.step(effort * np.sign(np.sin(0.1 * step) + 0.3 * random.standard_normal()))
        plant.close()


def test_robot_that_was_carried_elsewhere_plans_from_there_alone(bench: Make) -> None:
    table = bench(Law(gain=((1.0, 0.0, 0.0, 0.0),), bias=(0.0,)), **ROBOT)
    assert table.run(5, -1.5, 0.0, 0.0, 0.0).verdict is Verdict.PLAN
    verdicts = [table.run(1, 1.5, 0.0, 0.0, 0.0).verdict for _ in range(5)]
    assert verdicts == [Verdict.SAFE] * 3 + [Verdict.PLAN] * 2
    assert (table.controller._memory.grid.history(table.now)[:, 0] == 1.5).all()


def test_state_after_a_gap_begins_a_new_history(bench: Make) -> None:
    resuming = dict.fromkeys(("stale", "misses", "disagreement"), "resume")
    table = bench(Law(gain=((1.0, 0.0, 0.0, 0.0),), bias=(0.0,)), recovery=resuming)
    table.run(5, 0.1, 0.0, 0.0, 0.0)
    for _ in range(10):
        table.tick()
    table.run(1, 0.5, 0.0, 0.0, 0.0)
    assert table.controller._memory.grid.history(table.now)[:, 0] == pytest.approx(0.5)


def test_controller_that_paused_begins_from_rest(bench: Make) -> None:
    table = bench(Law(bias=(8.0,)))
    table.run(10)
    assert table.sent[-1] == 8.0
    table.now += 1.0
    table.run(1)
    assert table.sent[-1] == pytest.approx(2.0)


def test_scale_does_not_narrow_what_is_believed(make_bundle: Callable[..., Bundle]) -> None:
    table = Bench(make_bundle(Law(), **ROBOT), SafetySettings(scale=0.05))
    ticks = [table.run(1, 0.1 * i, 0.0, 0.0, 0.0) for i in range(10)]
    assert all(tick.verdict is Verdict.PLAN for tick in ticks)
