"""The rehearsal before hardware: a ready bundle in the foreign robot."""

from __future__ import annotations

import json
from pathlib import Path

from typer.testing import CliRunner

from forerun.cli.app import app


def test_a_bundle_is_rehearsed_in_the_foreign_robot(tmp_path: Path) -> None:
    told = tmp_path / "rehearsal.json"
    command = ["evaluate", "pendulum", "--engine", "mujoco", "--task", "balance", "--episodes", "1", "--json", str(told)]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    assert "episodes of 'balance' succeeded in mujoco" in result.output and "persistence" in result.output
    found = json.loads(told.read_text())
    assert found["engine"] == "mujoco" and len(found["returns"]) == 1 and found["prediction"]["trials"] == 1


def test_a_rehearsal_needs_no_bags_and_bags_need_no_engine(tmp_path: Path) -> None:
    for more in ([], [str(tmp_path), "--engine", "mujoco"]):
        result = CliRunner().invoke(app, ["evaluate", "pendulum", *more])
        assert result.exit_code != 0
        assert "needs bags" in str(result.exception) + result.output
