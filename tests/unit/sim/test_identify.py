"""Identification: known parameters are found again, what data cannot tell is named, and a killed search goes on."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import yaml

from forerun_sim.collect import collect
from forerun_sim.errors import InputError
from forerun_sim.identify import Knows, PlayedFactory, Progress, Settings, as_yaml, design, fragment, identify
from forerun_sim.identify.fit import nominal_values, sought_of
from forerun_sim.identify.information import knowledge, step_to_fit
from forerun_sim.identify.segments import clear_of_stops, cut, yardstick
from forerun_sim.identify.simulate import Simulation
from forerun_sim.identify.unknowns import Unknown
from forerun_sim.spec import Distribution, RobotSpec, load_robot
from forerun_sim.trial import Trial

TRUTH = {"mass.arm": 0.7, "viscous.shoulder": 0.006, "coulomb.shoulder": 0.02, "delay": 0.0155}
QUICK = Settings(segments=24, steps=15, generations=4)


def pendulum(**changes: object) -> RobotSpec:
    """The shipped pendulum, its sensors exact, with keys of robot.yaml replaced; it seeks what ``TRUTH`` names."""
    spec = load_robot("pendulum")
    sought = {
        "mass.arm": Distribution(log_uniform=(0.5, 2.0), relative=True),
        "viscous.shoulder": Distribution(uniform=(0.0, 0.02)),
        "coulomb.shoulder": Distribution(uniform=(0.0, 0.05)),
        "delay": Distribution(uniform=(0.0, 0.04)),
    }
    exact = spec.sensors.model_copy(update={"position_noise": 0.0, "velocity_noise": 0.0})
    return spec.model_copy(update={"identify": sought, "sensors": exact, **changes})


def logs(spec: RobotSpec, truth: dict[str, float], episodes: int = 4, steps: int = 120, engine: str = "bullet") -> list[Trial]:
    robot = spec.model_copy(update={"nominal": truth})
    runs = collect(robot, episodes=episodes, seed=5, randomize=False, steps=steps, engine=engine)
    try:
        return [run.trial(spec) for run in runs]
    finally:
        runs.close()


def _is_an_upper_bound(told: list[Progress]) -> None:
    """What is said of the way that is left, which only gets shorter."""
    shares, left = [one.share for one in told], [one.left * one.rate for one in told[1:]]
    assert shares == sorted(shares) and told[-1].share == 1.0
    assert all(before - after >= -1e-6 for before, after in pairwise(left)) and told[-1].left == 0.0
    assert {"sensitivities", "linear steps", "told", "search", "intervals"} <= {one.stage for one in told}


@pytest.mark.parametrize("engine", ["bullet", "mujoco_urdf"])
def test_known_parameters_are_found_again_through_the_sensors_noise(engine: str) -> None:
    spec = pendulum(sensors=load_robot("pendulum").sensors)
    trials = logs(spec, TRUTH, episodes=12, steps=150, engine=engine)
    told: list[Progress] = []
    fit = identify(spec, trials[:10], trials[10:], Settings(engine, segments=80, steps=20, generations=2), tell=told.append)
    assert fit.complete
    _is_an_upper_bound(told)
    assert not fit.knowledge.open
    for name, value in TRUTH.items():
        assert fit.values[name] == pytest.approx(value, rel=0.05), name
        low, high = fit.interval(name)
        assert low - 0.5 * (high - low) < value < high + 0.5 * (high - low), name
        assert high - low < 0.15 * value, name
    assert fit.errors["after"][10] < 0.2 * fit.errors["before"][10]


def test_exact_sensors_leave_no_doubt() -> None:
    spec = pendulum()
    trials = logs(spec, TRUTH)
    fit = identify(spec, trials[:3], trials[3:], QUICK)
    for name, value in TRUTH.items():
        assert fit.values[name] == pytest.approx(value, rel=0.05), name


def test_a_robot_that_needs_its_engine_is_fitted_through_it(monkeypatch: pytest.MonkeyPatch) -> None:
    # What it cannot simulate at once (ground, free bases) goes through the engine piece by piece, to the same result.
    spec = pendulum()
    trials = logs(spec, TRUTH, steps=60)
    settings = replace(QUICK, segments=6, steps=5, generations=1)
    at_once = identify(spec, trials[:3], trials[3:], replace(settings, engine="mujoco_urdf"))
    monkeypatch.setattr("forerun_sim.identify.work.suits", lambda spec: False)
    through = identify(spec, trials[:3], trials[3:], replace(settings, engine="mujoco_urdf"))
    np.testing.assert_allclose(through.coordinates, at_once.coordinates, atol=1e-3)


def test_what_cannot_be_told_apart_and_what_never_acts_is_named_and_left() -> None:
    sought = {
        "mass.arm": Distribution(log_uniform=(0.5, 2.0), relative=True),
        "strength.shoulder": Distribution(log_uniform=(0.5, 2.0)),
        "viscous.shoulder": Distribution(log_uniform=(0.2, 5.0), relative=True),
        "coulomb.shoulder": Distribution(log_uniform=(0.2, 5.0), relative=True),
        "restitution.arm": Distribution(uniform=(0.0, 1.0)),
    }
    spec = pendulum(identify=sought)
    trials = logs(spec, {"mass.arm": 0.65})
    fit = identify(spec, trials[:3], trials[3:], QUICK)
    left = {item.name: item for item in fit.knowledge.open}
    # Twice the mass, the torque and the friction: the same motion.
    scale = {"mass.arm", "strength.shoulder", "viscous.shoulder", "coulomb.shoulder"}
    assert "restitution.arm" in left
    assert left.pop("restitution.arm").partners == ()
    assert len(left) == 1
    (item,) = left.values()
    assert item.name in scale
    assert set(item.partners) & scale
    assert set(fit.values) == scale - {item.name}


def test_a_prediction_is_what_the_sensors_report_of_the_true_plant() -> None:
    shipped = load_robot("pendulum").sensors.model_copy(update={"position_noise": 0.0, "velocity_noise": 0.0})
    difference = shipped.model_copy(update={"velocity_source": "difference", "rate": 100.0})
    truth = {"position_bias.shoulder": 0.05, "observation_delay": 0.006, "delay": 0.013, "lag.shoulder": 0.02}
    for sensors, most in ((shipped, 1e-3), (difference, 0.03)):
        spec = pendulum(sensors=sensors, nominal=truth)
        (trial,) = logs(spec, truth, episodes=1, steps=100)
        states, actions = trial.states.astype(float), trial.actions.astype(float)
        simulation = Simulation(spec, "bullet")
        for row in (20, 50):
            before, given = states[row - 15 : row + 1], actions[row - 15 : row]
            start = simulation.measured(simulation.nominal, before, given)
            whole = np.concatenate([before[:-1], start[None]])
            predicted = simulation.predict(simulation.nominal, whole, given, actions[row : row + 20])
            assert np.abs(predicted[:, 0] - states[row + 1 : row + 21, 0]).max() < most
        simulation.close()


def test_a_search_that_was_stopped_goes_on_to_the_same_result(tmp_path: Path) -> None:
    spec = pendulum()
    trials = logs(spec, TRUTH, steps=60)
    settings = replace(QUICK, segments=12, steps=10, generations=3)
    whole = identify(spec, trials[:3], trials[3:], settings)
    state = tmp_path / "state"

    def after_two_generations() -> bool:
        return state.exists() and len(json.loads(state.read_text())["losses"]) == 2

    stopped = identify(spec, trials[:3], trials[3:], settings, checkpoint=state, stopped=after_two_generations)
    assert not stopped.complete
    assert state.exists()
    assert stopped.errors["after"][10] < stopped.errors["before"][10]
    gone_on = identify(spec, trials[:3], trials[3:], settings, checkpoint=state)
    assert gone_on.complete
    assert not state.exists()
    np.testing.assert_allclose(gone_on.coordinates, whole.coordinates, atol=1e-6)


def test_the_result_does_not_depend_on_the_number_of_workers() -> None:
    spec = pendulum()
    trials = logs(spec, TRUTH, steps=60)
    settings = replace(QUICK, segments=10, steps=5, generations=1)
    one, two = (identify(spec, trials[:3], trials[3:], replace(settings, workers=workers)) for workers in (1, 2))
    np.testing.assert_allclose(one.coordinates, two.coordinates, atol=1e-9)


def test_the_fragment_makes_the_robot_that_was_found(tmp_path: Path) -> None:
    spec = pendulum()
    trials = logs(spec, TRUTH, steps=60)
    fit = identify(spec, trials[:3], trials[3:], replace(QUICK, segments=12, steps=5, generations=1))
    data = fragment(spec, fit, nominal_values(spec, "bullet"))
    read = yaml.safe_load(as_yaml(data, "found"))
    robot = RobotSpec.model_validate({**spec.model_dump(exclude={"nominal", "randomization"}), **read}).at(spec.folder)
    now = nominal_values(robot, "bullet")
    for name, value in fit.values.items():
        assert now[name] == pytest.approx(value, rel=1e-3)
    # What was not sought varies as before.
    assert robot.randomization.strength == spec.randomization.strength
    assert robot.randomization.delay is not None
    assert robot.randomization.delay.uniform is not None
    low, high = robot.randomization.delay.uniform
    assert low < fit.values["delay"] < high


def test_a_designed_experiment_tells_more_than_the_default_excitation() -> None:
    spec = pendulum()
    sought = sought_of(spec, "bullet")
    knows = Knows.nothing(sought, 1e-3, np.array([1.0, 5.0]))
    made = design(spec, "bullet", knows, seconds=2.0, candidates=12, seed=1)
    assert made.gain > made.default_gain
    assert np.prod(made.after) < np.prod(made.default)
    command = made.recording.command
    joint = spec.joints[0]
    assert joint.effort is not None
    assert joint.slew is not None
    assert np.abs(command).max() <= joint.effort
    assert np.abs(np.diff(command[:, 0])).max() <= joint.slew * spec.control.period + 1e-9
    # It can be played, and the robot then moves as expected.
    played = next(collect(spec, episodes=1, steps=len(command), randomize=False, policy=PlayedFactory(command)))
    np.testing.assert_array_equal(played.command, command)


def test_information_grows_with_sensitivity_and_shrinks_with_noise() -> None:
    rng = np.random.default_rng(0)
    slopes = rng.standard_normal((40, 5, 2, 2))
    noise = 0.1 * rng.standard_normal((40, 5, 2))
    groups = np.arange(40)
    known = knowledge(["a", "b"], slopes, noise, groups)
    # 400 numbers of unit slope and deviation 0.1: 0.1 / sqrt(400), with a little left for chance.
    assert np.sqrt(np.diag(known.covariance([0, 1]))) == pytest.approx([0.005, 0.005], rel=0.3)
    louder = knowledge(["a", "b"], slopes, 10 * noise, groups)
    assert np.trace(louder.information) < 0.05 * np.trace(known.information)
    same = knowledge(["a", "b"], np.repeat(slopes[..., :1], 2, axis=-1), noise, groups)
    assert len(same.open) == 1
    assert set(same.open[0].partners) | {same.open[0].name} == {"a", "b"}


@pytest.mark.parametrize("trials", [5, 40])
def test_intervals_hold_what_they_say_where_the_errors_of_a_trial_belong_together(trials: int) -> None:
    rng, held = np.random.default_rng(0), []
    groups = np.repeat(np.arange(trials), 6)
    for _ in range(150):
        slopes = rng.standard_normal((len(groups), 5, 3)) * [1.0, 0.5, 0.2]
        own = 0.1 * rng.standard_normal((trials, 3))  # each trial's robot is a little different
        residuals = 0.1 * rng.standard_normal((len(groups), 5)) + np.einsum("nkp,np->nk", slopes, own[groups])
        known = knowledge(["a", "b", "c"], slopes, residuals, groups)
        found = step_to_fit(slopes, residuals)
        held.append(np.abs(found) < known.quantile * np.sqrt(np.diag(known.covariance(range(3)))))
    assert 0.9 < np.mean(held) < 0.99


def test_coordinates_and_values_are_each_others_inverse() -> None:
    for unknown in (Unknown("a", 0.1, 10.0, 1.0, log=True), Unknown("b", -2.0, 1.0, 0.0)):
        for value in (unknown.low, unknown.nominal, unknown.high):
            assert unknown.value(unknown.coordinate(value)) == pytest.approx(value)
        assert unknown.value(5.0) == pytest.approx(unknown.high)


def test_segments_hold_what_was_before_and_after() -> None:
    states = np.arange(40, dtype=np.float32)[:, None] * np.ones(2, np.float32)
    trial = Trial(states, states[:, :1], 0.02, "bob")
    pieces = cut([trial], 5, 100)
    assert len(pieces) >= 4
    for before, given, actions, future in zip(pieces.before, pieces.given, pieces.actions, pieces.future, strict=True):
        assert future[0, 0] == before[-1, 0] + 1
        assert actions[0, 0] == before[-1, 0]
        assert given[-1, 0] == before[-2, 0]
    assert yardstick([trial]) == pytest.approx(states.std(axis=0))
    with pytest.raises(InputError, match="no trial has the 51 rows"):
        cut([trial], 50, 10)


def test_bad_names_and_ranges_are_refused_by_name() -> None:
    for key, distribution, told in (
        ("mass.leg", Distribution(uniform=(0.1, 1.0)), "identify.mass.leg: no such parameter"),
        ("mass.arm", Distribution(value=1.0), "identify.mass.arm: a single value"),
        ("position_noise", Distribution(uniform=(0.5, 2.0), relative=True), "its nominal value is 0"),
    ):
        with pytest.raises(InputError, match=told):
            sought_of(pendulum(identify={key: distribution}), "bullet")
    with pytest.raises(InputError, match=r"nominal\.mass\.leg"):
        nominal_values(pendulum(nominal={"mass.leg": 1.0}), "bullet")


def test_what_hits_a_stop_is_not_learned_from() -> None:
    """The second joint has no stop; where most segments are at one, they are all that there is."""
    times = np.arange(60) * 0.02
    position = np.stack([np.minimum(times, 1.0), 9.0 * times], axis=1)
    states = np.concatenate([position, np.gradient(position, 0.02, axis=0)], axis=1).astype(np.float32)
    whole = cut([Trial(states, np.zeros((60, 1), np.float32), 0.02, "any")], 5, 1000)
    stops = np.array([[-1.0, -np.inf], [1.0, np.inf]])
    clear = clear_of_stops(whole, stops, 0.02)
    assert 0 < len(clear) < len(whole)
    assert clear.future[..., 0].max() < 0.99
    assert len(clear_of_stops(whole, stops * 0.2, 0.02)) == len(whole)
