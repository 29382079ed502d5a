"""What could break an arm: each of these was possible once, or nearly."""

from __future__ import annotations

import json
import math
import os
import threading
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from forerun.control import safety
from forerun.control.background import BackgroundThread
from forerun.control.bounds import Bounds
from forerun.control.controller import Controller
from forerun.control.limits import Limits, SafetySettings
from forerun.control.loading import warm_up
from forerun.control.loop import Loop
from forerun.control.pacers import StepPacer
from forerun.control.planning import InlinePlanner, Reply, Request, decide
from forerun.control.rights import Rights
from forerun.control.settings import Settings
from forerun.control.states import State
from forerun.control.statistics import TickStatistics
from forerun.control.thresholds import DISAGREEMENT, Thresholds
from forerun.control.ticks import Verdict
from forerun_models.bundle import Bundle, Ground, Manifest
from forerun_sim.errors import InputError
from support.bench import PERIOD, Bench
from support.tiny_bundle import Law, Model

Make = Callable[..., Bench]
MakeBundle = Callable[..., Bundle]

ROLLING = Model(a=np.eye(4).tolist(), b=[[0.0], [0.0], [1.0], [0.0]])


class Pressing(InlinePlanner):
    """Somebody presses the emergency stop while the tick waits for its plan."""

    stop: safety.EmergencyStop | None = None

    def submit(self, request: Request) -> None:
        super().submit(request)
        if self.stop is not None:
            self.stop.press()


class Delayed:
    """Answers a request after as many ticks as the test says."""

    def __init__(self, ticks: int) -> None:
        self._ticks, self._left = ticks, 0
        self._reply: Reply | None = None

    @property
    def busy(self) -> bool:
        return self._reply is not None

    def submit(self, request: Request) -> None:
        self._reply, self._left = decide(request), self._ticks

    def reply(self, timeout: float) -> Reply | None:
        self._left -= timeout == 0.0
        if self._reply is None or self._left > 0:
            return None
        reply, self._reply = self._reply, None
        return reply

    def close(self) -> None:
        """Nothing to end."""


# Slew --------------------------------------------------------------------------------------------------------------------


def test_slew_limit_holds_per_second_where_ticks_come_early(bench: Make) -> None:
    """With ``trigger: state``, and after a late tick, two commands may be 0.4 periods apart."""
    table = bench(Law(bias=(9.0,)))
    table.run(1)
    for apart in (0.4, 1.6, 0.4, 0.1):
        before = table.sent[-1]
        table.now += (apart - 1) * PERIOD
        table.run(1)
        assert table.sent[-1] - before == pytest.approx(100.0 * PERIOD * min(apart, 1.0))


def test_no_limit_of_slew_and_no_time_between_commands_is_a_finite_command() -> None:
    limits = _limits(slew=np.array([math.inf]))
    assert safety.limit_command(limits, np.array([3.0]), np.array([1.0]), 0.0) == pytest.approx([3.0])
    assert safety.limit_command(_limits(), np.array([3.0]), np.array([1.0]), -5.0) == pytest.approx([1.0])
    assert safety.limit_command(_limits(), np.array([3.0]), np.array([1.0]), math.nan) == pytest.approx([3.0])


def _limits(**changes: object) -> Limits:
    return replace(
        Limits(
            joints=("slider",),
            actions=("slider",),
            interfaces=("effort",),
            period=PERIOD,
            ticks_per_period=1,
            watched=np.array([True]),
            position_lower=np.array([-1.0]),
            position_upper=np.array([1.0]),
            velocity=np.array([1.0]),
            deceleration=np.array([1.0]),
            command_lower=np.array([-10.0]),
            command_upper=np.array([10.0]),
            slew=np.array([100.0]),
            acting=np.array([0]),
            safe_action="zero",
            damp_gain=np.zeros(1),
            stale_after=0.1,
            max_misses=5,
            max_disagreeing=5,
            recover_after=10,
            latching=frozenset(),
        ),
        **changes,
    )


# Stops -------------------------------------------------------------------------------------------------------------------


def test_estop_that_is_pressed_while_a_plan_is_computed_stops_this_tick(make_bundle: MakeBundle) -> None:
    planner = Pressing()
    table = Bench(make_bundle(Law(bias=(1.0,))), planner=planner)
    table.run(3)
    planner.stop = table.controller.stop
    assert table.run(1).verdict is Verdict.STOPPED and table.sent[-1] == 0.0


def test_estop_that_is_pressed_during_a_reset_stays() -> None:
    """Press and reset from many threads at once: whoever pressed last without a release finds the robot stopped."""
    stop = safety.EmergencyStop()
    stop.press()
    stop.release()
    threads = [threading.Thread(target=stop.reset) for _ in range(4)] + [threading.Thread(target=stop.press)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert stop.pressed and stop.latched


def test_limits_that_do_not_fit_the_bundle_are_tried_until_they_do(make_bundle: MakeBundle) -> None:
    """The parameters were checked against the bundle before; the one that took over leaves them no room."""
    table = Bench(make_bundle())
    bounds, narrow = Bounds(table.controller.bundle.manifest, SafetySettings()), make_bundle(command_lower=[5.0]).manifest
    bounds.offer(SafetySettings(command_upper=(2.0,)), table.controller.bundle.manifest)
    for _ in range(2):
        with pytest.raises(InputError, match="leave no room for slider"):
            bounds.take(narrow)
    assert bounds.present.command_upper[0] == 10.0
    taken = bounds.take(table.controller.bundle.manifest)
    assert taken is not None and taken.command_upper[0] == 2.0 and bounds.take(narrow) is None


def test_damping_ends_when_nobody_is_there_to_damp_any_more(bench: Make) -> None:
    """States go on arriving while a loop that failed leads the robot to rest."""
    table = bench(safe_action="damp", damp_gain=2.0)
    table.run(3)
    for _ in range(20):
        table.now += PERIOD
        table.controller.observe(State(table.now, np.full(2, table.now - 10.0), np.ones(2), 0))
        command, arrived = table.controller.wind_down(table.now)
        if arrived:
            break
        assert command is not None
        table.controller.sent(table.now, command)
    assert arrived and command == pytest.approx([0.0])


# Thresholds --------------------------------------------------------------------------------------------------------------


def test_odd_plan_is_no_miss_where_commands_come_more_often_than_plans() -> None:
    limits, thresholds = _limits(ticks_per_period=4, max_misses=2, max_disagreeing=7), Thresholds()
    for _ in range(7):
        thresholds.disagreed("odd", limits)
        for _ in range(4):
            thresholds.no_plan("odd", limits)
    assert thresholds.misses == 0 and not thresholds.halted
    thresholds.disagreed("odd", limits)
    assert thresholds.cause == DISAGREEMENT


def test_planner_that_disagreed_once_and_then_hangs_is_missed() -> None:
    limits, thresholds = _limits(ticks_per_period=4, max_misses=2), Thresholds()
    thresholds.disagreed("odd", limits)
    for _ in range(4 + 8):
        thresholds.no_plan("late", limits)
    assert not thresholds.halted
    thresholds.no_plan("late", limits)
    assert thresholds.halted


def test_plans_that_come_after_their_end_count_as_missed(make_bundle: MakeBundle) -> None:
    bundle = make_bundle(Law(bias=(1.0,), horizon=3), max_misses=6)
    table = Bench(bundle, planner=Delayed(5))
    assert table.run(30).verdict is Verdict.STOPPED


# Bundles -----------------------------------------------------------------------------------------------------------------


def test_model_that_explodes_is_no_agreement(make_bundle: MakeBundle) -> None:
    """A member's infinite prediction makes the spread not a number; that is not below any threshold."""
    exploding = Law(disagreement=math.nan)
    thresholds = {"thresholds": {"disagreement": 0.2}, "disagreement_factor": 3.0}
    table = Bench(make_bundle(exploding, ROLLING, **thresholds))
    tick = table.run(2)
    assert tick.verdict is Verdict.SAFE and "disagreement is nan" in tick.reason
    assert Bench(make_bundle(exploding, **thresholds)).run(2).verdict is Verdict.PLAN, "no model, no disagreement"


def test_plan_that_leads_where_the_model_has_never_been_is_not_executed(make_bundle: MakeBundle) -> None:
    """Its members agree; the states that it predicts are far from all that they learned from."""
    ground = Ground(np.zeros((4, 0)), np.ones(4), np.zeros((1, 4)))
    known = {"ground": ground, "thresholds": {"disagreement": 0.2, "distance": 0.5}, "disagreement_factor": 4.0}
    tick = Bench(make_bundle(Law(drift=(0.0, 0.0, 0.5, 0.0)), ROLLING, **known)).run(2)
    assert tick.verdict is Verdict.SAFE and "distance from the states that its model knows is 4, allowed is 1" in tick.reason
    assert Bench(make_bundle(Law(drift=(0.0, 0.0, 0.1, 0.0)), ROLLING, **known)).run(2).verdict is Verdict.PLAN
    unlimited = {**known, "disagreement_factor": 0.0}
    assert Bench(make_bundle(Law(drift=(0.0, 0.0, 0.5, 0.0)), ROLLING, **unlimited)).run(2).verdict is Verdict.PLAN


def test_bundle_that_predicts_other_states_is_refused(make_bundle: MakeBundle) -> None:
    bundle = make_bundle()
    shape = bundle.manifest.horizon
    warm_up(bundle)
    act = bundle.act

    def narrow(*arguments: object) -> object:
        decision = act(*arguments)  # type: ignore[arg-type]
        return replace(decision, predicted=decision.predicted[:, :3])

    bundle.act = narrow  # type: ignore[assignment,method-assign]
    with pytest.raises(InputError, match=rf"predicts \({shape}, 3\)"):
        warm_up(bundle)
    table = Bench(bundle)
    assert table.run(3).verdict is Verdict.SAFE and "predict" in table.run(1).reason


# Threads -----------------------------------------------------------------------------------------------------------------


def test_rights_that_cannot_even_be_asked_for_end_the_loop_with_a_word() -> None:
    class Broken:
        def claim(self, thread_id: int) -> list[str]:
            raise RuntimeError("no such system call")

    told = threading.Event()
    loop = Loop(StepPacer(), lambda now: None, lambda error: told.set(), Broken())  # type: ignore[arg-type]
    loop.start()
    assert told.wait(10.0)


def test_thread_that_replaces_a_hanging_one_may_use_all_cores() -> None:
    """``abandon`` is called in the loop's thread, which may be bound to a core of its own."""
    background, everywhere = BackgroundThread(), os.sched_getaffinity(0)
    loop = threading.Thread(target=lambda: (os.sched_setaffinity(0, [min(everywhere)]), background.abandon()))
    loop.start()
    loop.join()
    found: list[set[int]] = []
    done = threading.Event()
    background.submit(lambda: (found.append(os.sched_getaffinity(0)), done.set()))
    assert done.wait(10.0) and found == [everywhere]
    background.close()


def test_settings_are_not_lost_between_two_ticks(make_bundle: MakeBundle) -> None:
    table = Bench(make_bundle(Law(bias=(8.0,))))
    table.run(2)
    assert isinstance(table.controller, Controller) and Settings().budget
    for scale in (0.5, 0.2):
        table.controller.offer_limits(SafetySettings(scale=scale))
    table.run(10)
    assert table.sent[-1] == pytest.approx(2.0)


def test_planner_never_keeps_a_shared_core_from_the_loop() -> None:
    """Both may be bound to one core: of equal priorities the one that runs goes on, however late the command becomes."""
    assert [Rights(priority).helper.priority for priority in (20, 2, 1, 0)] == [19, 1, 1, 0]
    assert Rights(20, (3,), True).helper.cores == (3,)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ({"safe_action": "damp", "damp_gain": -1.0}, "positive"),
        ({"safe_action": "damp", "damp_gain": [1.0, 2.0, 3.0]}, "damp_gain: 3 numbers for 1 actions"),
        ({"deceleration": [0.0, math.nan]}, "deceleration"),
    ],
)
def test_bundle_whose_safety_would_be_none_is_refused(make_bundle: MakeBundle, what: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make_bundle(**what)


@pytest.mark.parametrize("key", ["velocity_margin", "stale_after"])
def test_bundle_that_watches_nothing_is_refused(make_bundle: MakeBundle, key: str) -> None:
    content = json.loads((make_bundle().path / "bundle.json").read_text())
    content["safety"][key] = math.inf
    with pytest.raises(InputError, match=r"stale_after|gains"):
        Manifest.from_json(json.dumps(content), "bundle.json")


def test_newest_figures_are_found_in_a_ring_that_went_round() -> None:
    statistics = TickStatistics(4)
    for number in range(6):
        statistics.add(number * 1_000_000_000, float(number), math.nan, number)
    assert statistics.kinds().tolist() == [2, 3, 4, 5]
    assert statistics.compute(2).tolist() == [4.0, 5.0] and not len(statistics.compute(0))
    assert statistics.periods(2).tolist() == pytest.approx([1.0, 1.0])
