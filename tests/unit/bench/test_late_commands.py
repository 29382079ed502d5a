"""`forerun bench delay`: each extra delay with and without compensation, over seeds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from forerun.bench import delay
from forerun.bench.records import Options
from forerun_models.bundle import load
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot
from support.tiny_bundle import Body, Law, Model, tiny_bundle


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """Controls the foreign pendulum upright: a linear law in a linear model of it."""
    body = Body("pendulum", "balance", ("shoulder",), ("shoulder",), {"command_lower": [-0.55], "command_upper": [0.55]})
    step = Model(a=((1.0, 0.02), (0.0, 1.0)), b=((0.0,), (0.5,)))
    return tiny_bundle(tmp_path / "bundle", Law(gain=((0.2, -0.05),), bias=(0.1,), drift=(0.0, 0.0)), body, step)


def test_every_delay_has_a_row_with_and_without_compensation(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bundle: Path
) -> None:
    monkeypatch.setattr(delay, "ROBOT", "pendulum")
    monkeypatch.setattr(delay, "ALSO", ())
    monkeypatch.setattr(delay, "EXTRA", (0.0, 0.03))
    monkeypatch.setattr(delay, "EPISODES", 1)
    monkeypatch.setattr(delay, "_ready", lambda robot: bundle)
    measured = delay.measure(Options((0, 1), tmp_path, tmp_path))
    settings = [(row["extra_delay_ms"], row["compensated"], row["seeds"]) for row in measured.rows]
    assert settings == [(0.0, 0, 2), (0.0, 1, 2), (30.0, 0, 2), (30.0, 1, 2)]
    for row in measured.rows:
        assert row["return_min"] <= row["return_median"] <= row["return_max"] and row["planned_median"] == 1.0
    without, compensated = ({**row, "compensated": None} for row in measured.rows[:2])
    assert without == compensated
    assert measured.rows[2]["return_median"] != measured.rows[3]["return_median"]
    assert measured.settings["bundles"]["pendulum"].startswith("zoo")


class HangingPlant(Plant):
    """A pendulum that hangs at rest, with an ideal motor, and what speed it had whenever it was read."""

    def reset(self, episode: int | None = None, **given: Any) -> Any:
        self.speeds: list[float] = []
        ideal = {"delay": 0.0, "lag.shoulder": 0.0, "position_noise": 0.0, "velocity_noise": 0.0}
        return super().reset(episode, initial=([0.0], [0.0]), parameters=ideal)

    def read(self) -> Any:
        self.speeds.append(abs(float(self.true_state()[1])))
        return super().read()


def test_extra_delay_is_the_time_until_a_command_moves_the_robot(bundle: Path) -> None:
    plant = HangingPlant(load_robot("pendulum"), task="swingup", randomize=False)
    moves = []
    for extra in (0.0, 0.06):
        delay.run_episode(plant, load(bundle), 0, extra, compensated=False)
        moves.append(int(np.argmax(np.array(plant.speeds) > 1e-4)))
    plant.close()
    assert moves[1] - moves[0] == 3
