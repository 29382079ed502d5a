"""Ranges widen while an agent succeeds at their edges and narrow where it fails; settings and seed alone decide how."""

from __future__ import annotations

import json
import math
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from forerun_sim.curriculum import AutomaticRandomization, Outcome, Record, learned_randomization, run_curriculum
from forerun_sim.errors import InputError
from forerun_sim.executors import Executor, Here, Processes
from forerun_sim.plant import Plant
from forerun_sim.spec import Curriculum, RobotSpec, load_robot, validate
from support.mortal import MortalSteady, steady

Robot = Callable[..., RobotSpec]
INERTIA = 0.02 + 0.5**2


def settings(**changes: Any) -> Curriculum:
    delay = {"start": [0.0, 0.01], "widest": [0.0, 0.1], "step": 0.01}
    return validate(Curriculum, {"quantities": {"delay": delay}, "buffer": 4} | changes, "test")


def practise(state: AutomaticRandomization, works: Callable[[str, float], bool], episodes: int) -> AutomaticRandomization:
    """An agent that succeeds where ``works(quantity, value)``, and with everything that is not pinned."""
    for _ in range(episodes):
        episode = state.draw()
        pin = episode.pin
        state.learn(Outcome(episode.number, pin is None or works(pin.quantity, pin.value), exploded=False))
    return state


def test_an_edge_settles_where_the_agent_begins_to_fail() -> None:
    quantities = {
        "delay": {"start": [0.0, 0.01], "widest": [0.0, 0.1], "step": 0.01},
        "mass.pole": {"start": [1.0, 1.0], "widest": [0.2, 5.0], "step": 1.1, "relative": True, "log": True},
    }

    def works(quantity: str, value: float) -> bool:
        return value < 0.045 if quantity == "delay" else 0.5 < value < 2.0

    state = practise(AutomaticRandomization(settings(quantities=quantities), seed=3), works, 2000)
    assert state.ranges["delay"][0] == 0.0
    assert state.ranges["delay"][1] == pytest.approx(0.045, abs=0.01)
    low, high = state.ranges["mass.pole"]
    assert 0.5 / 1.1 < low < 0.5 * 1.1**2 and 2.0 / 1.1**2 < high < 2.0 * 1.1


def test_an_agent_that_always_succeeds_gets_the_widest_ranges_and_one_that_fails_gets_a_point() -> None:
    quantities = {"gravity": {"start": [9.0, 10.0], "widest": [5.0, 15.0]}}
    wide = practise(AutomaticRandomization(settings(quantities=quantities), seed=0), lambda name, value: True, 400)
    assert wide.ranges == {"gravity": (5.0, 15.0)} and wide.entropy == 0.0
    none = practise(AutomaticRandomization(settings(quantities=quantities), seed=0), lambda name, value: False, 400)
    low, high = none.ranges["gravity"]
    assert low == high and none.entropy < wide.entropy - 5


@given(
    st.lists(st.booleans(), min_size=1, max_size=300),
    st.integers(0, 2**31),
    st.booleans(),
    st.floats(0.01, 3.0),
    st.sampled_from([1, 3]),
)
def test_a_range_never_leaves_the_widest_nor_turns_round(
    outcomes: list[bool], seed: int, log: bool, step: float, buffer: int
) -> None:
    quantity = {"start": [1.0, 1.5], "widest": [0.5, 2.0], "step": 1.0 + step if log else step, "log": log}
    state = AutomaticRandomization(settings(quantities={"payload": quantity}, buffer=buffer), seed)
    for success in outcomes:
        state.learn(Outcome(state.draw().number, success, exploded=False))
        low, high = state.ranges["payload"]
        assert 0.5 <= low <= high <= 2.0
        assert state.entropy <= 0.0


def test_between_the_thresholds_an_edge_stays_and_a_buffer_begins_anew() -> None:
    state = AutomaticRandomization(settings(thresholds=[0.25, 0.75], buffer=4), seed=0)
    for success in (True, False, True, False, False, True, False, True):
        state.learn(Outcome(state.draw().number, success, exploded=False))
    assert state.ranges["delay"] == (0.0, 0.01)


def test_what_was_pinned_to_an_edge_that_has_moved_does_not_count() -> None:
    state = AutomaticRandomization(settings(buffer=1), seed=0)
    drawn = [state.draw() for _ in range(3)]  # all at the first edge
    for episode in drawn:
        state.learn(Outcome(episode.number, success=True, exploded=False))
    assert state.ranges["delay"] == (0.0, 0.02)


def test_a_restored_state_goes_on_as_the_one_that_was_saved() -> None:
    def works(quantity: str, value: float) -> bool:
        return math.sin(1e4 * value) > 0

    whole = AutomaticRandomization(settings(pinned=0.7), seed=5)
    practise(whole, works, 57)
    whole.draw()
    saved = json.loads(json.dumps(whole.as_json()))
    again = AutomaticRandomization.restored(settings(pinned=0.7), 5, saved)
    for state in (whole, again):
        state.learn(Outcome(57, True, exploded=False))
        practise(state, works, 80)
    assert again.as_json() == whole.as_json()


@pytest.fixture
def spinner(bob: Robot) -> RobotSpec:
    """Bob without weight, to reach a speed under a command of 1 N m in 0.1 s: only where the delay is below 0.04 s it does."""
    task = {"duration": 0.1, "hold": 0.0, "success": [{"feature": "velocity:swing", "bounds": [0.0599 / INERTIA, 100.0]}]}
    return bob(randomization={"gravity": {"value": 0.0}, "mass": {"value": 1.0, "relative": True}}, tasks={"spin": task})


@pytest.mark.parametrize("executor", [Here(), Processes(2)], ids=["here", "processes"])
def test_in_simulation_the_edge_settles_where_physics_says(spinner: RobotSpec, tmp_path: Path, executor: Executor) -> None:
    """The speed after 0.1 s is (0.1 s - delay) * 1 N m / inertia."""
    state = run_curriculum(spinner, settings(buffer=2), steady, folder=tmp_path / "run", episodes=30, seed=1, executor=executor)
    assert state.ranges["delay"][1] == pytest.approx(0.04, abs=0.011)
    rows = Record(tmp_path / "run").rows()
    assert [row.episode for row in rows] == list(range(30))
    assert all(row.success == (row.value is not None and row.value <= 0.04 + 1e-9) for row in rows)
    here = tmp_path / "other"
    run_curriculum(spinner, settings(buffer=2), steady, folder=here, episodes=30, seed=1)
    assert (here / "history.jsonl").read_bytes() == (tmp_path / "run" / "history.jsonl").read_bytes()


def test_a_curriculum_killed_and_resumed_is_the_one_that_ran_through(
    spinner: RobotSpec, tmp_path: Path, repository: Path
) -> None:
    whole, killed, count = tmp_path / "whole", tmp_path / "killed", tmp_path / "count"
    count.mkdir()
    run_curriculum(spinner, settings(buffer=2), steady, folder=whole, episodes=25, seed=1)
    code = f"""
import sys
sys.path.insert(0, {str(repository / "tests")!r})
from pathlib import Path
from forerun_sim.curriculum import run_curriculum
from forerun_sim.spec import Curriculum, load_robot
from support.mortal import MortalSteady
curriculum = Curriculum.model_validate({settings(buffer=2).model_dump()!r})
agent = MortalSteady(Path({str(count)!r}), 11)
run_curriculum(load_robot({str(spinner.folder)!r}), curriculum, agent, folder=Path({str(killed)!r}), episodes=25, seed=1)
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == -signal.SIGKILL
    assert len(Record(killed).rows()) == 11
    with (killed / "history.jsonl").open("a") as file:
        file.write('{"episode": 11, "quan')  # the line that was being written
    agent = MortalSteady(count, -1)
    run_curriculum(spinner, settings(buffer=2), agent, folder=killed, episodes=18, seed=1, resume=True)
    run_curriculum(spinner, settings(buffer=2), agent, folder=killed, episodes=25, seed=1, resume=True)
    for name in ("history.jsonl", "state.json"):
        assert (killed / name).read_bytes() == (whole / name).read_bytes()


def test_another_curriculum_robot_or_seed_does_not_resume(spinner: RobotSpec, tmp_path: Path) -> None:
    run = {"folder": tmp_path / "run", "episodes": 2}
    run_curriculum(spinner, settings(), steady, seed=1, **run)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="a curriculum is there already"):
        run_curriculum(spinner, settings(), steady, seed=1, **run)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="began with another seed"):
        run_curriculum(spinner, settings(), steady, seed=2, resume=True, **run)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="began with another settings"):
        run_curriculum(spinner, settings(buffer=5), steady, seed=1, resume=True, **run)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="no curriculum to resume"):
        run_curriculum(spinner, settings(), steady, folder=tmp_path / "none", episodes=2, resume=True)
    (tmp_path / "run" / "state.json").write_text("{}")
    with pytest.raises(InputError, match="is no state of a curriculum"):
        run_curriculum(spinner, settings(), steady, seed=1, resume=True, **run)  # type: ignore[arg-type]


def test_what_was_learned_is_a_randomization_of_robot_yaml(spinner: RobotSpec) -> None:
    quantities = {
        "mass.arm": {"start": [0.9, 1.1], "widest": [0.5, 2.0], "relative": True},
        "com.arm": {"start": [-0.01, 0.01], "widest": [-0.05, 0.05]},
        "lag": {"start": [0.0, 0.0], "widest": [0.0, 0.1]},
    }
    learned = learned_randomization(spinner, AutomaticRandomization(settings(quantities=quantities), seed=0))
    text = yaml.safe_dump(learned.model_dump(mode="json", exclude_none=True, exclude_defaults=True))
    robot = yaml.safe_load((spinner.folder / "robot.yaml").read_text())
    (spinner.folder / "robot.yaml").write_text(yaml.safe_dump(robot | {"randomization": yaml.safe_load(text)}))
    again = load_robot(spinner.folder)
    assert again.randomization == learned
    plant = Plant(again, seed=4)
    plant.reset(3)
    drawn = plant.parameters
    assert 0.9 <= drawn["mass.arm"] <= 1.1 and 0 < abs(drawn["com.arm.x"]) <= 0.01
    assert drawn["lag.swing"] == 0.0 and drawn["gravity"] == 0.0


@pytest.mark.parametrize(
    ("quantities", "said"),
    [
        ({"colour": {"start": [0, 0], "widest": [0, 1]}}, "no such quantity"),
        ({"delay.swing": {"start": [0, 0], "widest": [0, 1]}}, "one for the whole robot"),
        ({"delay": {"start": [0, 2], "widest": [0, 1]}}, "is not within widest"),
        ({"delay": {"start": [0, 1], "widest": [0, 1]}}, "start is widest already"),
        ({"mass": {"start": [1, 1], "widest": [0, 2], "log": True}}, "must be above 0"),
        ({"inertia": {"start": [1, 1], "widest": [0.5, 2]}}, "relative: true"),
        ({"mass": {"start": [1, 1], "widest": [1, 2]}, "mass.arm": {"start": [1, 1], "widest": [1, 2]}}, "is there already"),
    ],
)
def test_a_wrong_curriculum_is_refused_by_name(quantities: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        settings(quantities=quantities)


def test_a_quantity_that_the_robot_lacks_and_a_task_without_success_are_refused(
    spinner: RobotSpec, bob: Robot, tmp_path: Path
) -> None:
    lacking = settings(quantities={"mass.leg": {"start": [1, 1], "widest": [1, 2]}})
    with pytest.raises(InputError, match=r"mass\.leg: the robot has: mass\.arm"):
        run_curriculum(spinner, lacking, steady, folder=tmp_path / "run", episodes=1)
    with pytest.raises(InputError, match="does not say what success is"):
        run_curriculum(bob(tasks={"idle": {}}), settings(), steady, folder=tmp_path / "run", episodes=1)
    assert not (tmp_path / "run").exists()


def test_a_curriculum_may_widen_where_episodes_begin() -> None:
    spec = load_robot("cartpole")
    quantities = {"initial_position.hinge": {"start": [-0.1, 0.1], "widest": [-3.2, 3.2], "step": 0.5}}
    state = AutomaticRandomization(settings(quantities=quantities, buffer=1), seed=1)
    practise(state, lambda quantity, value: True, 8)
    low, high = state.ranges["initial_position.hinge"]
    assert low < -0.5 and high > 0.5
    plant = Plant(spec, randomization=learned_randomization(spec, state))
    try:
        begun = []
        for episode in range(30):
            plant.reset(episode)
            begun.append(plant.parameters["initial_position.hinge"])
            assert abs(plant.parameters["initial_position.slider"]) <= 0.2, "the slider begins as the task says"
        assert min(begun) < -0.3 and max(begun) > 0.3 and all(low <= place <= high for place in begun)
    finally:
        plant.close()
    with pytest.raises(InputError, match=r"initial_velocity.knee: the robot has: initial_velocity.slider"):
        learned_randomization(
            spec, AutomaticRandomization(settings(quantities={"initial_velocity.knee": {"start": [0, 0], "widest": [-1, 1]}}), 0)
        )
