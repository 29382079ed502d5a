"""What may go wrong for how long, how the robot stands then, and how it moves again."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from forerun.control.controller import Controller, Settings
from forerun.control.limits import SafetySettings
from forerun.control.planning import Reply, Request, decide
from forerun.control.ticks import Tick, Verdict
from forerun_sim.errors import InputError
from support.bench import Bench
from support.tiny_bundle import Law

Make = Callable[..., Bench]

RESUMING = {"stale": "resume", "misses": "resume", "disagreement": "resume"}
LATCHING = dict.fromkeys(RESUMING, "latch")


class Odd:
    """Answers at once, with the disagreement that the test says, or not at all."""

    def __init__(self) -> None:
        self.disagreement = 0.1
        self.answers = True
        self._reply: Reply | None = None

    @property
    def busy(self) -> bool:
        return self._reply is not None

    def submit(self, request: Request) -> None:
        reply = decide(request)
        assert reply.decision is not None
        decision = reply.decision.__class__(**{**vars(reply.decision), "disagreement": self.disagreement})
        self._reply = Reply(reply.request, decision, "", reply.duration)

    def reply(self, timeout: float) -> Reply | None:
        if not self.answers:
            return None
        reply, self._reply = self._reply, None
        return reply

    def close(self) -> None:
        """Nothing to end."""


def verdicts(table: Bench, count: int) -> list[Verdict]:
    return [table.run(1).verdict for _ in range(count)]


def silent(table: Bench, count: int) -> list[Tick]:
    return [table.tick() for _ in range(count)]


def test_robot_resumes_after_enough_good_ticks_where_it_may(bench: Make) -> None:
    table = bench(recovery=RESUMING, recover_after=4)
    table.run(3)
    standing = silent(table, 15)[-1]
    assert standing.verdict is Verdict.SAFE and standing.cause == "stale" and not table.controller.stopped
    assert verdicts(table, 5) == [Verdict.SAFE] * 3 + [Verdict.PLAN] * 2


def test_good_ticks_count_only_in_a_row(bench: Make) -> None:
    table = bench(recovery=RESUMING, recover_after=4)
    table.run(3)
    silent(table, 15)
    assert verdicts(table, 3) == [Verdict.SAFE] * 3
    table.controller.refuse("nothing to see")
    table.tick()
    assert verdicts(table, 4) == [Verdict.SAFE] * 3 + [Verdict.PLAN]


def test_short_silence_is_over_with_the_next_state(bench: Make) -> None:
    table = bench(recovery=RESUMING, recover_after=4)
    table.run(3)
    assert silent(table, 6)[-1].verdict is Verdict.SAFE
    assert table.run(1).verdict is Verdict.PLAN


def test_missing_plans_stop_the_robot_and_may_end_by_themselves(bench: Make) -> None:
    planner = Odd()
    table = bench(recovery=RESUMING, recover_after=2, planner=planner)
    table.run(2)
    planner.answers = False
    assert verdicts(table, 7) == [Verdict.BRIDGED] * 5 + [Verdict.SAFE] * 2
    planner.answers = True
    assert verdicts(table, 2)[-1] is Verdict.PLAN


def test_single_odd_plan_is_bridged(bench: Make) -> None:
    planner = Odd()
    table = bench(planner=planner, thresholds={"disagreement": 0.2}, disagreement_factor=3.0)
    table.run(2)
    planner.disagreement = 0.61
    tick = table.run(1)
    assert tick.verdict is Verdict.BRIDGED and "disagreement is 0.61, allowed is 0.6" in tick.reason
    planner.disagreement = 0.59
    assert table.run(1).verdict is Verdict.PLAN


@pytest.mark.parametrize(("recovery", "after"), [(RESUMING, Verdict.PLAN), (LATCHING, Verdict.STOPPED)])
def test_disagreement_that_lasts_stops_the_robot(bench: Make, recovery: dict[str, str], after: Verdict) -> None:
    planner = Odd()
    table = bench(
        planner=planner,
        thresholds={"disagreement": 0.2},
        disagreement_factor=3.0,
        max_disagreeing=2,
        recovery=recovery,
        recover_after=3,
    )
    table.run(2)
    planner.disagreement = 5.0
    found = [table.run(1) for _ in range(4)]
    assert [tick.verdict for tick in found[:2]] == [Verdict.BRIDGED] * 2
    assert found[-1].cause == "disagreement" and "plans in a row disagree" in found[-1].reason
    assert table.sent[-1] == 0.0
    planner.disagreement = 0.1
    assert verdicts(table, 3)[-1] is after


def test_disagreement_counts_apart_from_misses(bench: Make) -> None:
    planner = Odd()
    table = bench(planner=planner, thresholds={"disagreement": 0.2}, disagreement_factor=1.0, max_disagreeing=7, max_misses=2)
    table.run(2)
    planner.disagreement = 5.0
    assert verdicts(table, 7) == [Verdict.BRIDGED] * 7


def test_factor_of_zero_lets_every_plan_pass(bench: Make) -> None:
    table = bench(Law(disagreement=1e6), thresholds={"disagreement": 0.2}, disagreement_factor=0.0)
    assert table.run(3).verdict is Verdict.PLAN


def test_robot_is_damped_within_the_slew_limit(bench: Make) -> None:
    table = bench(Law(bias=(5.0,)), safe_action="damp", damp_gain=4.0)
    table.run(5)
    table.controller.refuse("nothing to see")
    assert table.tick().command == pytest.approx([3.0])
    table = bench(position_lower=[-1, float("-inf")], position_upper=[1, float("inf")], safe_action="damp", damp_gain=4.0)
    table.run(3)
    sent = [table.run(1, 1.1, 0.0, 1.0, 0.0).command for _ in range(4)]
    assert [float(command[0]) for command in sent if command is not None] == pytest.approx([-1.0, -3.0, -4.0, -4.0])


def test_scale_is_raised_while_the_robot_moves(bench: Make) -> None:
    table = bench(Law(bias=(8.0,)), safety=SafetySettings(scale=0.2))
    table.run(20)
    assert table.sent[-1] == pytest.approx(2.0)
    table.controller.offer_limits(SafetySettings(scale=0.5))
    table.run(20)
    assert table.sent[-1] == pytest.approx(5.0)
    steps = [after - before for before, after in zip(table.sent[20:], table.sent[21:], strict=False)]
    assert max(steps) <= 1.0 + 1e-9
    table.controller.offer_limits(SafetySettings(scale=0.1))
    table.run(30)
    assert table.sent[-1] == pytest.approx(1.0)


def test_limits_that_loosen_are_refused_and_change_nothing(bench: Make) -> None:
    table = bench(Law(bias=(8.0,)), safety=SafetySettings(scale=0.2))
    with pytest.raises(InputError, match="may only tighten"):
        table.controller.offer_limits(SafetySettings(command_upper=(11.0,)))
    with pytest.raises(InputError, match=r"safety\.on_stale is 'resume'"):
        table.controller.offer_limits(SafetySettings(on_stale="resume"))
    table.run(20)
    assert table.sent[-1] == pytest.approx(2.0)


def test_parameters_make_a_stop_last(bench: Make) -> None:
    table = bench(recovery=RESUMING, safety=SafetySettings(on_stale="latch"))
    assert isinstance(table.controller, Controller) and Settings().safety.on_stale == ""
    table.run(3)
    silent(table, 15)
    assert table.run(1).verdict is Verdict.STOPPED


def test_latched_stop_outlives_a_restart_of_the_loop(bench: Make) -> None:
    table = bench(recovery=LATCHING, max_misses=2)
    table.run(3)
    silent(table, 20)
    assert table.controller.stopped
    table.controller.begin()
    assert table.run(5).verdict is Verdict.STOPPED
    assert table.controller.request_reset() == ""
    assert table.run(5).verdict is Verdict.PLAN
