"""The whole loop through the command line, with real nodes over DDS, on a small scale."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytest.importorskip("rclpy", reason="no rclpy here: source a ROS 2 or install the extra [ros]")

_RECIPE = {
    "robot": "pendulum",
    "task": "swingup",
    "collection": {"episodes": 16, "steps": 100},
    "model": {"members": 3, "elites": 2, "hidden": 16, "layers": 1},
    "training": {"steps_per_epoch": 20, "phases": [{"epochs": 2, "horizon": 1}, {"epochs": 2, "horizon": 5}]},
    "finetuning": {
        # Any verdict but this one would depend on luck at this scale; what is shown here is that the loop closes.
        "promote_below": 10.0,
        "forget_below": 10.0,
        "coverage": [0.0, 1.0],
        "control": {"episodes": 0},
        "training": {"steps_per_epoch": 10, "phases": [{"epochs": 2, "horizon": 5}], "holdout": 0.3, "validation_horizon": 10},
    },
    "planner": {"horizon": 12, "samples": 16, "iterations": 2, "elites": 4},
}


@pytest.mark.xdist_group("ros")
def test_the_demo_closes_the_loop(tmp_path: Path, repository: Path) -> None:
    robot = Path(shutil.copytree(repository / "sim" / "robots" / "pendulum", tmp_path / "pendulum"))
    spec = yaml.safe_load((robot / "robot.yaml").read_text())
    for task in spec["tasks"].values():
        task["duration"] = 2.5
    (robot / "robot.yaml").write_text(yaml.safe_dump(spec))
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(yaml.safe_dump(_RECIPE))
    out = tmp_path / "out"
    command = [sys.executable, "-m", "forerun.cli.main", "demo", "--robot", str(robot), "--recipe", str(recipe)]
    domain = str(101 + os.getpid() % 100)
    done = subprocess.run(
        [*command, "--episodes", "3", "--out", str(out)],
        capture_output=True,
        text=True,
        timeout=280,
        env=os.environ | {"ROS_DOMAIN_ID": domain, "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"},
    )
    assert done.returncode == 0, done.stderr
    report = Path(done.stdout.strip().splitlines()[-1])
    assert report == out / "report.html"
    summary = json.loads((out / "report.json").read_text())
    assert [len(summary["episodes"][side]) for side in ("before", "after")] == [3, 3]
    assert summary["verdict"]["promoted"] and all(check["passed"] for check in summary["verdict"]["checks"])
    assert summary["ticks"]["swaps"] == 1
    assert summary["ticks"]["count"] > 6 * 2.5 * 50
    steps = summary["settings"]["hot swap"]
    assert steps["largest_step_of_slew"] <= 1.0 + 1e-6
    assert set(summary["k_step"]) == {"simulated model", "fine-tuned model"}
    tuned = json.loads((out / "bundle_tuned" / "bundle.json").read_text())
    first = json.loads((out / "verdict.json").read_text())
    assert tuned["parent"] == first["parent"]
    assert tuned["trained_on"]["bags"] == [str(out / "bag_before")]
    log = (out / "logs" / "controller.log").read_text()
    assert "Traceback" not in log


def test_a_folder_that_is_no_demo_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    command = [sys.executable, "-m", "forerun.cli.main", "demo", "--out", str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2
    assert "is not empty and no earlier demo made it" in done.stderr
    assert (tmp_path / "thesis.tex").read_text() == "years of work"
