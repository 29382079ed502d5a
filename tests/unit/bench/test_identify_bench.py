"""`forerun bench identify`: a row for each known parameter; real logs are left out where they are not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forerun.bench import identify, identify_known
from forerun.bench.identify_logs import Follower
from forerun.bench.records import Options
from forerun_models.evaluation.kstep import cut, errors, rmse
from forerun_sim.spec import load_robot
from forerun_sim.trial import Trial


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches that are over in a moment."""
    monkeypatch.setattr(identify_known, "ENGINES", ("bullet",))
    monkeypatch.setattr(identify_known, "ROBOTS", ("pendulum",))
    monkeypatch.setattr(identify_known, "SIZE", identify_known.Size(8, 100, 40, 1, few=5, seconds=1.0, ahead=10))


def test_each_known_parameter_is_a_row_and_missing_logs_are_told(quick: None, tmp_path: Path) -> None:
    told: list[str] = []
    measured = identify.measure(Options((0,), tmp_path / "nowhere", tmp_path, told.append))
    rows = {str(row["parameter"]): row for row in measured.rows if row["what"] == "known truth"}
    assert set(rows) == {"mass.arm", "inertia.arm", "viscous.shoulder", "coulomb.shoulder", "lag.shoulder", "delay"}
    assert float(rows["mass.arm"]["found"]) == pytest.approx(float(rows["mass.arm"]["truth"]), rel=0.1)
    assert float(rows["mass.arm"]["half_width_percent"]) < 10.0
    assert sum("left out" in text and "nowhere" in text for text in told) == 2
    models = {str(row["model"]) for row in measured.rows if row["what"] == "designed experiment"}
    assert models == {"first logs", "and the default excitation", "and the designed experiment"}


def test_a_follower_finds_lag_and_delay() -> None:
    robot = load_robot("so101")
    joints, period, late, lag = len(robot.joints), robot.control.period, 3, 0.06
    rng = np.random.default_rng(0)
    command = np.cumsum(0.1 * rng.standard_normal((400, joints)), axis=0)
    place = np.zeros((401, joints))
    for row in range(400):
        target = command[max(row - late, 0)]
        place[row + 1] = target + np.exp(-period / lag) * (place[row] - target)
    states = np.concatenate([place[1:], np.diff(place, axis=0) / period], axis=1).astype(np.float32)
    # Row r of the states is after the command of row r - 1.
    states, actions = np.concatenate([states[:1], states])[:400], command.astype(np.float32)
    cuts = cut([Trial(states, actions, period, "walk")], 16, stride=10)
    found = Follower.of(robot, cuts, states.std(axis=0).astype(float))
    np.testing.assert_array_equal(found.late, late)
    np.testing.assert_allclose(found.keep, np.exp(-period / lag))
    assert rmse(errors(found, cuts, states.std(axis=0)))[50] < 1e-3
