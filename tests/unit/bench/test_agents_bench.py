"""`forerun bench agents`: times what an agent does after each step, and only that."""

from __future__ import annotations

from pathlib import Path

import pytest

from forerun.bench import agents
from forerun.bench.records import Options
from forerun_sim.errors import InputError

SMALL = """
model: {groups: 2, classes: 3, deter: 8, hidden: 8, bins: 5}
behaviour: {horizon: 2, starts: 4, hidden: 8, layers: 1}
batch: 2
length: 4
every: 3
begin_at: 9
"""


def test_updates_and_steps_are_counted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    recipe = tmp_path / "small.yaml"
    recipe.write_text(SMALL)
    monkeypatch.setattr(agents, "CASES", {"small": agents.Case("dreamer", str(recipe), (2,))})
    monkeypatch.setattr(agents, "UPDATES", 4)
    (row,) = agents.measure(Options((0,), tmp_path, tmp_path)).rows
    assert row["steps_per_update"] == 3.0 and row["observation"] == "2"
    assert float(row["updates_per_s"]) > 0 and float(row["env_steps_per_s"]) < 3 * float(row["updates_per_s"])
    with pytest.raises(InputError, match="no row named other; there are: small"):
        agents.measure(Options((0,), tmp_path, tmp_path, only=("other",)))
