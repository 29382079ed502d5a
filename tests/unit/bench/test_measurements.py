"""`forerun bench`: figures with their origin, in tables that grow."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from forerun.bench import bags, environments, planner, simulator, training
from forerun.bench.planner_sizes import Size
from forerun.bench.records import ORIGIN, Measurement, Options, append, provenance
from forerun.bench.timing import medians
from forerun.cli.app import app
from forerun_sim.errors import InputError


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def bench(*args: str | Path, folder: Path) -> tuple[int, str, dict[str, Any]]:
    """Exit code, standard error, and the JSON of a measurement whose tables are in ``folder``."""
    json_file = folder / "figures.json"
    done = CliRunner().invoke(app, ["bench", *map(str, args), "--out", str(folder), "--json", str(json_file)])
    return done.exit_code, done.stderr, json.loads(json_file.read_text()) if json_file.exists() else {}


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measurements that are over in a moment; their figures mean nothing."""
    monkeypatch.setattr(simulator, "ROBOTS", ("cartpole",))
    monkeypatch.setattr(simulator, "CROWDS", (("cartpole", 2),))
    monkeypatch.setattr(simulator, "PHYSICS_STEPS", 500)
    monkeypatch.setattr(simulator, "REPEATS", 1)
    monkeypatch.setattr(simulator, "GROWTH", (1000, 30_000))
    monkeypatch.setattr(environments, "TASKS", (("cartpole", "swingup", (2,)),))
    monkeypatch.setattr(environments, "STEPS", 20)
    monkeypatch.setattr(environments, "REPEATS", 1)
    monkeypatch.setattr(bags, "SECONDS", 1.0)
    monkeypatch.setattr(bags, "REPEATS", 1)
    monkeypatch.setattr(bags, "LONG", (2.0,))
    monkeypatch.setattr(planner, "SIZES", (Size("tiny", hidden=8, members=2, samples=8, horizon=2, iterations=1),))
    monkeypatch.setattr(planner, "THREADS", (1,))
    monkeypatch.setattr(planner, "TICKS", {**planner.TICKS, "ticks": 3, "compare_seconds": 0.1})
    monkeypatch.setattr(planner, "LIMITS", {**planner.LIMITS, "compiled": 0.5})
    monkeypatch.setattr(training, "CASES", {"tiny": training.Case(members=2, hidden=8, horizon=2, batch=16, transitions=2000)})
    monkeypatch.setattr(training, "SAMPLES", 16)
    monkeypatch.setattr(training, "REPEATS", 1)


@pytest.mark.parametrize(
    ("subject", "figure"),
    [
        ("simulator", "share_of_bare"),
        ("environments", "steps_per_s"),
        ("bags", "trials_messages_per_s"),
        ("planner", "p99_ms"),
        ("training", "times_separate"),
    ],
)
def test_every_figure_says_where_it_comes_from(quick: None, tmp_path: Path, subject: str, figure: str) -> None:
    code, _, figures = bench(subject, folder=tmp_path)
    assert code == 0
    rows = table(tmp_path / f"{subject}.csv")
    assert rows and [float(row[figure]) for row in rows] == [row[figure] for row in figures[subject]["rows"]]
    for row in rows:
        assert float(row[figure]) > 0
        assert row["cpu"] and int(row["cores"]) > 0 and float(row["load"]) >= 0 and row["time"] and row["command"]
        assert row["seed"] == "0" and json.loads(row["settings"])


def test_logs_that_are_not_here_are_said_to_be_missing(tmp_path: Path) -> None:
    code, message, _ = bench("logs", "--data", tmp_path / "nowhere", folder=tmp_path)
    assert code == 2
    assert f"{tmp_path / 'nowhere' / 'double_pendulum'}: no such folder" in message
    assert list(tmp_path.iterdir()) == []


def test_rows_are_added_to_those_of_earlier_runs(tmp_path: Path) -> None:
    origin = provenance("forerun bench things")
    append(tmp_path, Measurement("things", [{"size": 1}], {"a": 1}), origin)
    append(tmp_path, Measurement("things", [{"size": 2, "colour": "red, green"}], {"a": 2}), origin)
    rows = table(tmp_path / "things.csv")
    sizes = [(row["size"], row["colour"], json.loads(row["settings"])["a"]) for row in rows]
    assert sizes == [("1", "", 1), ("2", "red, green", 2)]


def test_a_file_that_is_no_table_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "things.csv"
    path.write_text("notes\nabout, something, else\n")
    with pytest.raises(InputError, match="is no table of measurements"):
        append(tmp_path, Measurement("things", [{"size": 1}]), provenance(""))
    assert path.read_text() == "notes\nabout, something, else\n"


def test_a_figure_that_the_origin_would_replace_is_refused() -> None:
    assert {*provenance(""), "settings"} == ORIGIN
    with pytest.raises(ValueError, match="a row's column is called time"):
        Measurement("things", [{"size": 1}, {"time": 2.0}])


def test_works_are_timed_in_turns() -> None:
    order: list[str] = []
    taken = medians({name: lambda name=name: order.append(name) for name in "ab"}, 2)
    assert order == ["a", "b"] * 3 and set(taken) == {"a", "b"}


def test_rows_are_chosen_by_name_and_others_are_refused_by_name(tmp_path: Path) -> None:
    names = ["small", "arm7"]
    assert Options((0,), tmp_path, tmp_path).chosen(names) == names
    assert Options((0,), tmp_path, tmp_path, only=("arm7",)).chosen(names) == ["arm7"]
    with pytest.raises(InputError, match="no row named large; there are: small, arm7"):
        Options((0,), tmp_path, tmp_path, only=("large",)).chosen(names)
