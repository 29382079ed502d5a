"""`forerun bench identify`: a row for each known parameter; real logs are left out where they are not."""

from __future__ import annotations

from pathlib import Path

import pytest

from forerun.bench import identify
from forerun.bench.records import Options


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Searches that are over in a moment."""
    monkeypatch.setattr(identify, "ENGINES", ("bullet",))
    monkeypatch.setattr(identify, "ROBOTS", ("pendulum",))
    monkeypatch.setattr(identify, "EPISODES", 6)
    monkeypatch.setattr(identify, "STEPS", 60)
    monkeypatch.setattr(identify, "SEGMENTS", 12)
    monkeypatch.setattr(identify, "GENERATIONS", 1)


def test_each_known_parameter_is_a_row_and_missing_logs_are_told(quick: None, tmp_path: Path) -> None:
    told: list[str] = []
    measured = identify.measure(Options((0,), tmp_path / "nowhere", tmp_path, told.append))
    rows = {str(row["parameter"]): row for row in measured.rows}
    assert set(rows) == {"mass.arm", "inertia.arm", "viscous.shoulder", "coulomb.shoulder", "lag.shoulder", "delay"}
    assert float(rows["mass.arm"]["found"]) == pytest.approx(float(rows["mass.arm"]["truth"]), rel=0.1)
    assert sum("left out" in text and "nowhere" in text for text in told) == 2
