"""Comparisons of runs: the statistics of rliable, thresholds, and what a person gets to see."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import trim_mean
from typer.testing import CliRunner

from forerun.cli.app import app
from forerun_models.agents.compare import bootstrap, compare, iqm, load_runs, over_environments
from forerun_models.agents.folder import About, Folder
from forerun_sim.errors import InputError


def run_at(folder: Path, seed: int, returns: list[float], env: str = "a-v0", agent: str = "sac", **settings: Any) -> Path:
    path = folder / f"{env}-{agent}-{seed}-{settings.get('rate', 0)}"
    files = Folder(path)
    common: dict[str, Any] = {"options": {}, "imports": (), "eval_every": 100, "eval_episodes": 1}
    files.begin(About(env=env, agent=agent, settings={"net": settings}, seed=seed, **common), resume=False)
    files.write_rows(
        [
            {"env_steps": 100 * (k + 1), "wall_s": 3.0 * (k + 1), "eval_wall_s": 1.0 * (k + 1), "eval_return_mean": value}
            for k, value in enumerate(returns)
        ]
    )
    return path


@pytest.mark.parametrize("count", [1, 3, 4, 7, 10])
def test_the_interquartile_mean_is_the_trimmed_mean_of_rliable(count: int) -> None:
    scores = np.random.default_rng(count).normal(size=(count, 5))
    assert iqm(scores) == pytest.approx(trim_mean(scores, 0.25, axis=0))


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    """Of 200 samples of 12 standard normal numbers some 190 intervals should hold 0; the bootstrap is a little narrow."""
    generator = np.random.default_rng(0)
    hits = 0
    for _ in range(200):
        low, high = bootstrap([generator.normal(size=12)], seed=1, draws=300)
        hits += bool(low <= 0 <= high)
    assert 170 <= hits <= 198


def test_strata_are_drawn_apart() -> None:
    """Two environments without spread of their own leave none; drawn together they would."""
    low, high = bootstrap([np.zeros(4), np.ones(4)])
    assert low == high == 0.5
    together = bootstrap([np.array([0.0] * 4 + [1.0] * 4)])
    assert together[0] < 0.5 < together[1]


def test_groups_thresholds_and_times(tmp_path: Path) -> None:
    fast = [run_at(tmp_path, seed, [0, 8 + seed, 10, 10], rate=1) for seed in range(3)]
    slow = [run_at(tmp_path, seed, [0, 1, 2, 10 if seed else 3], rate=2) for seed in range(3)]
    quick, late = compare(load_runs([*fast, *slow]))
    assert (quick.label, late.label) == ("sac net.rate=1", "sac net.rate=2")
    row = quick.row()
    assert row["threshold"] == 9.0, "0.9 of the way from 0 to 10"
    assert (row["reached"], row["steps_to_threshold"], row["wall_s_to_threshold"]) == (3, 200.0, 4.0)
    assert (row["return_iqm"], row["return_low"], row["return_high"]) == (10.0, 10.0, 10.0)
    assert late.row()["reached"] == 2 and late.row()["steps_to_threshold"] == 400.0
    (never,) = compare(load_runs(slow[:1]), threshold=5.0)
    assert never.row()["steps_to_threshold"] is None
    assert late.low[-1] < late.middle[-1] < late.high[-1] + 1e-9
    assert quick.row()["wall_ms_per_step"] == pytest.approx(20.0)


def test_runs_with_other_evaluations_meet_on_the_steps_they_share(tmp_path: Path) -> None:
    one, two = run_at(tmp_path, 0, [0, 10, 20, 30]), run_at(tmp_path, 1, [0, 20])
    (group,) = compare(load_runs([one, two]))
    assert group.steps.tolist() == [100, 200] and group.middle.tolist() == [0, 15]


def test_agents_are_ranked_over_environments_on_a_common_scale(tmp_path: Path) -> None:
    runs = []
    for env, scale in (("a-v0", 1.0), ("b-v0", -1000.0)):
        for seed in range(3):
            runs.append(run_at(tmp_path, seed, [0, abs(scale) * (9 + seed)], env=env, agent="mbpo"))
            runs.append(run_at(tmp_path, seed, [0, abs(scale) * (1 + seed)], env=env, agent="sac"))
    rows = {row["agent"]: row for row in over_environments(compare(load_runs(runs)))}
    assert rows["mbpo"]["score_iqm"] == pytest.approx(0.9) and rows["sac"]["score_iqm"] == pytest.approx(0.1)
    assert rows["mbpo"]["score_low"] > rows["sac"]["score_high"]
    assert over_environments(compare(load_runs(runs[:2]))) == []


def test_what_cannot_be_compared_is_told(tmp_path: Path) -> None:
    run = run_at(tmp_path, 0, [1, 2])
    with pytest.raises(InputError, match="named twice"):
        load_runs([run, run])
    twin = run_at(tmp_path / "again", 0, [1, 2])
    with pytest.raises(InputError, match="same agent, settings, environment and seed 0"):
        compare(load_runs([run, twin]))
    with pytest.raises(InputError, match=r"no learn\.yaml"):
        load_runs([tmp_path])
    (run / "progress.csv").write_text("env_steps,wall_s\nfive,6\n")
    with pytest.raises(InputError, match=r"progress\.csv: is no curve"):
        load_runs([run])


def test_the_command_writes_page_picture_and_tables(tmp_path: Path) -> None:
    runs = [run_at(tmp_path, seed, [0.0, 5.0 + seed], agent=agent) for seed in range(2) for agent in ("sac", "mbpo")]
    shown = CliRunner().invoke(
        app, ["compare", *map(str, runs), "--out", str(tmp_path / "out"), "--json", str(tmp_path / "x.json")]
    )
    assert shown.exit_code == 0, shown.output
    assert "sac" in shown.output and "mbpo" in shown.output
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "comparison.html",
        "comparison.png",
        "curves.csv",
        "table.csv",
    }
    with (tmp_path / "out" / "curves.csv").open() as file:
        assert len(list(csv.DictReader(file))) == 4
    assert "<td>mbpo</td>" in (tmp_path / "out" / "comparison.html").read_text()
    assert [row["agent"] for row in json.loads((tmp_path / "x.json").read_text())["rows"]] == ["sac", "mbpo"]
