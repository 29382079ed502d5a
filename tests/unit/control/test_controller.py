"""A tick prepares, plans, validates and falls back."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from forerun.control.controller import Controller
from forerun.control.limits import SafetySettings
from forerun.control.planning import InlinePlanner, Reply, Request, WorkerPlanner, decide
from forerun.control.settings import Settings
from forerun.control.states import State
from forerun.control.ticks import Verdict
from forerun_models.bundle import Bundle
from forerun_sim.errors import InputError
from support.bench import PERIOD, Bench
from support.tiny_bundle import Law

Make = Callable[..., Bench]


class Choosy:
    """Computes at once, but answers only while ``answers`` is set; unanswered requests stay under way."""

    def __init__(self) -> None:
        self.answers = True
        self.asked: list[Request] = []
        self._reply: Reply | None = None

    @property
    def busy(self) -> bool:
        return self._reply is not None

    def submit(self, request: Request) -> None:
        self.asked.append(request)
        self._reply = decide(request)

    def reply(self, timeout: float) -> Reply | None:
        if not self.answers:
            return None
        reply, self._reply = self._reply, None
        return reply

    def close(self) -> None:
        """Nothing to end."""


def test_waits_with_the_safe_action_until_a_state_arrives(bench: Make) -> None:
    table = bench()
    tick = table.tick()
    assert (tick.verdict, tick.command.tolist()) == (Verdict.WAITING, [0.0])
    assert table.run(1).verdict is Verdict.PLAN


def test_plan_is_executed_within_the_slew_limit(bench: Make) -> None:
    table = bench(Law(bias=(5.0,)))
    table.run(3)
    assert table.sent == pytest.approx([2.0, 4.0, 5.0])


def test_plan_sees_the_state_in_the_order_of_the_bundle(bench: Make) -> None:
    table = bench(Law(gain=((1.0, 10.0, 100.0, 1000.0),), bias=(0.0,)), slew=[1e9], command_lower=[-1e6], command_upper=[1e6])
    table.run(1, 1.0, 2.0, 3.0, 4.0)
    assert table.sent[-1] == pytest.approx(4321.0)


def test_nan_state_stops_the_robot(bench: Make) -> None:
    table = bench(Law(bias=(1.0,)))
    table.run(3)
    table.controller.refuse("joint_states: position of joint 'slider' is nan")
    tick = table.tick()
    assert (tick.verdict, tick.command.tolist()) == (Verdict.SAFE, [0.0])
    assert "slider" in tick.reason
    assert table.run(1).verdict is Verdict.PLAN


def test_stale_state_is_never_used(bench: Make) -> None:
    table = bench(Law(bias=(1.0,)))
    table.run(3)
    verdicts = [table.tick().verdict for _ in range(12)]
    assert verdicts == [Verdict.PLAN] * 4 + [Verdict.SAFE] * 5 + [Verdict.STOPPED] * 3
    assert "old, allowed are 0.1 s" in table.controller.stopped


def test_stop_after_too_many_misses_lasts_until_reset(bench: Make) -> None:
    table = bench()
    table.run(3)
    for _ in range(20):
        table.tick()
    assert table.run(5).verdict is Verdict.STOPPED
    assert table.controller.request_reset() == ""
    assert table.run(1).verdict is Verdict.PLAN


def test_late_plan_is_replaced_by_the_right_slice_of_the_last(bench: Make) -> None:
    planner = Choosy()
    table = bench(Law(bias=(1.0,), ramp=(0.5,)), planner=planner)
    assert table.run(1).age == 0
    planner.answers = False
    ticks = [table.run(1) for _ in range(3)]
    assert [tick.age for tick in ticks] == [1, 2, 3]
    assert {tick.verdict for tick in ticks} == {Verdict.BRIDGED}
    assert table.sent == pytest.approx([1.0, 1.5, 2.0, 2.5])


def test_planner_that_stays_away_ends_in_the_safe_action(bench: Make) -> None:
    planner = Choosy()
    table = bench(planner=planner)
    table.run(2)
    planner.answers = False
    verdicts = [table.run(1).verdict for _ in range(7)]
    assert verdicts == [Verdict.BRIDGED] * 5 + [Verdict.STOPPED] * 2
    assert "6 ticks in a row without a plan" in table.controller.stopped
    assert table.sent[-1] == 0.0


def test_plan_that_has_come_to_its_end_is_not_stretched(bench: Make) -> None:
    planner = Choosy()
    table = bench(Law(horizon=1), planner=planner)
    table.run(1)
    planner.answers = False
    assert table.run(1).verdict is Verdict.SAFE


def test_late_plan_counts_from_the_tick_that_it_was_made_for(bench: Make) -> None:
    planner = Choosy()
    table = bench(Law(bias=(1.0,), ramp=(0.5,)), planner=planner)
    table.run(1)
    planner.answers = False
    table.run(2)
    planner.answers = True
    made_for = planner.asked[-1].time
    tick = table.run(1)
    assert tick.verdict is Verdict.PLAN and planner.asked[-1].elapsed == pytest.approx(table.now - made_for)


def test_plan_that_is_not_finite_is_not_executed(bench: Make) -> None:
    table = bench(Law(gain=((0.0, 0.0, 0.0, 1e38),), bias=(1.0,)))
    table.run(2)
    tick = table.run(1, 0.0, 0.0, 0.0, 1e38)
    assert tick.verdict is Verdict.BRIDGED and "not finite" in tick.reason
    assert table.sent == [1.0, 1.0, 1.0]


def test_leaving_the_position_limits_stops_until_reset(bench: Make) -> None:
    table = bench(position_lower=[-1, -np.inf], position_upper=[1, np.inf])
    table.run(2)
    assert table.run(1, 1.1, 0, 0, 0).verdict is Verdict.STOPPED
    assert table.run(1).verdict is Verdict.STOPPED
    assert "outside [-1, 1]" in table.controller.stopped


def test_braking_distance_ends_in_the_safe_action_while_it_lasts(bench: Make) -> None:
    table = bench(position_lower=[-1, -np.inf], position_upper=[1, np.inf], deceleration=[2.0, np.nan])
    table.run(2)
    tick = table.run(1, 0.8, 0, 1.0, 0)
    assert tick.verdict is Verdict.SAFE and "braking distance 0.25" in tick.reason
    assert table.run(1).verdict is Verdict.PLAN


def test_predicted_breach_ends_in_the_safe_action(bench: Make) -> None:
    table = bench(Law(drift=(0.1, 0, 0, 0)), position_lower=[-1, -np.inf], position_upper=[1, np.inf])
    assert table.run(2, 0.2, 0, 0, 0).verdict is Verdict.PLAN
    tick = table.run(1, 0.6, 0, 0, 0)
    assert tick.verdict is Verdict.SAFE and "is predicted at 1.1" in tick.reason


def test_plan_with_too_much_disagreement_is_not_executed(bench: Make) -> None:
    table = bench(Law(disagreement=0.5), safety=SafetySettings(max_disagreement=0.4))
    tick = table.run(1)
    assert tick.verdict is Verdict.SAFE and "disagreement is 0.5" in tick.reason


def test_estop_latches_until_released_and_reset(bench: Make) -> None:
    table = bench(Law(bias=(1.0,)))
    table.run(3)
    table.controller.stop.press()
    assert table.run(1).verdict is Verdict.STOPPED and table.sent[-1] == 0.0
    assert "release" in table.controller.request_reset()
    table.controller.stop.release()
    assert table.run(1).verdict is Verdict.STOPPED
    assert table.controller.request_reset() == ""
    assert table.run(1).verdict is Verdict.PLAN


def test_safe_action_is_approached_within_the_slew_limit(bench: Make) -> None:
    table = bench(Law(bias=(7.0,)))
    table.run(6)
    table.controller.stop.press()
    table.run(5)
    assert table.sent[-5:] == pytest.approx([5.0, 3.0, 1.0, 0.0, 0.0])


def test_wind_down_ends_at_zero_within_the_slew_limit(bench: Make) -> None:
    table = bench(Law(bias=(5.0,)))
    table.run(6)
    commands, arrived = [], False
    while not arrived:
        table.now += PERIOD
        command, arrived = table.controller.wind_down(table.now)
        table.controller.sent(table.now, command)
        commands.append(float(command[0]))
    assert commands == pytest.approx([3.0, 1.0, 0.0])


def test_position_robot_is_held_where_it_was_commanded(bench: Make) -> None:
    table = bench(
        Law(bias=(0.5,)), interfaces=("position",), command_lower=[-1.0], command_upper=[1.0], slew=[2.0], safe_action="hold"
    )
    assert table.tick().command is None
    table.run(2, 0.2, 0, 0, 0)
    assert table.sent == pytest.approx([0.24, 0.28])
    table.controller.stop.press()
    table.run(1, 0.1, 0, 0, 0)
    assert table.sent[-1] == pytest.approx(0.28)


def test_swap_happens_between_ticks_and_respects_slew(bench: Make, make_bundle: Callable[..., Bundle]) -> None:
    table = bench(Law(bias=(-8.0,)))
    table.run(10)
    table.controller.offer(make_bundle(Law(bias=(8.0,))))
    ticks = [table.run(1) for _ in range(12)]
    assert {tick.verdict for tick in ticks} == {Verdict.PLAN}
    assert np.abs(np.diff(table.sent)).max() <= 2.0 + 1e-9
    assert table.sent[-1] == pytest.approx(8.0) and table.controller.swaps == 1


def test_old_plan_bridges_until_the_new_bundle_answers(bench: Make, make_bundle: Callable[..., Bundle]) -> None:
    planner = Choosy()
    table = bench(Law(bias=(1.0,), ramp=(0.5,)), planner=planner)
    table.run(2)
    table.controller.offer(make_bundle(Law(bias=(-1.0,))))
    planner.answers = False
    assert table.run(1).verdict is Verdict.BRIDGED and table.sent[-1] == pytest.approx(1.5)
    planner.answers = True
    assert table.run(1).verdict is Verdict.PLAN and table.sent[-1] == pytest.approx(-0.5)


def test_new_bundle_starts_with_a_carry_of_its_own(bench: Make, make_bundle: Callable[..., Bundle]) -> None:
    planner = Choosy()
    table = bench(planner=planner)
    table.run(5)
    assert float(planner.asked[-1].carry["carry_count"][0, 0]) == 4.0
    table.controller.offer(make_bundle(Law(bias=(2.0,))))
    table.run(1)
    assert float(planner.asked[-1].carry["carry_count"][0, 0]) == 0.0
    assert planner.asked[-1].elapsed == 0.0


def test_bundle_with_a_longer_history_finds_it_filled(bench: Make, make_bundle: Callable[..., Bundle]) -> None:
    planner = Choosy()
    table = bench(planner=planner)
    for i in range(20):
        table.run(1, 0.01 * i, 0, 0, 0)
    table.controller.offer(make_bundle(history=10))
    table.run(1, 0.2, 0, 0, 0)
    positions = planner.asked[-1].history[:, 0]
    assert len(positions) == 10 and np.diff(positions)[:-1] == pytest.approx(0.01, abs=1e-4)


@pytest.mark.parametrize(
    ("change", "words"),
    [({"rate": 100.0}, "rate 100"), ({"robot": "other"}, "robot other"), ({"interfaces": ("velocity",)}, "interfaces")],
)
def test_bundle_of_another_kind_is_refused(
    bench: Make, make_bundle: Callable[..., Bundle], change: dict[str, object], words: str
) -> None:
    table = bench()
    with pytest.raises(InputError, match=words):
        table.controller.offer(make_bundle(**change))
    assert table.run(1).verdict is Verdict.PLAN


def test_swapped_bundle_cannot_loosen_the_limits(bench: Make, make_bundle: Callable[..., Bundle]) -> None:
    table = bench(Law(bias=(1.0,)))
    table.controller.offer(make_bundle(Law(bias=(50.0,)), command_upper=[50.0], slew=[1e6]))
    table.run(20)
    assert max(table.sent) <= 10.0 and np.abs(np.diff(table.sent)).max() <= 2.0 + 1e-9


def test_history_holds_the_commands_that_were_sent(bench: Make) -> None:
    planner = Choosy()
    table = bench(Law(bias=(5.0,)), planner=planner)
    table.run(5)
    # The rows end at the newest state, measured 1 ms, a 20th of a period, before the tick.
    assert planner.asked[-1].history[:, 4] == pytest.approx([3.9, 4.95, 5.0, 5.0], abs=1e-3)


def test_equal_seeds_give_equal_noise_after_every_reset(bench: Make) -> None:
    planner = Choosy()
    table = bench(planner=planner)
    table.run(3)
    first = [request.noise.tolist() for request in planner.asked]
    table.controller.request_reset()
    table.run(3)
    assert [request.noise.tolist() for request in planner.asked[3:]] == first


def test_goal_of_the_wrong_size_is_refused(bench: Make) -> None:
    table = bench(goal_names=("x",), goal_default=[0.5])
    with pytest.raises(InputError, match="takes: x"):
        table.controller.set_goal([1.0, 2.0])
    with pytest.raises(InputError, match="'x' is not finite"):
        table.controller.set_goal([math.nan])


def test_slow_plan_in_a_worker_does_not_delay_the_command(make_bundle: Callable[..., Bundle]) -> None:
    planner = WorkerPlanner()
    table = Bench(make_bundle(Law(bias=(1.0,), horizon=50, effort=60)), planner=planner)
    ticks = [table.run(1) for _ in range(4)]
    assert all(tick.verdict is not Verdict.PLAN for tick in ticks)
    reply = None
    while reply is None:
        reply = planner.reply(1.0)
    planner.close()
    assert reply.error == "" and reply.duration > PERIOD


EVENT = st.one_of(
    st.tuples(st.just("state"), st.floats(-5, 5), st.floats(-20, 20)),
    st.tuples(st.just("nan"), st.just(0.0), st.just(0.0)),
    st.tuples(st.just("nothing"), st.just(0.0), st.just(0.0)),
    st.tuples(st.just("press"), st.just(0.0), st.just(0.0)),
    st.tuples(st.just("release"), st.just(0.0), st.just(0.0)),
    st.tuples(st.just("late"), st.just(0.0), st.just(0.0)),
    st.tuples(st.just("swap"), st.just(0.0), st.just(0.0)),
)


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(events=st.lists(EVENT, min_size=1, max_size=40))
def test_nothing_that_happens_breaks_limits_or_slew(
    make_bundle: Callable[..., Bundle], events: list[tuple[str, float, float]]
) -> None:
    wild = Law(gain=((-30.0, 3.0, -9.0, 1.0),), bias=(0.0,))
    limits = {"position_lower": [-4, -np.inf], "position_upper": [4, np.inf], "deceleration": [5.0, np.nan]}
    one, other = _once(make_bundle, "one", wild, limits), _once(make_bundle, "other", Law(bias=(9.0,)), limits)
    planner = Choosy()
    table = Bench(one, planner=planner)
    for kind, first, second in events:
        planner.answers = kind != "late"
        if kind == "state":
            table.state(first, second, second, first)
        elif kind == "nan":
            table.controller.refuse("nan")
        elif kind == "press":
            table.controller.stop.press()
        elif kind == "release":
            table.controller.stop.release()
            table.controller.request_reset()
        elif kind == "swap":
            table.controller.offer(other if table.controller.bundle is one else one)
        table.tick()
    sent = np.array([0.0, *table.sent])
    assert np.isfinite(sent).all() and np.abs(sent).max() <= 10.0
    assert np.abs(np.diff(sent)).max() <= 2.0 + 1e-9


_MADE: dict[str, Bundle] = {}


def _once(make_bundle: Callable[..., Bundle], name: str, law: Law, overrides: dict[str, object]) -> Bundle:
    if name not in _MADE:
        _MADE[name] = make_bundle(law, **overrides)
    return _MADE[name]


def test_clock_that_was_set_back_starts_a_new_history(bench: Make) -> None:
    table = bench()
    table.run(5)
    table.now -= 5.0
    assert table.run(1).verdict is Verdict.PLAN


def test_settings_that_loosen_are_refused_before_anything_moves(make_bundle: Callable[..., Bundle]) -> None:
    with pytest.raises(InputError, match="only tighten"):
        Controller(make_bundle(), Settings(safety=SafetySettings(slew=(1e6,))), InlinePlanner())


def test_dry_run_follows_the_commands_of_others(make_bundle: Callable[..., Bundle]) -> None:
    planner = Choosy()
    table = Bench(make_bundle(Law(bias=(1.0,))), planner=planner)
    for _ in range(4):
        table.now += PERIOD
        table.controller.overhear(table.now - 0.001, np.array([-3.0]))
        table.controller.observe(State(table.now, np.zeros(2), np.zeros(2), 0))
        tick = table.controller.tick(table.now)
        table.controller.withheld(table.now, tick.command)
    assert planner.asked[-1].history[-2:, 4] == pytest.approx([-3.0, -3.0])
