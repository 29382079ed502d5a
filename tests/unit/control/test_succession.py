"""A bundle proves itself as a shadow before it takes over, and goes again where it disappoints."""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np
import pytest
import torch

from forerun.control.background import BackgroundThread
from forerun.control.controller import Controller
from forerun.control.live_error import LiveRows
from forerun.control.planning import InlinePlanner
from forerun.control.settings import Settings
from forerun.control.shadow import SwapSettings
from forerun.control.states import State
from forerun.control.ticks import Tick, Verdict
from forerun.grid import LiveGrid, mean_held
from forerun_models.bundle import Bundle, load
from forerun_models.export.export import Provenance, export_bundle
from forerun_sim.errors import InputError
from support import slider
from support.bench import Bench
from support.tiny_bundle import Law

MakeBundle = Callable[..., Bundle]
SWAP = SwapSettings(shadow_ticks=10, watch_ticks=40, patience=5.0)


def events(controller: Controller) -> list[tuple[str, str]]:
    """What happened since the last look."""
    taken = list(controller.succession.events)
    controller.succession.events.clear()
    return taken


def kinds(controller: Controller) -> list[str]:
    return [kind for kind, _ in events(controller)]


# With models -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> dict[float, Bundle]:
    """Bundles whose models are exact for a slider whose force is multiplied by the key."""
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("slider")
    spec = slider.robot(folder / "robot", history=3)
    recipe = slider.recipe(horizon=6, samples=16, iterations=2)
    made = {}
    for gain in (0.5, 1.0, 1.02):
        model, provenance = slider.exact_model(spec, gain), Provenance(trained_on={}, seed=0)
        made[gain] = load(export_bundle(folder / f"gain-{gain}", model, spec, recipe, slider.trials(2), provenance))
    return made


class Rail:
    """A controller moves the slider from side to side; ``gain`` multiplies its force."""

    def __init__(self, bundle: Bundle, swap: SwapSettings = SWAP, gain: float = 1.0) -> None:
        self.controller = Controller(bundle, Settings(swap=swap), InlinePlanner())
        self.gain = gain
        self.now = 5.0
        self.state = np.array([0.3, 0.0])
        self.commands = [0.0]
        self._count = 0

    def run(self, ticks: int) -> list[Tick]:
        """That many ticks."""
        return [self._tick() for _ in range(ticks)]

    def _tick(self) -> Tick:
        self._count += 1
        self.controller.set_goal([1.0 if self._count // 15 % 2 else -1.0])
        self.controller.observe(State(self.now, self.state[:1].copy(), self.state[1:].copy(), 0))
        tick = self.controller.tick(self.now)
        self.controller.sent(self.now, tick.command)
        self.controller.rehearse(tick)
        self.commands.append(float(tick.command[0]))
        self.state = slider.A @ self.state + self.gain * slider.B @ tick.command
        self.now += slider.PERIOD
        return tick


def test_better_model_takes_over_after_its_shadow(models: dict[float, Bundle]) -> None:
    rail = Rail(models[0.5])
    rail.run(20)
    rail.controller.offer(models[1.0])
    ticks = rail.run(10)
    assert rail.controller.bundle is models[0.5], "the shadow has not had its ticks"
    ticks += rail.run(15)
    assert rail.controller.bundle is models[1.0] and rail.controller.previous is models[0.5]
    assert {tick.verdict for tick in ticks} == {Verdict.PLAN}
    (shadow, started), (swap, findings) = events(rail.controller)
    assert (shadow, swap) == ("shadow", "swap") and started.startswith(models[1.0].digest)
    assert findings.startswith(models[1.0].digest) and "prediction error" in findings and "watched for 40 ticks" in findings


def test_worse_model_is_refused_with_figures(models: dict[float, Bundle]) -> None:
    rail = Rail(models[1.0])
    rail.run(20)
    rail.controller.offer(models[0.5])
    rail.run(30)
    assert rail.controller.bundle is models[1.0] and rail.controller.swaps == 0
    kind, reason = events(rail.controller)[-1]
    assert kind == "refused" and "prediction error is worse" in reason and "may be 1.1 times" in reason
    new, old = (float(word) for word in reason.split("worse: ")[1].split(" over ")[0].split(" against "))
    assert new > 0.02 and old < 1e-4


def test_model_that_is_worse_by_less_than_matters_takes_over(models: dict[float, Bundle]) -> None:
    rail = Rail(models[1.0])
    rail.controller.offer(models[1.02])
    rail.run(40)
    assert rail.controller.bundle is models[1.02]


def test_robot_that_changes_after_the_swap_gets_the_old_bundle_back(models: dict[float, Bundle]) -> None:
    rail = Rail(models[0.5], SwapSettings(shadow_ticks=10, watch_ticks=400))
    rail.controller.offer(models[1.0])
    rail.run(60)
    assert rail.controller.bundle is models[1.0]
    rail.gain = 0.5
    rail.run(80)
    assert rail.controller.bundle is models[0.5] and rail.controller.swaps == 2
    told = events(rail.controller)
    assert [kind for kind, _ in told] == ["shadow", "swap", "rollback", "refused"]
    assert told[2][1].startswith(models[0.5].digest) and "predicts worse since it took over" in told[2][1]


def test_bundle_that_was_rolled_back_stays_out_until_reset(models: dict[float, Bundle]) -> None:
    rail = Rail(models[0.5], SwapSettings(shadow_ticks=10, watch_ticks=400))
    rail.controller.offer(models[1.0])
    rail.run(40)
    rail.gain = 0.5
    rail.run(80)
    with pytest.raises(InputError, match="rolled back because it predicted worse"):
        rail.controller.offer(models[1.0])
    rail.controller.request_reset()
    rail.controller.offer(models[1.0])
    assert rail.run(1)[-1].verdict is Verdict.PLAN


def test_watch_ends(models: dict[float, Bundle]) -> None:
    rail = Rail(models[0.5])
    rail.controller.offer(models[1.0])
    rail.run(30 + SWAP.watch_ticks + 30)
    rail.gain = 0.5
    rail.run(60)
    assert rail.controller.bundle is models[1.0]
    assert "prediction error since the swap, new against old" not in rail.controller.succession.describe()


def test_robot_at_rest_tells_no_models_apart(models: dict[float, Bundle]) -> None:
    rail = Rail(models[1.0], gain=0.0)
    rail.state = np.zeros(2)
    rail.controller.offer(models[1.02])
    rail.run(40)
    assert rail.controller.bundle is models[1.02]


def test_shadow_goes_on_after_a_reset(models: dict[float, Bundle]) -> None:
    rail = Rail(models[0.5], SwapSettings(shadow_ticks=30))
    rail.run(5)
    rail.controller.offer(models[1.0])
    rail.run(20)
    rail.state += 1.0
    rail.controller.request_reset()
    rail.run(40)
    assert rail.controller.bundle is models[1.0], events(rail.controller)


def test_equal_runs_swap_at_the_same_tick_with_the_same_commands(models: dict[float, Bundle]) -> None:
    def commands() -> list[float]:
        rail = Rail(models[0.5])
        rail.controller.offer(models[1.0])
        rail.run(60)
        return rail.commands

    assert commands() == commands()


# Without models --------------------------------------------------------------------------------------------------------


def table(bundle: Bundle, **swap: float) -> Bench:
    return Bench(bundle, swap=SwapSettings(**{"shadow_ticks": 10, "patience": 2.0} | swap))


def test_shadow_moves_nothing_until_it_takes_over(make_bundle: MakeBundle) -> None:
    rig = table(make_bundle(Law(bias=(1.0,))))
    rig.run(3)
    rig.controller.offer(make_bundle(Law(bias=(3.0,))))
    rig.run(30)
    changed = int(np.argmax(np.array(rig.sent) != 1.0))
    assert 13 <= changed <= 16 and set(np.round(rig.sent, 6)) == {1.0, 3.0}
    assert "not compared: the new bundle has no model; not watched" in events(rig.controller)[-1][1]


def test_shadow_plans_with_a_carry_of_its_own_and_keeps_it(make_bundle: MakeBundle) -> None:
    class Listening(InlinePlanner):
        def submit(self, request: object) -> None:
            asked.append(request)
            super().submit(request)  # type: ignore[arg-type]

    asked: list[object] = []
    rig = Bench(make_bundle(), planner=Listening(), swap=SwapSettings(shadow_ticks=10))
    rig.run(30)
    heir = make_bundle(Law(bias=(2.0,)))
    rig.controller.offer(heir)
    rig.run(20)
    first = next(request for request in asked if request.bundle is heir)  # type: ignore[attr-defined]
    assert float(first.carry["carry_count"][0, 0]) == 10.0  # type: ignore[attr-defined]
    assert first.elapsed == pytest.approx(0.04)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("law", "words"),
    [
        (Law(gain=((0.0, 0.0, 0.0, 1e38),)), "shadow tick 1 of 10: its plan is not finite"),
        (Law(effort=30), "too slow: 1 of 1 plans took more than the 14 ms"),
        (Law(drift=(1.0, 0.0, 0.0, 0.0)), "1 of 1 plans would not have been executed, 0 of the running bundle's"),
    ],
)
def test_candidate_that_plans_badly_is_refused(make_bundle: MakeBundle, law: Law, words: str) -> None:
    rail = {"position_lower": [-2.0, -np.inf], "position_upper": [2.0, np.inf]}
    rig = table(make_bundle(Law(bias=(1.0,)), **rail))
    rig.run(3)
    rig.controller.offer(make_bundle(law, **rail))
    assert rig.run(20, 0.0, 0.0, 0.0, 1e3).verdict is Verdict.PLAN
    kind, reason = events(rig.controller)[-1]
    assert kind == "refused" and words in reason
    assert rig.controller.swaps == 0 and set(rig.sent) == {1.0}


def test_shadow_is_held_to_the_limits_of_the_running_robot(make_bundle: MakeBundle) -> None:
    narrow = {"position_lower": [-2.0, -np.inf], "position_upper": [2.0, np.inf]}
    wide = {"position_lower": [-90.0, -np.inf], "position_upper": [90.0, np.inf]}
    rig = table(make_bundle(**narrow))
    rig.run(3)
    rig.controller.offer(make_bundle(Law(drift=(1.0, 0.0, 0.0, 0.0)), **wide))
    rig.run(20)
    assert events(rig.controller)[-1][0] == "refused"


def test_newest_of_several_announcements_counts(make_bundle: MakeBundle) -> None:
    rig = table(make_bundle(Law(bias=(1.0,))))
    rig.run(3)
    for bias in (2.0, 3.0, 4.0):
        rig.controller.offer(make_bundle(Law(bias=(bias,))))
        rig.run(4)
    rig.run(15)
    assert rig.controller.swaps == 1 and rig.sent[-1] == 4.0 and not {2.0, 3.0} & set(rig.sent)
    assert kinds(rig.controller) == ["shadow", "dropped", "shadow", "dropped", "shadow", "swap"]


def test_announcing_the_running_bundle_again_changes_nothing(make_bundle: MakeBundle) -> None:
    running = make_bundle(Law(bias=(1.0,)))
    rig = table(running)
    rig.run(3)
    rig.controller.offer(load(running.path))
    rig.run(20)
    assert rig.controller.bundle is running and not events(rig.controller)


def test_rollback_returns_at_the_next_tick_and_ends_the_shadow(make_bundle: MakeBundle) -> None:
    rig = table(make_bundle(Law(bias=(1.0,))))
    rig.run(1)
    with pytest.raises(InputError, match="no earlier bundle"):
        rig.controller.rollback()
    rig.controller.offer(make_bundle(Law(bias=(2.0,))))
    rig.run(20)
    rig.controller.offer(make_bundle(Law(bias=(3.0,))))
    rig.run(3)
    rig.controller.rollback()
    rig.run(1)
    assert rig.sent[-1] == 1.0
    rig.run(30)
    assert set(rig.sent) == {1.0, 2.0}
    assert kinds(rig.controller) == ["shadow", "swap", "shadow", "dropped", "rollback"]


def test_shadow_waits_for_the_stream_and_gives_up(make_bundle: MakeBundle) -> None:
    rig = table(make_bundle(Law(bias=(1.0,))))
    rig.controller.offer(make_bundle(Law(bias=(2.0,))))
    for _ in range(90):
        rig.tick()
    assert kinds(rig.controller) == ["shadow"]
    for _ in range(20):
        rig.tick()
    kind, reason = events(rig.controller)[-1]
    assert kind == "refused" and "only 0 of 10 shadow ticks came together in 2 s" in reason


def test_shadow_waits_for_a_stopped_robot(make_bundle: MakeBundle) -> None:
    rig = table(make_bundle(Law(bias=(1.0,))))
    rig.run(2)
    rig.controller.stop.press()
    rig.controller.offer(make_bundle(Law(bias=(2.0,))))
    rig.run(300)
    assert kinds(rig.controller) == ["shadow"]
    rig.controller.stop.release()
    rig.controller.request_reset()
    rig.run(20)
    assert kinds(rig.controller) == ["swap"]


def test_candidate_may_read_a_longer_history(make_bundle: MakeBundle) -> None:
    rig = table(make_bundle(Law(bias=(1.0,))))
    rig.run(20)
    rig.controller.offer(make_bundle(Law(bias=(2.0,)), history=12))
    rig.run(20)
    assert rig.sent[-1] == 2.0


def test_candidate_whose_limits_no_longer_fit_is_refused_between_ticks(make_bundle: MakeBundle) -> None:
    rig = table(make_bundle(Law(bias=(1.0,))), shadow_ticks=0)
    rig.run(2)
    other = make_bundle(Law(bias=(2.0,)), command_lower=[5.0], command_upper=[9.0])
    rig.controller.offer(other)
    rig.run(3)
    assert rig.controller.bundle is other


# The parts -------------------------------------------------------------------------------------------------------------


def test_background_survives_a_job_that_hangs() -> None:
    background, release = BackgroundThread(), threading.Event()
    background.submit(lambda: release.wait(30))
    assert background.busy and background.result() is None and not background.hangs
    background.abandon()
    assert not background.busy
    done = threading.Event()
    background.submit(done.set)
    assert done.wait(10)
    release.set()
    background.close()


def test_rows_of_the_live_stream_are_those_of_the_bag() -> None:
    rng, period = np.random.default_rng(0), 0.02
    times, measured = np.cumsum(rng.uniform(0.004, 0.012, 400)), 0
    grid, rows, sent = LiveGrid(period, 6, 1, 1), LiveRows(period, 3), []
    for tick in range(100):
        now = 0.05 + tick * period + rng.uniform(0, 0.004)
        while times[measured] < now - 0.013:
            # The position is the time itself, so that a row says when it was.
            grid.add_state(times[measured], times[measured : measured + 1], [0.0])
            measured += 1
        sent.append((now, rng.normal()))
        grid.add_command(*sent[-1])
        rows.take(grid, now)
    windows = rows.windows(0, 60)
    assert len(windows) > 30
    moments = windows[..., 0].astype(float)
    assert np.diff(moments, axis=1) == pytest.approx(period, abs=1e-5)
    acted = np.array(sent)
    expected = mean_held(acted[:, 0], acted[:, 1:], moments[0], moments[0] + period)
    assert windows[0, :, 2] == pytest.approx(expected[:, 0], abs=1e-3)


def test_interrupted_stream_has_no_window_across_the_gap() -> None:
    grid, rows = LiveGrid(0.1, 3, 1, 1), LiveRows(0.1, 3)
    for number in [*range(10), *range(30, 40)]:
        grid.add_state(0.1 * number, [float(number)], [0.0])
        grid.add_command(0.1 * number, [float(number)])
        rows.take(grid, 0.1 * number)
    windows = rows.windows(0, 4)
    assert len(windows) and (np.diff(windows[..., 0], axis=1).round(3) == 1.0).all()
    assert (windows[..., 0].round(3) == windows[..., 2].round(3)).all()
