"""A plan starts from the state in which the robot will be when the plan's first command acts."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from forerun.control.controller import Controller
from forerun.control.delay import SendDelay, predict_forward
from forerun.control.limits import Limits
from forerun.control.loading import warm_up
from forerun.control.memory import Memory
from forerun.control.planning import InlinePlanner, Reply, Request, decide
from forerun.control.settings import Settings
from forerun.control.states import State
from forerun.control.ticks import Tick, Verdict
from forerun_models.bundle import Bundle
from forerun_sim.errors import InputError
from support.bench import PERIOD, Bench
from support.tiny_bundle import Law, Model

Make = Callable[..., Bundle]

SLIDER = {"joints": ("slider",), "actions": ("slider",), "slew": [1e6]}
STILL = Law(gain=((0.0, 0.0),), bias=(0.0,), drift=(0.0, 0.0))
"""Predicts the state from which it plans."""
INTEGRATOR = Model(a=((1, 0), (0, 1)), b=((PERIOD,), (0,)))
"""The command is a speed: exact whenever commands change."""
FREE_MASS = Model(a=((1, PERIOD), (0, 1)), b=((PERIOD**2 / 2,), (PERIOD,)))
"""The command is a force: exact where commands change on the grid."""


class Recorder(InlinePlanner):
    """Keeps what was asked; answers only while ``answers`` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.answers = True
        self.asked: list[Request] = []
        self.held: Reply | None = None

    @property
    def busy(self) -> bool:
        return self.held is not None

    def submit(self, request: Request) -> None:
        self.asked.append(request)
        self.held = decide(request)

    def reply(self, timeout: float) -> Reply | None:
        if not self.answers:
            return None
        reply, self.held = self.held, None
        return reply


class Plant:
    """A mass whose commands act ``delay`` after they were sent; ``order`` 1 takes speeds, 2 forces."""

    def __init__(self, delay: float, order: int) -> None:
        self.delay, self.order = delay, order
        self.acts, self.values = [-1e9], [0.0]

    def send(self, time: float, value: float) -> None:
        self.acts.append(time + self.delay)
        self.values.append(value)

    def state(self, time: float) -> np.ndarray:
        """[position, velocity] at ``time``, at rest in 0 before the first command."""
        position = velocity = 0.0
        ends = [*self.acts[1:], np.inf]
        for begin, end, value in zip(self.acts, ends, self.values, strict=True):
            span = min(end, time) - begin
            if value == 0.0 or span <= 0:
                position += velocity * max(span, 0.0) if begin > -1e8 else 0.0
            elif self.order == 1:
                position += value * span
            else:
                position += velocity * span + value * span**2 / 2
                velocity += value * span
        return np.array([position, velocity])


class Rig:
    """A controller and a plant on a simulated clock; random commands are sent in place of the planned ones."""

    def __init__(self, bundle: Bundle, plant: Plant, **settings: object) -> None:
        self.planner = Recorder()
        self.controller = Controller(bundle, Settings(**settings), self.planner)  # type: ignore[arg-type]
        self.plant = plant
        self.now = 10.0
        self.random = np.random.default_rng(0)

    def tick(self, age: float | None, computing: float) -> Tick:
        """One period later; with a state measured ``age`` before, or none."""
        self.now += PERIOD
        if age is not None:
            measured = self.now - age
            position, velocity = self.plant.state(measured)
            self.controller.observe(State(measured, np.array([position]), np.array([velocity]), 0))
        tick = self.controller.tick(self.now)
        # What no command of the future can change any more.
        self.true = self.plant.state(self.planner.asked[-1].start.begins)
        command = self.random.uniform(-5, 5, 1)
        self.controller.sent(self.now + computing, command)
        self.plant.send(self.now + computing, float(command[0]))
        return tick


@pytest.mark.parametrize("delay", [0.0, 0.004, 0.013, 0.02, 0.047, 0.06])
@pytest.mark.parametrize(("age", "computing"), [(0.0, 0.0), (0.003, 0.006)])
def test_predicted_state_is_the_true_one(make_bundle: Make, delay: float, age: float, computing: float) -> None:
    rig = Rig(make_bundle(STILL, INTEGRATOR, command_delay=delay, **SLIDER), Plant(delay, 1))
    for _ in range(12):
        tick = rig.tick(age, computing)
    start = rig.planner.asked[-1].start
    assert start.acts == pytest.approx(rig.plant.acts[-1], abs=1e-9)
    assert 0 <= start.delay < PERIOD and len(start.commands) == int((age + computing + delay) / PERIOD + 1e-6)
    assert tick.decision is not None
    assert tick.decision.predicted[0] == pytest.approx(rig.true, abs=1e-6)
    assert tick.ahead == pytest.approx(start.begins + PERIOD - rig.now, abs=1e-9)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_mass_under_forces_that_are_under_way_is_predicted_exactly(make_bundle: Make, steps: int) -> None:
    rig = Rig(make_bundle(STILL, FREE_MASS, command_delay=steps * PERIOD, **SLIDER), Plant(steps * PERIOD, 2))
    for _ in range(10):
        tick = rig.tick(0.0, 0.0)
    assert tick.decision is not None
    assert tick.decision.predicted[0] == pytest.approx(rig.plant.state(rig.plant.acts[-1]), abs=1e-5)


def test_prediction_stays_true_while_computing_times_change(make_bundle: Make) -> None:
    rig = Rig(make_bundle(STILL, INTEGRATOR, command_delay=0.03, **SLIDER), Plant(0.03, 1))
    for computing in rig.random.uniform(0.001, 0.012, 60):
        tick = rig.tick(0.002, float(computing))
        start = rig.planner.asked[-1].start
        assert tick.decision is not None
        assert tick.decision.predicted[0] == pytest.approx(rig.true, abs=1e-6)
    assert 0.004 < start.acts - rig.now - 0.03 < 0.009


def test_missed_states_are_bridged_by_prediction(make_bundle: Make) -> None:
    rig = Rig(make_bundle(STILL, INTEGRATOR, **SLIDER), Plant(0.0, 1))
    for _ in range(10):
        rig.tick(0.0, 0.0)
    for _ in range(2):
        tick = rig.tick(None, 0.0)
    assert len(rig.planner.asked[-1].start.commands) == 2
    assert tick.decision is not None
    assert tick.decision.predicted[0] == pytest.approx(rig.true, abs=1e-6)


def test_in_lockstep_nothing_is_left_to_compensate(make_bundle: Make) -> None:
    """The delay of the plant that training saw is the model's business: it is not counted a second time."""
    rig = Rig(make_bundle(STILL, INTEGRATOR, **SLIDER), Plant(0.0, 1))
    for _ in range(10):
        rig.tick(0.0, 0.0)
    asked = rig.planner.asked[-1]
    assert (asked.start.acts, asked.start.delay, len(asked.start.commands)) == (asked.time, 0.0, 0)


def test_without_compensation_the_newest_state_counts_as_that_of_now(make_bundle: Make) -> None:
    rig = Rig(make_bundle(STILL, INTEGRATOR, command_delay=0.05, **SLIDER), Plant(0.05, 1), compensate_delay=False)
    for _ in range(10):
        tick = rig.tick(0.003, 0.004)
    asked = rig.planner.asked[-1]
    assert (asked.start.acts, asked.start.delay, len(asked.start.commands)) == (asked.time, 0.0, 0)
    assert tick.decision is not None and tick.decision.predicted[0] == pytest.approx(rig.plant.state(rig.now - 0.003), abs=1e-6)


def test_parameter_replaces_the_delay_of_the_bundle(make_bundle: Make) -> None:
    rig = Rig(make_bundle(STILL, INTEGRATOR, command_delay=0.05, **SLIDER), Plant(0.01, 1), command_delay=0.01)
    for _ in range(10):
        rig.tick(0.0, 0.0)
    assert rig.planner.asked[-1].start.acts == pytest.approx(rig.plant.acts[-1])


def test_plan_goes_on_by_the_time_between_acting_moments(make_bundle: Make) -> None:
    rig = Rig(make_bundle(STILL, INTEGRATOR, **SLIDER), Plant(0.0, 1))
    for computing in (0.0, 0.006, 0.006, 0.006, 0.006):
        rig.tick(0.0, computing)
    times = [request.start.acts for request in rig.planner.asked]
    assert [request.elapsed for request in rig.planner.asked] == pytest.approx([0.0, *np.diff(times)])
    assert max(np.diff(times)) > PERIOD + 0.002


def test_bundle_without_a_model_compensates_a_period_at_most(make_bundle: Make) -> None:
    for delay, expected in ((0.013, 0.013), (0.05, PERIOD)):
        rig = Rig(make_bundle(STILL, command_delay=delay, **SLIDER), Plant(delay, 1))
        for _ in range(8):
            tick = rig.tick(0.0, 0.0)
        assert tick.verdict is Verdict.PLAN
        assert rig.planner.asked[-1].start.delay == pytest.approx(expected)
        assert len(rig.planner.asked[-1].start.commands) == 0


def test_prediction_that_is_not_finite_is_not_planned_from(make_bundle: Make) -> None:
    exploding = Model(a=((1e30, 0), (0, 1)), b=((1e30,), (0,)))
    table = Bench(make_bundle(replace(STILL, bias=(1.0,)), exploding, command_delay=0.05, **SLIDER))
    table.run(3, 0.0, 0.0)
    tick = table.run(4, 1.0, 0.0)
    assert tick.verdict in (Verdict.SAFE, Verdict.BRIDGED) and "predicted" in tick.reason and "not finite" in tick.reason


def _largest(bundle: Bundle, delay_steps: int, model: Model, compensate: bool) -> float:
    """Largest position of an unstable plant in two seconds, its commands acting ``delay_steps`` periods late."""
    controller = Controller(bundle, Settings(compensate_delay=compensate), InlinePlanner())
    a, b = np.array(model.a), np.array(model.b)
    state, pipe, largest, now = np.array([0.1, 0.0]), [np.zeros(1)] * delay_steps, 0.0, 10.0
    for _ in range(100):
        controller.observe(State(now, state[:1], state[1:], 0))
        command = controller.tick(now).command
        assert command is not None
        controller.sent(now, command)
        pipe.append(command)
        state = a @ state + b @ pipe.pop(0)
        largest, now = max(largest, abs(float(state[0]))), now + PERIOD
    return largest


def test_delay_topples_an_unstable_plant_unless_it_is_compensated(make_bundle: Make) -> None:
    pole = Model(a=((1.0, PERIOD), (30.0 * PERIOD, 1.0)), b=((0.0,), (PERIOD,)))
    law = Law(gain=((-400.0, -35.0),), bias=(0.0,), drift=(0.0, 0.0))
    limits = {"command_lower": [-1e3], "command_upper": [1e3]}
    bundle = make_bundle(law, pole, command_delay=3 * PERIOD, **SLIDER, **limits)
    assert _largest(bundle, 3, pole, compensate=True) < 0.3
    assert _largest(bundle, 3, pole, compensate=False) > 10.0


def test_expected_time_is_bounded_and_shrugs_off_outliers() -> None:
    delay = SendDelay(longest=0.014)
    assert delay.expected == 0.0
    for seconds in (0.005, 5.0, 0.005, -3600.0, 0.005):
        delay.add(seconds)
    assert delay.expected == 0.005
    for _ in range(60):
        delay.add(1.0)
    assert delay.expected == 0.014


def test_prediction_leaves_the_given_history_alone(make_bundle: Make) -> None:
    bundle = make_bundle(STILL, INTEGRATOR, **SLIDER)
    history = np.zeros((4, 3), np.float32)
    ahead = predict_forward(bundle, history, np.ones((2, 1), np.float32), np.full(1, 7.0, np.float32))
    assert not history.any()
    assert ahead[-1] == pytest.approx([2 * PERIOD, 0.0, 7.0]) and ahead[-3:-1, 2] == pytest.approx([1.0, 1.0])


def test_new_bundle_with_a_shorter_delay_cannot_overtake_commands_under_way(make_bundle: Make) -> None:
    bundle = make_bundle(STILL, INTEGRATOR, **SLIDER)
    memory = Memory(PERIOD, Limits.of(bundle.manifest), 4)
    memory.add_state(State(1.0, np.zeros(1), np.zeros(1), 0))
    memory.add_command(1.06, np.array([3.0]))
    memory.add_command(1.03, np.array([-4.0]))
    _, commands, rest = memory.grid.outlook(1.0 + 4 * PERIOD)
    assert rest == 0.0 and commands[-1] == pytest.approx([-4.0])


def test_clock_that_jumps_while_a_plan_is_under_way_does_no_harm(make_bundle: Make) -> None:
    rig = Rig(make_bundle(STILL, INTEGRATOR, command_delay=0.03, **SLIDER), Plant(0.03, 1))
    for _ in range(5):
        rig.tick(0.0, 0.004)
    rig.controller.sent(rig.now - 3600.0, np.zeros(1))
    rig.now += 3600.0
    for _ in range(3):
        tick = rig.tick(0.0, 0.004)
    assert tick.verdict is Verdict.PLAN and rig.planner.asked[-1].start.acts == pytest.approx(rig.now + 0.034)


# Commands between the planner's steps ------------------------------------------------------------------------------------

FAST = {"command_rate": 200.0, **SLIDER}
"""Four commands a control period of 20 ms."""


class FastRig:
    """Ticks at 200 Hz, with a state at every tick."""

    def __init__(self, bundle: Bundle) -> None:
        self.planner = Recorder()
        self.controller = Controller(bundle, Settings(), self.planner)
        self.now = 10.0
        self.sent: list[float] = []

    def run(self, ticks: int) -> list[Tick]:
        made = []
        for _ in range(ticks):
            self.now += PERIOD / 4
            self.controller.observe(State(self.now, np.zeros(1), np.zeros(1), 0))
            tick = self.controller.tick(self.now)
            assert tick.command is not None
            self.controller.sent(self.now, tick.command)
            self.sent.append(float(tick.command[0]))
            made.append(tick)
        return made


def _verdicts(ticks: Sequence[Tick]) -> list[str]:
    return [tick.verdict.value for tick in ticks]


def test_commands_are_read_between_the_steps_of_a_plan(make_bundle: Make) -> None:
    rig = FastRig(make_bundle(replace(STILL, bias=(1.0,), ramp=(0.25,)), **FAST))
    assert _verdicts(rig.run(12)) == ["plan"] * 12
    assert rig.sent == pytest.approx([1.0, 1.25, 1.5, 1.75] * 3)
    assert np.diff([request.time for request in rig.planner.asked]) == pytest.approx([PERIOD, PERIOD])


def test_history_keeps_the_models_rate(make_bundle: Make) -> None:
    rig = FastRig(make_bundle(replace(STILL, bias=(1.0,), ramp=(0.25,)), **FAST))
    rig.run(21)
    assert rig.planner.asked[-1].history[:-1, 2] == pytest.approx([1.375] * 3)


def test_slew_limit_holds_for_every_tick(make_bundle: Make) -> None:
    rig = FastRig(make_bundle(replace(STILL, bias=(8.0,)), **FAST | {"slew": [100.0]}))
    rig.run(10)
    assert np.diff([0.0, *rig.sent]) == pytest.approx([0.5] * 10)


def test_plan_that_is_late_by_some_ticks_is_missed_only_after_its_period(make_bundle: Make) -> None:
    rig = FastRig(make_bundle(replace(STILL, bias=(1.0,), ramp=(0.25,)), **FAST))
    rig.run(4)
    rig.planner.answers = False
    ticks = rig.run(6)
    assert _verdicts(ticks) == ["bridged"] * 6 and [tick.age for tick in ticks] == [1] * 4 + [2] * 2
    assert rig.sent[4:] == pytest.approx([2.0, 2.25, 2.5, 2.75, 3.0, 3.25])
    rig.planner.answers = True
    assert _verdicts(rig.run(1)) == ["plan"]


def test_planner_may_take_several_ticks(make_bundle: Make) -> None:
    """A planner that answers two ticks after it was asked is on time: its plans are made for then."""
    rig = FastRig(make_bundle(replace(STILL, bias=(1.0,), ramp=(0.25,), horizon=8), **FAST))
    verdicts = []
    for _ in range(15):
        rig.planner.answers = True
        verdicts += _verdicts(rig.run(1))
        rig.planner.answers = False
        verdicts += _verdicts(rig.run(2))
        rig.planner.answers = True
        verdicts += _verdicts(rig.run(1))
    assert verdicts[4:] == ["plan"] * 56


def test_stop_comes_after_the_same_time_at_any_command_rate(make_bundle: Make) -> None:
    rig = FastRig(make_bundle(STILL, max_misses=3, **FAST))
    rig.run(4)
    rig.planner.answers = False
    verdicts = _verdicts(rig.run(14))
    assert verdicts.count("bridged") == 12 and verdicts[-2:] in (["stopped"] * 2, ["safe"] * 2)


@pytest.mark.parametrize("rate", [30.0, 75.0, 0.0])
def test_command_rate_is_a_whole_multiple(make_bundle: Make, rate: float) -> None:
    with pytest.raises(InputError, match="command_rate must be a whole multiple of rate"):
        make_bundle(STILL, **SLIDER | {"command_rate": rate})


def test_plan_of_another_length_than_stated_is_refused(make_bundle: Make) -> None:
    short = make_bundle(STILL, horizon=9, **FAST)
    with pytest.raises(InputError, match=r"plans \(32, 1\), bundle.json says \(36, 1\)"):
        warm_up(short)
