"""CSV logs become bags: columns by name, units as stated, and every wrong line named."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from forerun.bags import load_trials, read_raw
from forerun.bags.csv_log import mapped, read_csv
from forerun.cli.app import app
from forerun_sim.errors import InputError
from forerun_sim.spec import load_robot

START = 1_700_000_000_123_456_789
"""[ns] since 1970."""


def write(path: Path, lines: list[str]) -> Path:
    path.write_text("\n".join(lines) + "\n")
    return path


def degrees(path: Path, count: int = 60) -> Path:
    rows = [f"{START + i * 10_000_000},x,{10 * i},{60 * np.pi},{100 * i}" for i in range(count)]
    return write(path, ["stamp, note, angle, speed, current", *rows])


def test_units_and_times_are_those_that_were_stated(tmp_path: Path) -> None:
    log = degrees(tmp_path / "run.csv")
    call = ["bag", "from-csv", str(log), "--robot", "pendulum", "--out", str(tmp_path / "bags"), "--time", "stamp:ns"]
    call += ["--position", "shoulder=angle:deg", "--velocity", "shoulder=speed:rpm", "--command", "shoulder=current:mA*0.5"]
    run = CliRunner().invoke(app, call)
    assert run.exit_code == 0, run.output
    assert "effort" in run.output
    raw = read_raw(tmp_path / "bags" / "run")
    assert raw.streams["/joint_states"].received[0] == START
    (trial,) = load_trials(tmp_path / "bags" / "run", load_robot("pendulum"), note=lambda text: None)
    assert trial.states[0] == pytest.approx([0.0, 2 * np.pi**2], rel=1e-5)
    assert trial.states[1, 0] == pytest.approx(np.deg2rad(20), rel=1e-5)
    assert trial.actions[1, 0] == pytest.approx(0.5 * (0.2 + 0.3) * 0.5, rel=1e-5)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_every_unit_of_time(tmp_path: Path, unit: str) -> None:
    scale = {"s": 0.01, "ms": 10, "us": 10_000, "ns": 10_000_000}[unit]
    path = write(tmp_path / "run.csv", ["t;q;u", *(f"{i * scale};0,5;1" for i in range(3))])
    columns = mapped(load_robot("pendulum"), f"t:{unit}", ["shoulder=q"], [], [], ["shoulder=u"])
    log = read_csv(path, columns)
    assert log.stamps.tolist() == [0, 10_000_000, 20_000_000]
    assert log.position[:, 0].tolist() == [0.5, 0.5, 0.5] and log.lacking == ("velocity", "effort")


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["t,q,u", "0,1,2", "x,1,2"], "line 3: 'x' in column 't' is no time"),
        (["t,q,u", "0,1,2", "1,,2"], "line 3: '' in column 'q' is no number"),
        (["t,q,u", "0,nan,2"], "line 2: column 'q' is not finite"),
        (["t,q,u", "0,1,2", "", "1,2"], "line 4: has 2 values"),
        (["t,q,u", "1,1,2", "0,1,2"], "line 3: time goes backwards"),
        (["t,q,v", "0,1,2"], "no column 'u'; it has: t, q, v"),
        (["t,q,q,u", "0,1,1,2"], "several columns 'q'"),
        (["t,q,u"], "no rows"),
        (["t,q,u", "1700000000000,1,2"], "is 's' its unit"),
    ],
)
def test_a_wrong_file_is_refused_by_line_and_column(tmp_path: Path, lines: list[str], message: str) -> None:
    columns = mapped(load_robot("pendulum"), "t", ["shoulder=q"], [], [], ["shoulder=u"])
    with pytest.raises(InputError, match=r"run\.csv") as refusal:
        read_csv(write(tmp_path / "run.csv", lines), columns)
    assert message in str(refusal.value)


@pytest.mark.parametrize(
    ("position", "command", "message"),
    [
        ("shoulder=q:rpm", "shoulder=u", "'rpm' is no unit of position"),
        ("knee=q", "shoulder=u", "joints: shoulder"),
        ("shoulder=q", "shoulder=u:mA", "needs its constant in Nm per A"),
        ("shoulder=q", "shoulder=u:mA*x", "'x' is no number"),
    ],
)
def test_a_wrong_mapping_is_refused_with_what_is_allowed(position: str, command: str, message: str) -> None:
    with pytest.raises(InputError) as refusal:
        mapped(load_robot("pendulum"), "t", [position], [], [], [command])
    assert message in str(refusal.value)
