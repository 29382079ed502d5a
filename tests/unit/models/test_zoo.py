"""The ready bundles: small, whole, and they move their robots."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from forerun_models.bundle import load
from forerun_sim.plant import Plant
from forerun_sim.resources import bundle_folder
from forerun_sim.spec import load_robot

READY = ("cartpole", "pendulum", "double_pendulum")


@pytest.mark.parametrize("robot", READY)
def test_a_ready_bundle_is_found_by_its_name_and_stays_small(robot: str) -> None:
    folder = bundle_folder(robot)
    bundle = load(folder, robot=robot)
    assert bundle.has_agent and bundle.has_model
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < 1e6
    assert bundle.manifest.trained_on["trials"], "what it learned from is told"


@pytest.mark.parametrize("robot", READY)
def test_a_ready_bundle_moves_its_robot_at_once(robot: str) -> None:
    spec, bundle = load_robot(robot), load(bundle_folder(robot))
    manifest, random = bundle.manifest, np.random.default_rng(0)
    plant = Plant(spec, task=manifest.task, seed=0, randomize=False)
    reading, carry, command, rows = plant.reset(0), bundle.start(), np.zeros(manifest.action_size), []
    began = reading.position
    for tick in range(round(1.5 * manifest.rate)):
        rows.append(np.concatenate([reading.position, reading.velocity, command]))
        history = np.array([rows[max(0, len(rows) - back)] for back in range(manifest.history, 0, -1)])
        noise = random.standard_normal(manifest.noise_size)
        decision = bundle.act(history, manifest.goal_default, noise, manifest.period if tick else 0.0, 0.0, carry)
        carry, command = decision.carry, decision.plan[0].astype(float)
        assert np.isfinite(command).all()
        assert (command >= manifest.command_lower - 1e-6).all() and (command <= manifest.command_upper + 1e-6).all()
        reading = plant.step(command) or reading
    plant.close()
    assert np.abs(reading.position - began).max() > 0.3


def test_a_path_comes_before_a_name(tmp_path: Path) -> None:
    assert bundle_folder(str(tmp_path)) == tmp_path
    assert bundle_folder("no-such-bundle") == Path("no-such-bundle")
