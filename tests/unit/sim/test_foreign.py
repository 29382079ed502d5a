"""The foreign robot: the same interface, another physics, and nothing of it reaches training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from forerun_sim import resources
from forerun_sim.collect import collect
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot

Robot = Callable[..., RobotSpec]
FOREIGN = ("cartpole", "pendulum", "double_pendulum")

BOB_MJCF = """<mujoco><option timestep="0.0005" integrator="implicitfast"/>
<compiler angle="radian" inertiafromgeom="false"/><worldbody>
  <body name="arm"><inertial pos="0 0 -0.5" mass="1" diaginertia="0.02 0.02 0.001"/>
    <joint name="swing" type="hinge" axis="0 -1 0" damping="{damping}"/></body>
</worldbody></mujoco>"""


@pytest.fixture
def twin(bob: Robot, tmp_path: Path) -> RobotSpec:
    """Bob, with a foreign plant that is bob again."""
    (tmp_path / "plant.yaml").write_text("{format: 1, model: bob.xml, actuators: {lag: 0.02, delay: 0.01, coulomb: 0.1}}")
    (tmp_path / "bob.xml").write_text(BOB_MJCF.format(damping=0.05))
    return bob(damping=0.05, foreign="plant.yaml", actuators={"lag": 0.02, "delay": 0.01, "coulomb": 0.1})


def trajectory(spec: RobotSpec, engine: str, commands: np.ndarray) -> np.ndarray:
    plant = Plant(spec, engine=engine, randomize=False, seed=1)
    plant.reset(0)
    rows = [plant.true_state()]
    for command in commands:
        plant.step(command)
        rows.append(plant.true_state())
    return np.array(rows)


def test_both_engines_agree_on_the_same_robot(twin: RobotSpec) -> None:
    commands = np.repeat(np.random.default_rng(0).uniform(-3, 3, (20, 1)), 5, axis=0)
    bullet, mujoco = (trajectory(twin, engine, commands) for engine in ("bullet", "mujoco"))
    assert np.ptp(bullet[:, 0]) > 1.0
    assert np.abs(bullet - mujoco).max(axis=0) == pytest.approx([0.0, 0.0], abs=0.15)
    assert np.sqrt(np.mean((bullet[:, 0] - mujoco[:, 0]) ** 2)) < 0.02


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_robot_differs_noticeably(name: str) -> None:
    spec = load_robot(name)
    lower, upper = spec.action_limits()
    commands = np.repeat(np.random.default_rng(0).uniform(lower, upper, (10, spec.action_size)), 5, axis=0)
    bullet, mujoco = (trajectory(spec, engine, commands) for engine in ("bullet", "mujoco"))
    spread = bullet.std(axis=0)
    assert (np.sqrt(np.mean((bullet - mujoco) ** 2, axis=0)) > 0.1 * spread).any()


@pytest.mark.parametrize("name", FOREIGN)
def test_foreign_robot_is_reproducible(name: str) -> None:
    spec = load_robot(name)
    commands = np.random.default_rng(0).uniform(*spec.action_limits(), (50, spec.action_size))
    assert np.array_equal(trajectory(spec, "mujoco", commands), trajectory(spec, "mujoco", commands))


def test_foreign_friction_sticks() -> None:
    plant = Plant(load_robot("cartpole"), engine="mujoco")
    plant.reset(0, initial=([0.0, 0.0], [0.0, 0.0]))
    for _ in range(50):
        plant.step([0.3])  # below the rail's friction of 0.5 N
    assert abs(plant.true_state()[0]) < 1e-3


def test_foreign_encoders_count() -> None:
    plant = Plant(load_robot("cartpole"), engine="mujoco")
    plant.reset(0)
    reading = plant.step([5.0])
    assert reading is not None
    assert np.allclose(reading.position / 0.0015, np.round(reading.position / 0.0015), atol=1e-6)


@pytest.mark.parametrize("name", FOREIGN)
def test_collecting_never_reads_the_foreign_robot(name: str, tmp_path: Path) -> None:
    shutil.copytree(resources.find("robots", name), tmp_path / name)
    shutil.rmtree(tmp_path / name / "foreign")
    whole = list(collect(load_robot(name), episodes=2, seed=3, steps=40))
    without = list(collect(load_robot(tmp_path / name), episodes=2, seed=3, steps=40))
    for one, other in zip(whole, without, strict=True):
        assert one.meta == other.meta
        for key in ("time", "position", "velocity", "effort", "command"):
            assert np.array_equal(getattr(one, key), getattr(other, key))
    with pytest.raises(InputError, match=r"plant\.yaml: cannot be read"):
        Plant(load_robot(tmp_path / name), engine="mujoco")


@pytest.mark.parametrize(
    ("plant", "expected"),
    [
        ("{format: 1, model: bob.xml, motors: {}}", "unknown key 'motors'; allowed here: format, model, actuators"),
        ("{format: 1, model: none.xml}", "none.xml: MuJoCo cannot load"),
        ("{format: 1, model: other.xml}", "no joint named 'swing', which robot.yaml has; the model has: sway"),
    ],
)
def test_wrong_foreign_plant_is_explained(twin: RobotSpec, tmp_path: Path, plant: str, expected: str) -> None:
    (tmp_path / "plant.yaml").write_text(plant)
    (tmp_path / "other.xml").write_text(BOB_MJCF.format(damping=0).replace('"swing"', '"sway"'))
    with pytest.raises(InputError, match=expected):
        Plant(twin, engine="mujoco")
