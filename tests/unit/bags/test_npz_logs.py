"""`forerun bag from-npz`: NumPy logs become bags, all of them or none."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from mcap.reader import SeekingReader
from typer.testing import CliRunner

from forerun.bags import load_trials
from forerun.bags.convert import convert_npz
from forerun.bags.npz import Columns
from forerun_sim.errors import ForerunError, InputError
from support.logs import STORE, robot

ROWS = 200


def arrays(**changes: Any) -> dict[str, Any]:
    """A log of the two-joint arm at 500 Hz; ``None`` leaves an array out."""
    t = 1_660_000_000.123 + np.arange(ROWS) * 0.002
    values = np.random.default_rng(0).normal(size=(4, ROWS, 2)).astype(np.float32)
    values[0] = np.cumsum(0.02 * values[0], axis=0)
    log = {"t": t, "q": values[0], "dq": values[1], "tau_meas": values[2], "tau_cmd": values[3], **changes}
    return {name: value for name, value in log.items() if value is not None}


def log(path: Path, **changes: Any) -> Path:
    np.savez(path, **arrays(**changes))
    return path


@pytest.fixture
def robot_yaml(tmp_path: Path) -> Path:
    """The two-joint arm as a file."""
    path = tmp_path / "robot.yaml"
    path.write_text(yaml.safe_dump(json.loads(robot().model_dump_json(exclude_none=True))))
    return path


def convert(*arguments: str | Path) -> tuple[int, str, str]:
    """Exit code, standard output and error of ``forerun bag from-npz``."""
    from forerun.cli.app import app

    result = CliRunner().invoke(app, ["bag", "from-npz", *map(str, arguments)])
    return result.exit_code, result.stdout, result.stderr


def test_every_log_becomes_a_bag_with_its_times_and_values_to_the_last_bit(tmp_path: Path, robot_yaml: Path) -> None:
    files = [log(tmp_path / "one.npz"), log(tmp_path / "two.npz", tau_meas=None)]
    code, out, err = convert(*files, "--robot", robot_yaml, "--out", tmp_path / "bags")
    assert code == 0, err
    assert "2 logs, 400 rows, in 2 bags" in out and "1 of 2 logs hold no effort" in out
    assert sorted(path.name for path in (tmp_path / "bags").iterdir()) == ["one", "two"]
    original = arrays()
    with (tmp_path / "bags" / "one" / "one.mcap").open("rb") as stream:
        rows = [
            (message.log_time, STORE.deserialize_cdr(message.data, schema.name))
            for schema, channel, message in SeekingReader(stream).iter_messages(topics=["/joint_states"])
        ]
    for i, (received, message) in enumerate(rows):
        stamp = message.header.stamp.sec + message.header.stamp.nanosec * 1e-9
        assert stamp == pytest.approx(original["t"][i], abs=2e-7) and received == round(message.header.stamp.sec * 10**9) + (
            message.header.stamp.nanosec
        )
        np.testing.assert_array_equal(message.position.astype(np.float32), original["q"][i])
        np.testing.assert_array_equal(message.effort.astype(np.float32), original["tau_meas"][i])
    trial, without_effort = load_trials(tmp_path / "bags", robot(), note=lambda text: None)
    assert trial.meta["id"] == "one" and trial.meta["simulated"] is False and trial.meta["effort"] is True
    assert without_effort.meta["effort"] is False
    assert len(trial) == 40


def test_columns_are_mapped_by_name(tmp_path: Path, robot_yaml: Path) -> None:
    log_file = tmp_path / "log.npz"
    original = arrays()
    renamed = {"time": original["t"], "pos": original["q"], "vel": original["dq"], "torque": original["tau_cmd"]}
    np.savez(log_file, **renamed)
    mapping = ["--time", "time", "--position", "pos", "--velocity", "vel", "--command", "torque"]
    code, _, err = convert(log_file, "--robot", robot_yaml, "--out", tmp_path / "bags", *mapping)
    assert code == 0, err
    (trial,) = load_trials(tmp_path / "bags", robot(), note=lambda text: None)
    assert trial.meta["velocity"] == "measured"


def test_one_bag_holds_all_runs_apart(tmp_path: Path, robot_yaml: Path) -> None:
    files = [log(tmp_path / f"{name}.npz") for name in "abc"]
    json_file = tmp_path / "result.json"
    options = [
        "--robot",
        robot_yaml,
        "--out",
        tmp_path / "bag",
        "--one-bag",
        "--storage",
        "sqlite3",
        "--simulated",
        "--json",
        json_file,
    ]
    code, _, err = convert(*files, *options)
    assert code == 0, err
    trials = load_trials(tmp_path / "bag", robot(), note=lambda text: None)
    assert [trial.meta["id"] for trial in trials] == ["a", "b", "c"] and trials[0].meta["simulated"] is True
    assert len({trial.digest() for trial in trials}) <= 2  # the first keeps its times since 1970
    result = json.loads(json_file.read_text())
    assert [row["rows"] for row in result["bags"]] == [ROWS] * 3


@pytest.mark.parametrize("name", ["t", "q", "tau_cmd"])
def test_missing_array_is_named_with_those_that_are_there(tmp_path: Path, robot_yaml: Path, name: str) -> None:
    good, bad = log(tmp_path / "good.npz"), log(tmp_path / "bad.npz", **{name: None})
    code, _, err = convert(good, bad, "--robot", robot_yaml, "--out", tmp_path / "bags")
    assert code == 2
    there = ", ".join(key for key in arrays() if key != name)
    assert str(bad) in err and f"has no array '{name}'" in err and there in err
    assert not (tmp_path / "bags").exists()


def test_array_that_was_asked_for_must_be_there(tmp_path: Path, robot_yaml: Path) -> None:
    bad = log(tmp_path / "bad.npz", dq=None)
    code, _, err = convert(bad, "--robot", robot_yaml, "--out", tmp_path / "bags", "--velocity", "dq")
    assert code == 2 and "has no array 'dq'" in err
    code, out, _ = convert(bad, "--robot", robot_yaml, "--out", tmp_path / "bags")
    assert code == 0 and "hold no velocity" in out
    (trial,) = load_trials(tmp_path / "bags", robot(), note=lambda text: None)
    assert trial.meta["velocity"] == "derived"


nan = np.full((ROWS, 2), 0.5)
nan[7, 1] = np.nan
back = np.arange(ROWS) * 0.002
back[120:] -= 0.1


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"q": np.zeros((ROWS, 3))}, "(200, 3)"),
        ({"q": np.zeros((ROWS, 3))}, "has 2 joints: shoulder, elbow"),
        ({"tau_cmd": np.zeros((ROWS, 1))}, "takes 2 commands: shoulder, elbow"),
        ({"dq": np.zeros((ROWS - 1, 2))}, "'dq' has 199 rows"),
        ({"q": nan}, "'q' has 1 values that are not finite, the first in column 1 of row 7"),
        ({"tau_cmd": nan}, "'tau_cmd' has 1 values"),
        ({"t": back}, "time goes backwards in row 120"),
        ({"t": np.arange(ROWS) - 5.0}, "between 0 and 2^31"),
        ({"t": np.full(ROWS, np.nan)}, "'t' is not finite in row 0"),
        ({"t": np.zeros((ROWS, 2))}, "expected the time of each row"),
        ({"t": np.zeros(0), "q": np.zeros((0, 2))}, "expected the time of each row"),
        ({"q": np.array([["a", "b"]] * ROWS)}, "not numbers"),
        ({"q": np.array([[{}, {}]] * ROWS, dtype=object)}, "damaged or no .npz file of plain arrays"),
    ],
)
def test_wrong_array_is_refused_and_nothing_is_written(tmp_path: Path, changes: dict[str, Any], reason: str) -> None:
    files = [log(tmp_path / "good.npz"), log(tmp_path / "bad.npz", **changes)]
    with pytest.raises(InputError) as refused:
        convert_npz(files, tmp_path / "bags", robot(), Columns())
    assert reason in str(refused.value) and str(files[1]) in str(refused.value)
    assert not (tmp_path / "bags").exists()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 not a zip file", b"plain text"])
def test_file_that_is_no_npz(tmp_path: Path, content: bytes) -> None:
    bad = tmp_path / "bad.npz"
    bad.write_bytes(content)
    with pytest.raises(InputError, match=r"no \.npz file") as refused:
        convert_npz([bad], tmp_path / "bags", robot(), Columns())
    assert str(bad) in str(refused.value)
    np.save(tmp_path / "single.npy", np.zeros(3))
    with pytest.raises(InputError, match="single array"):
        convert_npz([tmp_path / "single.npy"], tmp_path / "bags", robot(), Columns())
    with pytest.raises(InputError, match="no such file"):
        convert_npz([tmp_path / "nowhere.npz"], tmp_path / "bags", robot(), Columns())


def test_truncated_npz(tmp_path: Path) -> None:
    file = log(tmp_path / "log.npz")
    file.write_bytes(file.read_bytes()[:3000])
    with pytest.raises(InputError, match="damaged"):
        convert_npz([file], tmp_path / "bags", robot(), Columns())


def test_existing_bags_stay_unless_told_otherwise(tmp_path: Path) -> None:
    one, two = log(tmp_path / "one.npz"), log(tmp_path / "two.npz")
    convert_npz([one], tmp_path / "bags", robot(), Columns())
    (tmp_path / "bags" / "mine.txt").write_text("keep me")
    with pytest.raises(InputError, match="one: exists already"):
        convert_npz([two, one], tmp_path / "bags", robot(), Columns())
    assert sorted(path.name for path in (tmp_path / "bags").iterdir()) == ["mine.txt", "one"]
    convert_npz([two, one], tmp_path / "bags", robot(), Columns(), overwrite=True)
    assert sorted(path.name for path in (tmp_path / "bags").iterdir()) == ["mine.txt", "one", "two"]
    assert (tmp_path / "bags" / "mine.txt").read_text() == "keep me"


def test_two_files_of_the_same_name_are_refused(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with pytest.raises(InputError, match=r"several files are called log\.npz"):
        convert_npz([log(tmp_path / "log.npz"), log(tmp_path / "other" / "log.npz")], tmp_path / "bags", robot(), Columns())


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_full_disk_leaves_the_folder_of_bags_byte_for_byte(tmp_path: Path, mounted: Callable[..., Path]) -> None:
    disk = mounted("1m")
    files = [log(tmp_path / f"{i}.npz") for i in range(30)]
    convert_npz(files[:3], disk / "bags", robot(), Columns())
    before = snapshot(disk)
    with pytest.raises(ForerunError, match="disk is full"):
        convert_npz(files[3:], disk / "bags", robot(), Columns())
    with pytest.raises(ForerunError, match="disk is full"):
        convert_npz(files, disk / "more", robot(), Columns())
    assert snapshot(disk) == before and [path.name for path in disk.iterdir()] == ["bags"]


def test_read_only_folder_is_refused(
    tmp_path: Path, robot_yaml: Path, mounted: Callable[..., Path], read_only: Callable[[Path], None]
) -> None:
    disk = mounted("1m")
    file = log(tmp_path / "log.npz")
    read_only(disk)
    code, _, err = convert(file, "--robot", robot_yaml, "--out", disk / "bags")
    assert code == 2 and str(disk / "bags") in err and "ead-only" in err and not list(disk.iterdir())


def test_help_shows_an_example() -> None:
    code, out, _ = convert("--help")
    assert code == 0 and "forerun bag from-npz" in out and "--command" in out
