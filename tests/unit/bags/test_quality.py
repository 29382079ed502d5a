"""What is wrong with a recording is measured and said before a model is learned from it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.support import logs
from typer.testing import CliRunner

from forerun.bags import BagWriter, inspect_bag, load_trials
from forerun.bags.quality import Quality, measure, warnings
from forerun.cli.app import app

RATE = 200.0


def pushed(delay: float = 0.0, *, seconds: float = 20.0, noise: float = 0.0, seed: int = 0) -> dict[str, np.ndarray]:
    """Two masses of 1 kg m^2 on springs, pushed at random; an effort acts ``delay`` [s] after it was given."""
    rng = np.random.default_rng(seed)
    count, fine = int(seconds * RATE), 10
    command = np.repeat(rng.uniform(-8, 8, (count // 10, 2)), 10, axis=0)
    q, v, states = np.zeros(2), np.zeros(2), []
    for i in range(count):
        states.append((q, v))
        for part in range(fine):
            given = command[max(0, int((i + part / fine - delay * RATE) // 1))]
            v = v + (given - 4 * q - 0.3 * v) / (RATE * fine)
            q = q + v / (RATE * fine)
    position, velocity = (np.array(rows) for rows in zip(*states, strict=True))
    return {
        "times": np.arange(count) / RATE,
        "position": position,
        "velocity": velocity + noise * rng.normal(size=(count, 2)),
        "command": command,
    }


def quality(run: dict[str, np.ndarray], **kind: str) -> Quality:
    return measure(run["times"], run["position"], run["velocity"], None, run["times"], run["command"], logs.robot(**kind))


@pytest.mark.parametrize("delay", [0.01, 0.043])
def test_the_delay_of_an_effort_is_found_in_the_velocity(delay: float) -> None:
    assert quality(pushed(delay)).delay == pytest.approx([delay, delay], abs=0.003)
    assert quality(pushed(delay, noise=0.02)).delay == pytest.approx([delay, delay], abs=0.004)


def test_the_delay_of_a_position_command_is_found_in_the_position() -> None:
    run = pushed()
    late = run | {
        "command": run["position"],
        "position": np.concatenate([np.repeat(run["position"][:1], 20, axis=0), run["position"][:-20]]),
    }
    assert quality(late, interface="position").delay == pytest.approx([0.1, 0.1], abs=0.005)


def test_no_delay_is_told_of_a_command_that_moves_nothing() -> None:
    run = pushed()
    other = run | {"command": np.random.default_rng(1).uniform(-1, 1, run["command"].shape)}
    assert quality(other).delay == (None, None)
    still = run | {"command": np.zeros_like(run["command"])}
    assert quality(still).delay == (None, None)
    short = {name: rows[:10] for name, rows in run.items()}
    assert quality(short).delay == (None, None)


def test_noise_rate_gaps_and_saturation_are_those_that_were_put_in() -> None:
    run = pushed(noise=0.1)
    run["command"][: len(run["command"]) // 4, 0] = 10.0
    found = quality(run)
    assert found.velocity_noise == pytest.approx([0.1, 0.1], rel=0.1)
    assert found.saturation == pytest.approx([0.25, 0.0], abs=0.01)
    assert found.rate == pytest.approx(RATE) and found.gaps == 0 and found.jitter < 1e-9
    keep = np.ones(len(run["times"]), bool)
    keep[100:120] = False
    holed = quality({name: rows[keep] for name, rows in run.items()})
    assert holed.gaps == 1 and holed.longest_gap == pytest.approx(21 / RATE)
    assert Quality.from_data(found.as_data()) == found


def test_a_jerky_motion_is_no_noise() -> None:
    """A servo that follows within 50 ms, asked for another speed every 60 ms, seen at 50 Hz."""
    rng, fine = np.random.default_rng(0), 0.001
    asked = np.repeat(rng.uniform(-2, 2, (200, 2)), 60, axis=0)
    velocity = np.zeros_like(asked)
    for i in range(1, len(asked)):
        velocity[i] = velocity[i - 1] + (asked[i - 1] - velocity[i - 1]) * fine / 0.05
    seen = slice(None, None, 20)
    times, position = np.arange(len(asked))[seen] * fine, np.cumsum(velocity, axis=0)[seen] * fine
    noisy = velocity[seen] + rng.normal(0, 0.02, position.shape)
    found = measure(times, position, noisy, None, times, asked[seen], logs.robot())
    assert max(found.noise_share) < 0.15, "second differences alone say 0.5"
    assert min(found.velocity_noise) > 0.015


def test_inspect_and_train_warn_of_what_will_limit_a_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec, run = logs.robot(), pushed(0.043)
    run["velocity"][:, 1] += np.random.default_rng(3).normal(0, 0.25, len(run["velocity"]))
    stamps = np.round(run["times"] * 1e9).astype(np.int64) + 10**9
    with BagWriter(tmp_path / "bag", robot=spec.name) as bag:
        bag.run(stamps, spec, run["position"], run["velocity"], None, run["command"])
    assert "quality" not in load_trials(tmp_path / "bag", spec, note=lambda text: None)[0].meta
    summary = inspect_bag(tmp_path / "bag", spec)
    assert any("late" in text for text in summary.warnings) and any("noise" in text for text in summary.warnings)
    assert summary.to_json()["trials"][0]["quality"]["delay"][0] == pytest.approx(0.043, abs=0.006)
    trials = load_trials(tmp_path / "bag", spec, note=lambda text: None, quality=True)
    assert warnings(trials, spec) == list(summary.warnings)
    monkeypatch.setattr("forerun_sim.spec.load_robot", lambda name: spec)
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "bag"), "--robot", "arm"])
    assert shown.exit_code == 0 and "warning:" in shown.output
