"""``forerun identify`` as its user meets it: keys for robot.yaml, a report, the next experiment; a killed run goes on."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from forerun.bags import load_trials, write_trials
from forerun.cli.app import app
from forerun_sim.collect import collect
from forerun_sim.spec import load_robot

FORERUN = [sys.executable, "-m", "forerun.cli.main"]
QUICK = ("--segments", "16", "--steps", "10")


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Six trials of a pendulum that is heavier and rubs more than its robot.yaml says."""
    spec = load_robot("pendulum")
    real = spec.model_copy(update={"nominal": {"mass.arm": 0.72, "coulomb.shoulder": 0.02, "delay": 0.016}})
    path = tmp_path_factory.mktemp("logs") / "bag"
    runs = collect(real, episodes=6, seed=2, steps=80, randomize=False)
    write_trials(path, runs, spec)
    runs.close()
    return path


def forerun(*args: str | Path) -> Any:
    return CliRunner().invoke(app, [*map(str, args)])


def identify(bag: Path, out: Path, *args: str | Path) -> Any:
    return forerun("identify", "pendulum", bag, "--out", out, *QUICK, *args)


def test_identify_writes_keys_a_report_and_the_next_experiment(bag: Path, tmp_path: Path) -> None:
    out, figures, following = tmp_path / "fit.yaml", tmp_path / "fit.json", tmp_path / "next"
    run = identify(bag, out, "--generations", "2", "--json", figures, "--design", following, "--design-seconds", "1")
    assert run.exit_code == 0, run.output
    result = json.loads(figures.read_text())
    assert result["complete"]
    assert result["parameters"]["mass.arm"]["value"] == pytest.approx(0.72, rel=0.1)
    low, high = result["parameters"]["mass.arm"]["interval"]
    assert low < result["parameters"]["mass.arm"]["value"] < high
    assert result["held_out"]["after"]["10"] < 0.5 * result["held_out"]["before"]["10"]
    keys = yaml.safe_load(out.read_text())
    assert keys["nominal"]["mass.arm"] == pytest.approx(0.72, rel=0.1)
    # Put into robot.yaml in the place of its own, the keys make the simulated robot the one of the logs.
    robot = tmp_path / "fitted"
    shutil.copytree(load_robot("pendulum").folder, robot)
    stated = yaml.safe_load((robot / "robot.yaml").read_text())
    (robot / "robot.yaml").write_text(yaml.safe_dump(stated | keys))
    drawn = tmp_path / "drawn"
    simulated = forerun("simulate", robot, "--episodes", "2", "--steps", "20", "--out", drawn)
    assert simulated.exit_code == 0, simulated.output
    low, high = keys["randomization"]["mass"]["arm"]["log_uniform"]
    for trial in load_trials([drawn], load_robot(robot)):
        assert low <= trial.meta["parameters"]["mass.arm"] <= high
    page = (tmp_path / "fit.html").read_text()
    assert "mass.arm" in page
    assert page.count("data:image/svg+xml") >= 5
    # The experiment is a bag whose commands can be played.
    assert f"ros2 bag play {following}" in run.stdout
    (planned,) = load_trials([following], load_robot("pendulum"))
    assert planned.duration == pytest.approx(1.0, abs=0.05)
    assert abs(planned.actions).max() > 0.05
    assert identify(bag, out).exit_code == 2  # nothing is replaced unasked
    assert not list(tmp_path.glob(".*"))


def test_a_killed_run_goes_on_and_an_interrupted_one_keeps_the_best(bag: Path, tmp_path: Path) -> None:
    out = tmp_path / "fit.yaml"
    call = [*FORERUN, "identify", "pendulum", str(bag), "--out", str(out), *QUICK, "--generations", "500"]
    state = tmp_path / ".fit.yaml.checkpoint"
    for number in (signal.SIGKILL, signal.SIGINT):
        process = subprocess.Popen(call, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        before = len(json.loads(state.read_text())["losses"]) if state.exists() else 0
        end = time.monotonic() + 120
        while time.monotonic() < end and process.poll() is None:
            if state.exists() and len(json.loads(state.read_text())["losses"]) >= before + 2:
                break
            time.sleep(0.05)
        process.send_signal(number)
        process.communicate(timeout=120)
        if number is signal.SIGKILL:
            assert not out.exists()
            assert len(json.loads(state.read_text())["losses"]) >= 2
        else:
            assert process.returncode == 130
            assert len(json.loads(state.read_text())["losses"]) >= before + 2
            assert yaml.safe_load(out.read_text())["nominal"]["mass.arm"] == pytest.approx(0.72, rel=0.15)
            assert "stopped before its end" in (tmp_path / "fit.html").read_text()


def test_what_is_wrong_is_said_by_name(bag: Path, tmp_path: Path) -> None:
    robot = tmp_path / "robot"
    robot.mkdir()
    shipped = load_robot("pendulum")
    text = (
        (shipped.folder / "robot.yaml").read_text().replace("identify: #", "identify:\n  mass.leg: { uniform: [0.1, 1.0] } #", 1)
    )
    (robot / "robot.yaml").write_text(text)
    (robot / "pendulum.urdf").write_bytes((shipped.folder / "pendulum.urdf").read_bytes())
    run = forerun("identify", robot, bag, "--out", tmp_path / "fit.yaml")
    assert run.exit_code == 2
    assert "identify.mass.leg: no such parameter" in run.stderr
    assert not (tmp_path / "fit.yaml").exists()


def test_a_fit_that_predicts_other_trials_worse_says_so_wherever_it_is_read(bag: Path, tmp_path: Path) -> None:
    # The trials held out are of the robot as its robot.yaml has it, those to learn from of a heavier one.
    spec, other = load_robot("pendulum"), tmp_path / "other"
    runs = collect(spec, episodes=2, seed=5, steps=80, randomize=False)
    write_trials(other, runs, spec)
    runs.close()
    out, figures = tmp_path / "fit.yaml", tmp_path / "fit.json"
    run = identify(bag, out, "--generations", "1", "--json", figures, "--hold-out", other)
    assert run.exit_code == 0, run.output
    assert 10 in json.loads(figures.read_text())["worse_at"]
    assert "predicted worse than before" in " ".join(run.stdout.split())
    assert (
        "predicted worse than before" in out.read_text() and "predicted worse than before" in (tmp_path / "fit.html").read_text()
    )
