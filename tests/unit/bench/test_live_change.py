"""`forerun bench live --only change` in a short form: the nodes are played by this process, so seconds are enough."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from forerun import lockstep
from forerun.bench import live, live_change
from forerun.bench.live_change import Life, change_rows
from forerun.bench.records import Options
from forerun.lockstep import Lockstep
from forerun_sim.errors import InputError
from forerun_sim.trial import Trial
from support.tiny_bundle import Body, Law, tiny_bundle

CART = Body(overrides={"position_lower": [-2.0, float("-inf")], "position_upper": [2.0, float("inf")], "task": "swingup"})


def test_each_episode_says_what_ran_and_what_would_have_been_without_the_trainer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = (
        tiny_bundle(tmp_path / name, Law(gain=((-20.0, 1.0, -10.0, 2.0),), bias=(bias,)), CART)
        for name, bias in (("first", 4.0), ("second", -4.0))
    )
    life = Life(first, Lockstep("cartpole", "swingup", 0.4, 3, 0), "weak motor", {"times": {"strength": 0.2}}, before=2, after=2)
    played: list[Lockstep] = []

    def lived(life: Life, setting: Lockstep, folder: Path, note: object) -> tuple[Path, list[str], list[dict[str, str]]]:
        played.append(setting)
        said = {"trainings": "1", "promoted": "1", "reason of the last training": "it rose", "last verdict": "promoted: better"}
        ran = [
            {**said, "bundle": name * 32, "path": str(path)}
            for name, path in zip("aabb", [first, first, second, second], strict=True)
        ]
        return folder / "bag", list("0123"), ran

    def recorded(bag: Path, setting: Lockstep, ids: list[str]) -> list[Trial]:
        return lockstep.alone(first, setting)

    monkeypatch.setattr(live_change, "_lived", lived)
    monkeypatch.setattr(live_change, "recorded", recorded)
    rows = change_rows(life, tmp_path, lambda text: None)
    assert [(row["robot_s"], row["since_change_s"]) for row in rows] == [(0.0, -0.8), (0.4, -0.4), (0.8, 0.0), (1.2, 0.4)]
    assert [row["bundle"] for row in rows] == ["a" * 12] * 2 + ["b" * 12] * 2
    assert "return_unlearned" not in rows[1] and rows[0]["reason"] == "it rose"
    # Nothing was learned here, so what would have been is what was.
    assert [row["return_unlearned"] for row in rows[2:]] == [row["return"] for row in rows[2:]]
    (setting,) = played
    assert setting.changes is not None and setting.episodes == 4
    assert yaml.safe_load(setting.changes.read_text())["changes"] == [{"at": 0.8, "times": {"strength": 0.2}}]


def test_a_robot_without_a_planned_change_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"panda.*cartpole, pendulum"):
        live._change("panda", Options((0,), tmp_path, tmp_path))
