"""What changes while a robot runs changes its motion as physics says, in every engine, and lasts."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from forerun_sim.changes import Change, load_changes
from forerun_sim.errors import InputError
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec

Robot = Callable[..., RobotSpec]
ENGINES = ("bullet", "mujoco", "mujoco_urdf")
INERTIA = 0.02 + 1.0 * 0.5**2
BOB_MJCF = """<mujoco><option timestep="0.001" integrator="implicitfast" gravity="0 0 -9.81"/>
<compiler angle="radian" inertiafromgeom="false"/><worldbody>
  <body name="arm"><inertial pos="0 0 -0.5" mass="1" diaginertia="0.02 0.02 0.001"/>
    <joint name="swing" type="hinge" axis="0 -1 0" damping="{damping}"/></body>
</worldbody></mujoco>"""
STEP = 0.02


@pytest.fixture
def plant_of(bob: Robot, tmp_path: Path) -> Callable[..., Plant]:
    """Bob's plant in an engine, its foreign one the same robot again; ``actuators`` are both's."""

    def build(engine: str, *changes: Change, damping: float = 0.0, actuators: str = "{}") -> Plant:
        (tmp_path / "plant.yaml").write_text(f"{{format: 1, model: bob.xml, actuators: {actuators}}}")
        (tmp_path / "bob.xml").write_text(BOB_MJCF.format(damping=damping))
        spec = bob(damping=damping, foreign="plant.yaml")
        spec = spec.model_copy(update={"actuators": type(spec.actuators).model_validate(yaml.safe_load(actuators))})
        return Plant(spec, engine=engine, randomize=False, changes=changes)

    return build


def gained(plant: Plant, speed: float, effort: float) -> float:
    """Speed gained in one control step from rest at the bottom, or from ``speed``."""
    plant.reset(0, initial=([0.0], [speed]))
    plant.step([effort])
    return float(plant.true_state()[1]) - speed


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(
    ("change", "factor"),
    [
        (Change(at=STEP, times={"strength": 0.7}), 0.7),
        (Change(at=STEP, to={"payload": 0.6}), INERTIA / (INERTIA + 0.6 * 0.5**2)),
        (Change(at=STEP, times={"mass.arm": 2.0}), 0.5),
    ],
)
def test_weak_motor_and_load_change_the_acceleration(plant_of: Callable[..., Plant], engine: str, change: Change, factor: float):
    plant = plant_of(engine, change)
    before, after = gained(plant, 0.0, 2.0), gained(plant, 0.0, 2.0)
    assert before == pytest.approx(2.0 / INERTIA * STEP, rel=0.01)
    assert after / before == pytest.approx(factor, rel=0.01)
    assert plant.lived == pytest.approx(2 * STEP)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("quantity", "actuators", "damping"), [("coulomb", "{coulomb: 0.3}", 0.0), ("damping", "{}", 0.1)])
def test_tripled_friction_brakes_thrice(
    plant_of: Callable[..., Plant], engine: str, quantity: str, actuators: str, damping: float
) -> None:
    plant = plant_of(engine, Change(at=STEP, times={quantity: 3.0}), damping=damping, actuators=actuators)
    before, after = gained(plant, 4.0, 0.0), gained(plant, 4.0, 0.0)
    weight = gained(plant_of(engine), 4.0, 0.0)
    assert before - weight == pytest.approx(-(0.3 if quantity == "coulomb" else 0.4) / INERTIA * STEP, rel=0.06)
    assert (after - weight) / (before - weight) == pytest.approx(3.0, rel=0.05)


def test_doubled_delay_makes_commands_act_later(plant_of: Callable[..., Plant]) -> None:
    plant = plant_of("mujoco", Change(at=0.1, times={"delay": 2.0}), actuators="{delay: 0.03}")
    waited = []
    for _ in range(2):
        plant.reset(0, initial=([0.0], [0.0]))
        steps = 0
        while plant.true_state()[1] == 0.0:
            plant.advance([2.0], 1)
            steps += 1
        waited.append(steps)
        plant.advance([0.0], 200)
    assert waited == [31, 61]


def test_command_under_way_arrives_when_it_would_have(plant_of: Callable[..., Plant]) -> None:
    plant = plant_of("mujoco", Change(at=0.02, times={"delay": 4.0}), actuators="{delay: 0.03}")
    plant.reset(0, initial=([0.0], [0.0]))
    plant.advance([2.0], 20)  # given before the change
    plant.advance([0.0], 10)
    assert plant.true_state()[1] == 0.0
    plant.advance([0.0], 1)
    assert plant.true_state()[1] > 0.0


@pytest.mark.parametrize("engine", ENGINES)
def test_change_to_the_same_is_none(plant_of: Callable[..., Plant], engine: str) -> None:
    actuators = "{lag: 0.02, delay: 0.013, coulomb: 0.1}"
    tracks = []
    for changes in ((), (Change(at=0.371, times={"strength": 1.0, "mass": 1.0, "delay": 1.0}),)):
        plant = plant_of(engine, *changes, actuators=actuators)
        plant.reset(0, initial=([0.3], [0.0]))
        rows = []
        for command in np.repeat(np.random.default_rng(0).uniform(-3, 3, (10, 1)), 5, axis=0):
            plant.step(command)
            rows.append(plant.true_state())
        tracks.append(np.array(rows))
    assert np.ptp(tracks[0][:, 0]) > 0.5
    assert np.abs(tracks[0] - tracks[1]).max() < (2e-2 if engine == "bullet" else 1e-6)


def test_changes_last_over_episodes_and_name_themselves(plant_of: Callable[..., Plant]) -> None:
    changes = (Change(at=0.1, times={"strength": 0.5}), Change(at=0.05, to={"payload": 0.2}))
    plant = plant_of("mujoco", *changes)
    plant.reset(0)
    for _ in range(3):
        plant.step([0.0])
    assert plant.parameters["payload"] == 0.2 and plant.parameters["strength.swing"] == 1.0
    plant.reset(1)
    assert plant.parameters["payload"] == 0.2
    for _ in range(2):
        plant.step([0.0])
    assert plant.parameters["strength.swing"] == 0.5
    plant.reset(7)
    assert plant.parameters["strength.swing"] == 0.5 and plant.lived == pytest.approx(0.1)
    assert [entry["at"] for entry in plant.changes] == [0.05, 0.1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{format: 1, changes: [{at: 1, times: {gravity: 2}}]}", "'gravity' cannot change while a robot runs"),
        ("{format: 1, changes: [{at: -1}]}", "changes.0.at"),
        ("{format: 1, changes: [{at: 1, factor: {delay: 2}}]}", "unknown key 'changes.0.factor'; allowed here: at, times, to"),
        ("{format: 1, changes: [{at: 1, to: {strength.elbow: 2}}]}", "the plant has no 'strength.elbow'; it has: mass.arm"),
    ],
)
def test_wrong_changes_are_refused(plant_of: Callable[..., Plant], tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "changes.yaml").write_text(text)
    with pytest.raises(InputError) as caught:
        plant_of("mujoco", *load_changes(tmp_path / "changes.yaml"))
    assert words in str(caught.value)
