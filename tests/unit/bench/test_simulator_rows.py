"""The simulator's figures: what each row has, and that the motion measured is the plant's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forerun.bench import simulator
from forerun.bench.records import Options
from forerun_sim.engines.bullet import BulletEngine
from forerun_sim.engines.bullet_bare import bare_loop
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot


def test_rows_tell_speed_resets_and_what_one_world_gains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulator, "REPEATS", 1)
    monkeypatch.setattr(simulator, "LONG", ())
    measured = simulator.measure(Options((0,), tmp_path, tmp_path, only=("pendulum", "8xcartpole")))
    robot, crowd = measured.rows
    assert robot["robot"] == "pendulum" and crowd["robot"] == "8xcartpole"
    assert all(float(robot[key]) > 0 for key in ("share_of_bare", "share_with_play", "reset_steps", "physics_steps_per_s"))
    assert float(crowd["share_of_bare"]) > 0
    with pytest.raises(InputError, match="no row named hexapod; there are: cartpole, "):
        simulator.measure(Options((0,), tmp_path, tmp_path, only=("hexapod",)))


@pytest.mark.parametrize("name", ["double_pendulum", "panda"])
def test_the_bare_loop_runs_the_plants_own_motion(name: str) -> None:
    plant = Plant(load_robot(name), randomize=False)
    commands, efforts = simulator._motion(plant)
    plant.reset(0)
    for command in commands:
        plant.step(command)
    wanted = plant.true_state()
    plant.reset(0)
    assert isinstance(plant.engine, BulletEngine)
    bare_loop(plant.engine)(efforts)
    rows = plant.engine.states()
    assert np.array([row[0] for row in rows] + [row[1] for row in rows]) == pytest.approx(wanted, abs=1e-6)
    plant.close()
