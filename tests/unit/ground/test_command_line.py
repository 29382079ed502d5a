"""The command line as its user meets it: help with an example, exit codes, no tracebacks, nothing half-written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from forerun.cli.app import COMMANDS, app, load_command
from forerun.cli.common import Lines

FORERUN = [sys.executable, "-m", "forerun.cli.main"]


def forerun(*args: str | Path, **settings: Any) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*FORERUN, *map(str, args)], capture_output=True, text=True, check=False, **settings)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_shows_an_example_that_names_the_command(name: str) -> None:
    children = getattr(load_command(name), "commands", None)
    for path in [[name, child] for child in children] if children else [[name]]:
        shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "200"})
        assert shown.exit_code == 0
        example = shown.output.partition("Example:")[2]
        assert f"forerun {' '.join(path)}" in " ".join(example.split())


def test_help_lists_every_command_without_loading_it() -> None:
    code = "import sys\nfrom forerun.cli.main import main\ntry:\n    main()\nfinally:\n    print('loaded', *sys.modules)"
    run = subprocess.run([sys.executable, "-c", code, "--help"], capture_output=True, text=True, check=True)
    shown, _, loaded = run.stdout.rpartition("loaded ")
    assert all(name in shown for name in COMMANDS)
    assert {"torch", "pybullet", "mujoco", "matplotlib", "rosbags", "rclpy"}.isdisjoint(loaded.split())


def test_an_unknown_command_is_bad_input_and_the_right_one_is_suggested() -> None:
    shown = CliRunner().invoke(app, ["simulat"])
    assert shown.exit_code == 2
    assert "simulate" in shown.stderr


def test_bad_input_ends_with_code_2_and_one_line(tmp_path: Path) -> None:
    run = forerun("inspect", tmp_path / "nowhere")
    assert run.returncode == 2
    assert run.stdout == ""
    assert run.stderr.splitlines()[-1].startswith(f"forerun: {tmp_path / 'nowhere'}: no such file")
    assert "Traceback" not in run.stderr


def test_a_full_disk_ends_with_code_1_and_leaves_nothing(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)], capture_output=True, check=False)
    if mount.returncode:
        pytest.skip("only root may mount the small disk that this test fills")
    try:
        (disk / "kept").write_bytes(b"before")
        run = forerun("simulate", "cartpole", "--episodes", "40", "--out", disk / "bag")
        assert run.returncode == 1
        assert f"{disk / 'bag'}: the disk is full" in run.stderr
        assert "Traceback" not in run.stderr
        assert {path.name: path.read_bytes() for path in disk.iterdir()} == {"kept": b"before"}
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def test_ctrl_c_ends_with_code_130_and_leaves_nothing(tmp_path: Path) -> None:
    command = [*FORERUN, "simulate", "cartpole", "--episodes", "100000", "--out", str(tmp_path / "bag")]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    # The temporary beside the target appears when the writing begins.
    while not any(tmp_path.iterdir()):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    # Python ends itself by the signal where the interrupt met an import under way; shells call both 130.
    assert process.returncode in (130, -signal.SIGINT)
    assert "forerun: interrupted" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []


def test_a_machine_without_the_command_lines_packages_is_told_what_to_install() -> None:
    code = "import sys; sys.modules['typer'] = None\nfrom forerun.cli.main import main\nmain()"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "pip install" in run.stderr
    assert "Traceback" not in run.stderr


def test_simulate_writes_a_bag_that_inspect_describes(tmp_path: Path) -> None:
    bag, report = tmp_path / "bag", tmp_path / "bag.json"
    made = forerun("simulate", "cartpole", "--episodes", "3", "--steps", "60", "--out", bag, "--json", "-")
    assert made.returncode == 0, made.stderr
    result = json.loads(made.stdout)
    assert (result["trials"], result["steps"]) == (3, 180)
    seen = forerun("inspect", bag, "--robot", "cartpole", "--json", report)
    assert seen.returncode == 0, seen.stderr
    content = json.loads(report.read_text())
    assert content["kind"] == "bag"
    assert [trial["rows"] for trial in content["trials"]] == [60, 60, 60]
    assert all(trial["simulated"] for trial in content["trials"])


def test_the_same_seed_gives_the_same_trials_whatever_the_number_of_workers(tmp_path: Path) -> None:
    from forerun.bags import load_trials
    from forerun_sim.spec import load_robot

    digests = []
    for workers in ("1", "2"):
        bag = tmp_path / workers
        args = ("simulate", "pendulum", "--episodes", "4", "--steps", "40", "--seed", "7", "--workers", workers, "--out", bag)
        assert forerun(*args).returncode == 0
        digests.append([trial.digest() for trial in load_trials([bag], load_robot("pendulum"))])
    assert digests[0] == digests[1]
    assert len(set(digests[0])) == 4


def test_a_bag_that_exists_is_not_replaced_unasked(tmp_path: Path) -> None:
    bag = tmp_path / "bag"
    bag.mkdir()
    (bag / "precious").write_text("data")
    run = forerun("simulate", "cartpole", "--episodes", "1", "--steps", "10", "--out", bag)
    assert run.returncode == 2
    assert (bag / "precious").read_text() == "data"


def test_a_shipped_robot_and_a_robot_anywhere_are_inspected_alike(repository: Path) -> None:
    runner = CliRunner()
    by_name, by_path = (
        runner.invoke(app, ["inspect", robot, "--json", "-"], env=dict(os.environ))
        for robot in ("pendulum", str(repository / "sim/robots/pendulum/robot.yaml"))
    )
    assert by_name.exit_code == by_path.exit_code == 0
    assert json.loads(by_name.stdout) == json.loads(by_path.stdout)
    assert json.loads(by_name.stdout)["name"] == "pendulum"


def test_a_log_of_long_work_tells_how_far_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    move = Lines("training", None, every=30.0, clock=lambda: now[0])
    for epoch in range(1, 81):
        now[0] += 1.0
        move(done=epoch, total=80, note=f"error {100 - epoch}")
    assert capsys.readouterr().err.splitlines() == [
        "training: 30 of 80 in 30 s, error 70",
        "training: 60 of 80 in 60 s, error 40",
    ]
