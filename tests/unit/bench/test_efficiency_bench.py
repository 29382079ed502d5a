"""What `forerun bench efficiency` says without dm_control, and a short run with it."""

from __future__ import annotations

from pathlib import Path

import pytest

from forerun.bench import efficiency
from forerun.bench.records import Options, Unavailable
from forerun_models.agents.registry import settings_of


def test_without_dm_control_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(efficiency, "find_spec", lambda name: None)
    with pytest.raises(Unavailable, match="pip install dm_control"):
        efficiency.measure(Options((0,), tmp_path, tmp_path))


def test_the_recipe_fits_both_kinds_of_reward() -> None:
    settings = settings_of("mpc", efficiency.RECIPE)
    assert settings.model_dump()["value"] is not None
    assert {task.known for task in efficiency.TASKS.values()} == {True, False}


def test_a_run_goes_on_where_it_was_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("dm_control")
    monkeypatch.setattr(efficiency, "TASKS", {"short": efficiency.Task("cartpole-swingup", steps=400)})
    monkeypatch.setattr(efficiency, "EVALUATED", 1)
    options = Options((0,), tmp_path, tmp_path, kept=tmp_path / "kept")
    first = efficiency.measure(options).rows
    assert efficiency.measure(options).rows == first
    assert [(row["seed"], row["env_steps"], row["kind"]) for row in first] == [(efficiency.SETTLED, 400, "evaluation")]
