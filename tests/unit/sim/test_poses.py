"""Poses of free bodies are those that PyBullet has."""

from __future__ import annotations

import pybullet
import pytest

from forerun_sim.plant import Plant
from forerun_sim.poses import Poses
from forerun_sim.spec import load_robot


def test_a_floating_base_is_where_the_engine_has_it_and_moves_so() -> None:
    spec = load_robot("a1")
    plant = Plant(spec, randomize=False)
    size = len(spec.joints)
    position, velocity = plant.true_state()[:size], plant.true_state()[size:]
    position[:6], velocity[:6] = (0.3, -0.2, 1.5, 0.4, -0.6, 2.0), (0.5, -1.0, 0.2, 0.7, -0.3, 1.1)
    plant.reset(0, initial=(position, velocity))
    pose = Poses(spec).of("base", plant.true_state()[:size].tolist(), plant.true_state()[size:].tolist())
    engine = plant.engine
    body, client = engine.robot, engine.client  # type: ignore[attr-defined]
    centre, axes = pybullet.getBasePositionAndOrientation(body, client)
    local = pybullet.getDynamicsInfo(body, -1, client)
    place, turn = pybullet.multiplyTransforms(centre, axes, *pybullet.invertTransform(local[3], local[4]))
    assert pose.place == pytest.approx(place, abs=1e-9)
    assert pose.turn == pytest.approx(turn, abs=1e-7)
    _, spin = pybullet.getBaseVelocity(body, client)
    back = pybullet.invertTransform((0.0, 0.0, 0.0), turn)[1]
    assert pose.angular == pytest.approx(
        pybullet.multiplyTransforms((0.0, 0.0, 0.0), back, spin, (0.0, 0.0, 0.0, 1.0))[0], abs=1e-6
    )
    world = pybullet.multiplyTransforms((0.0, 0.0, 0.0), turn, pose.linear, (0.0, 0.0, 0.0, 1.0))[0]
    assert world == pytest.approx((0.5, -1.0, 0.2), abs=1e-6)
    plant.close()
