"""A simulator as a planner's model foretells what its plant does."""

from __future__ import annotations

import numpy as np
import pytest

from forerun_sim.engines.mujoco_ahead import Ahead
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import load_robot


@pytest.mark.parametrize(("engine", "parameters"), [("mujoco", {}), ("mujoco_urdf", {"mass.pole": 0.3, "strength.slider": 0.8})])
def test_futures_are_what_the_plant_does(engine: str, parameters: dict[str, float]) -> None:
    spec = load_robot("cartpole")
    plant = Plant(spec, engine=engine, randomize=False)
    plant.reset(0, parameters=parameters)
    commands = np.repeat(np.random.default_rng(0).uniform(-10.0, 10.0, (15, 1)), 3, axis=0)
    states = []
    for command in commands:
        states.append(plant.true_state())
        plant.step(command)
    track = np.array(states)
    other = np.zeros((30, 1))
    ahead = Ahead(spec, engine, parameters, steps=5)
    futures = ahead.futures(track[12], commands[:12], np.stack([commands[12:42], other], axis=2))
    assert futures.shape == (30, 4, 2)
    assert (np.abs(futures[:, :, 0] - track[13:43]) / track.std(axis=0)).max() < 0.05
    assert (np.abs(futures[:, :, 1] - track[13:43]) / track.std(axis=0)).max() > 0.5


def test_servos_are_refused() -> None:
    with pytest.raises(InputError, match="joints commanded by effort alone"):
        Ahead(load_robot("so101"))
