"""`forerun watch` beside a real simulator and controller, and where there is nobody."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

from typer.testing import CliRunner

from forerun.cli.app import app
from support.processes import Processes
from support.tiny_bundle import Law, tiny_bundle

from .conftest import CART

WATCH = ["watch", "--once", "--seconds", "3"]


def test_the_live_state_of_a_controller_and_its_robot_in_a_namespace(processes: Processes, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "bundle", Law(bias=(1.0,), drift=(0.01, 0.0, 0.0, 0.0)), CART)
    inside = ("-r", "__ns:=/lab")
    processes.node("simulator", *inside, robot="cartpole")
    node = processes.node("controller", *inside, bundle=str(bundle), autostart=True, safety__scale=0.5)
    node.wait_for("bundle ")
    out = tmp_path / "view.json"
    found = {}
    for _ in range(5):  # a busy machine takes its time to find the others
        shown = CliRunner().invoke(app, [*WATCH, "--namespace", "lab", "--json", str(out)], env={"COLUMNS": "200"})
        found = json.loads(out.read_text())
        if found["prediction"] is not None:
            break
    assert shown.exit_code == 0, shown.output
    parts = found["controller"]["parts"]
    assert found["controller"]["name"] == "lab/controller" and set(parts) == {"control", "timing", "states", "bundle"}
    assert parts["control"]["values"]["safety.scale"] == 0.5
    assert found["states"]["rate"] > 5 and found["commands"]["rate"] > 5
    assert found["prediction"]["plans"] > 0 and found["missing"] == []
    assert "scale 0.5" in shown.output and "steps ahead off by" in shown.output
    for _ in range(5):
        other = CliRunner().invoke(app, ["watch", "--once", "--seconds", "2.5"], env={"COLUMNS": "200"})
        if "--namespace /lab" in other.output:
            break
    assert other.exit_code == 1 and "--namespace /lab" in other.output


def test_in_a_terminal_ctrl_c_is_the_regular_end_and_silence_is_explained(domain: int) -> None:
    ours, theirs = pty.openpty()
    command = [sys.executable, "-m", "forerun.cli.main", "watch"]
    process = subprocess.Popen(command, stdout=theirs, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL, text=True)
    os.close(theirs)
    shown, deadline = "", time.monotonic() + 30
    while "nothing is heard" not in shown:
        assert time.monotonic() < deadline, shown
        shown += os.read(ours, 4096).decode(errors="replace")
    process.send_signal(signal.SIGINT)
    try:
        while os.read(ours, 4096):
            pass
    except OSError:
        pass  # how a terminal ends
    assert process.wait(30) == 0
    assert process.stderr is not None and process.stderr.read() == ""
    os.close(ours)
    assert f"ROS_DOMAIN_ID {domain}" in " ".join(shown.split())
