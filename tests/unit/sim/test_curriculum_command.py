"""`forerun curriculum` with a real bundle in simulation; `forerun simulate` on what it drew and on physics that explodes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from forerun.cli.app import app
from forerun.control.agent import BundleAgent
from forerun.report.curriculum import draw_curriculum
from forerun_models.bundle import BundleError
from forerun_sim.collect import collect
from forerun_sim.curriculum import AutomaticRandomization, Outcome, Row
from forerun_sim.spec import Curriculum, RobotSpec, load_robot
from support.tiny_bundle import Body, Law, tiny_bundle

Robot = Callable[..., RobotSpec]
TASK = {
    "duration": 1.6,
    "hold": 0.2,
    "initial_position": {"swing": {"value": 0.4}},
    "success": [{"feature": "position:swing", "bounds": [-0.06, 0.06]}, {"feature": "velocity:swing", "bounds": [-0.3, 0.3]}],
}
CURRICULUM = {"quantities": {"delay": {"start": [0.0, 0.0], "widest": [0.0, 0.6], "step": 0.1}}, "buffer": 1, "ahead": 2}


@pytest.fixture
def damped(bob: Robot) -> RobotSpec:
    """Bob, to be brought to rest."""
    return bob(tasks={"rest": TASK}, curriculum=CURRICULUM)


@pytest.fixture
def damper(tmp_path: Path) -> Path:
    """A bundle that brakes: it damps bob's swing, but drives it on where its command is half a swing late."""
    law = Law(gain=((0.0, -1.5),), bias=(0.0,), drift=(0.0, 0.0))
    return tiny_bundle(tmp_path / "damper", law, Body("bob", "rest", ("swing",), ("swing",)))


def test_the_command_finds_the_delay_that_a_bundle_bears_and_resumes(damped: RobotSpec, damper: Path, tmp_path: Path) -> None:
    def run(out: str, episodes: int, *more: str) -> dict[str, object]:
        args = ["curriculum", str(damped.folder), "--bundle", str(damper), "--out", str(tmp_path / out), "--json", "-"]
        done = CliRunner().invoke(app, [*args, "--episodes", str(episodes), *more])
        assert done.exit_code == 0, done.stderr
        return dict(json.loads(done.stdout))

    whole = run("whole", 14)
    low, high = whole["ranges"]["delay"]  # type: ignore[index]
    assert low == 0.0 and 0.1 <= high <= 0.4
    run("parts", 5)
    assert run("parts", 14, "--resume")["ranges"] == whole["ranges"]
    assert (tmp_path / "parts" / "history.jsonl").read_bytes() == (tmp_path / "whole" / "history.jsonl").read_bytes()
    fragment = yaml.safe_load((tmp_path / "whole" / "randomization.yaml").read_text())
    robot = yaml.safe_load((damped.folder / "robot.yaml").read_text())
    (damped.folder / "robot.yaml").write_text(yaml.safe_dump(robot | fragment))
    assert load_robot(damped.folder).randomization.delay is not None
    assert (tmp_path / "whole" / "curriculum.png").read_bytes().startswith(b"\x89PNG")
    assert "<svg" in (tmp_path / "whole" / "curriculum.html").read_text()


def test_the_command_says_what_a_curriculum_is_where_the_robot_has_none(bob: Robot, damper: Path, tmp_path: Path) -> None:
    args = ["curriculum", str(bob(tasks={"rest": TASK}).folder), "--bundle", str(damper), "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(app, args)
    assert done.exit_code == 2 and "has no key 'curriculum'" in done.stderr
    assert not (tmp_path / "out").exists()


def test_a_bundle_decides_the_same_in_every_episode_of_the_same_number(damped: RobotSpec, damper: Path) -> None:
    agent = BundleAgent(damper)
    lossy = damped.model_copy(update={"sensors": damped.sensors.model_copy(update={"dropout": 0.3})})
    runs = [
        list(collect(lossy, episodes=2, seed=1, steps=40, initial="task", policy=agent, workers=workers)) for workers in (1, 2)
    ]
    for one, other in zip(*runs, strict=True):
        assert np.array_equal(one.command, other.command) and np.array_equal(one.position, other.position)
    assert np.abs(runs[0][0].command).max() > 0.1
    with pytest.raises(BundleError):
        next(collect(load_robot("pendulum"), episodes=1, steps=5, policy=agent))


def test_a_drawn_curriculum_is_the_same_file_every_time(tmp_path: Path) -> None:
    settings = Curriculum.model_validate(CURRICULUM)
    state, rows = AutomaticRandomization(settings, 0), []
    for number in range(30):
        state.draw()
        episode = state.learn(Outcome(number, number % 3 > 0, exploded=False))
        assert episode.pin is not None
        pinned = (episode.pin.quantity, episode.pin.side, episode.pin.value)
        rows.append(Row(number, *pinned, number % 3 > 0, False, state.entropy, dict(state.ranges)))
    pages = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        page, picture = draw_curriculum(rows, settings, "bob & co", tmp_path / name)
        pages.append(page.read_text())
        assert picture.stat().st_size > 1000
    assert pages[0] == pages[1] and "bob &amp; co" in pages[0]


@pytest.fixture
def stiff(bob: Robot) -> RobotSpec:
    """Bob as a position servo whose gain may be drawn far too high for the physics rate, beside much that does no harm."""
    joints = [{"name": "swing", "type": "revolute", "interface": "position", "position": [-3.0, 3.0]}]
    varied = {
        "servo_damping": {"log_uniform": [1.0, 1e7]},
        "mass": {"uniform": [0.8, 1.2], "relative": True},
        "gravity": {"uniform": [9.0, 10.0]},
        "position_noise": {"uniform": [0.0, 0.01]},
    }
    return bob(
        type="revolute", joints=joints, actuators={"stiffness": {"swing": 30.0}, "damping": {"swing": 1.0}}, randomization=varied
    )


def test_simulate_says_what_was_drawn_and_what_explodes(stiff: RobotSpec, tmp_path: Path) -> None:
    args = ["simulate", str(stiff.folder), "--episodes", "60", "--steps", "30", "--out", str(tmp_path / "bag")]
    done = CliRunner().invoke(app, [*args, "--print-parameters", "--json", str(tmp_path / "bag.json")], env={"COLUMNS": "200"})
    assert done.exit_code == 0, done.output
    result = json.loads((tmp_path / "bag.json").read_text())
    assert 5 < len(result["discarded"]) < 55 and result["trials"] == 60 - len(result["discarded"])
    assert [one["name"] for one in result["suspects"]] == ["servo_damping.swing"]
    assert result["suspects"][0]["exploded"] > 10 * result["suspects"][0]["whole"]
    assert 0.8 <= result["sampled"]["mass.arm"]["min"] < result["sampled"]["mass.arm"]["mean"] < 1.2
    shown = " ".join(done.stdout.split())
    assert "of the episodes exploded" in shown and "servo_damping.swing was" in shown
    assert "mass.arm 0.8" in shown and "the same in all 60 episodes" in shown


def test_simulate_writes_no_bag_when_every_episode_explodes(stiff: RobotSpec, tmp_path: Path) -> None:
    data = yaml.safe_load((stiff.folder / "robot.yaml").read_text())
    data["randomization"]["servo_damping"] = {"value": 1e8}
    (stiff.folder / "robot.yaml").write_text(yaml.safe_dump(data))
    done = CliRunner().invoke(app, ["simulate", str(stiff.folder), "--episodes", "5", "--out", str(tmp_path / "out" / "bag")])
    assert done.exit_code == 1 and "no trial is left to write: 100% of the episodes exploded" in done.stderr
    assert not any((tmp_path / "out").iterdir())


def test_a_quantity_is_no_suspect_by_accident() -> None:
    """A hundred quantities that have nothing to do with the explosions: none is suspected."""
    from forerun_sim.collect import Sampled

    rng, sampled = np.random.default_rng(0), Sampled()
    for episode in range(300):
        values = {f"q{k}": float(value) for k, value in enumerate(rng.random(100))}
        sampled.add(values | {"bad": rng.random() + (episode % 10 == 0)}, exploded=episode % 10 == 0)
    assert [one.name for one in sampled.suspects()] == ["bad"]
    assert (sampled.episodes, sampled.exploded) == (300, 30)
