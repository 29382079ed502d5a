"""Every quantity of bodies does what physics says, in both engines that run a robot's URDF."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pybullet
import pytest
import yaml

from forerun_sim.engines.base import make_engine
from forerun_sim.engines.bullet import BulletEngine
from forerun_sim.errors import UnstablePhysics
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot

Robot = Callable[..., RobotSpec]
ENGINES = ("bullet", "mujoco_urdf")
ARM, GRAVITY = 0.5, 9.81
INERTIA = 0.02 + ARM**2
both = pytest.mark.parametrize("engine", ENGINES)


def run(plant: Plant, seconds: float, position: list[float], command: list[float], **parameters: float) -> np.ndarray:
    """True states [T + 1, S] from rest at ``position`` under a constant ``command``."""
    changes = {key.replace("__", "."): value for key, value in parameters.items()}
    plant.reset(0, initial=(position, [0.0] * len(position)), parameters=changes)
    rows = [plant.true_state()]
    for _ in range(round(seconds * plant.spec.control.rate)):
        plant.step(command)
        rows.append(plant.true_state())
    return np.array(rows)


def period(plant: Plant, around: float = 0.0, **parameters: float) -> float:
    """Period [s] of small swings about ``around``."""
    angles = run(plant, 8.0, [around + 0.03], [0.0], **parameters)[:, 0] - around
    rises = np.flatnonzero((angles[1:] >= 0) & (angles[:-1] < 0))
    at = rises - angles[rises] / (angles[rises + 1] - angles[rises])
    return float(np.diff(at).mean()) / 50


def swing(inertia: float, moment: float) -> float:
    """Period [s] of a physical pendulum: its inertia about the axis, its mass times its arm."""
    return 2 * math.pi * math.sqrt(inertia / (moment * GRAVITY))


@both
def test_mass_inertia_and_payload_set_the_period(bob: Robot, engine: str) -> None:
    plant = Plant(bob(), engine=engine, randomize=False)
    assert period(plant, mass__arm=2.0) == pytest.approx(swing(2 * INERTIA, 2 * ARM), rel=3e-3)
    assert period(plant, inertia__arm=5.0) == pytest.approx(swing(5 * 0.02 + ARM**2, ARM), rel=3e-3)
    assert period(plant, payload=1.0) == pytest.approx(swing(0.02 + 2 * ARM**2, 2 * ARM), rel=3e-3)


@both
def test_armature_adds_to_the_inertia_about_the_joint_and_to_nothing_else(bob: Robot, engine: str) -> None:
    plant = Plant(bob(), engine=engine, randomize=False)
    for armature in (0.01, 0.3, 1.0):
        assert period(plant, armature__swing=armature) == pytest.approx(swing(INERTIA + armature, ARM), rel=3e-3)


@both
def test_a_shifted_centre_of_mass_swings_about_another_angle_with_another_period(bob: Robot, engine: str) -> None:
    plant = Plant(bob(), engine=engine, randomize=False)
    longer = 0.02 + 0.7**2
    assert period(plant, com__arm__z=-0.2) == pytest.approx(swing(longer, 0.7), rel=3e-3)
    aside = math.atan2(0.1, ARM)  # about -y, a mass in front of the arm turns it back
    rest = -aside
    assert np.ptp(run(plant, 1.0, [rest], [0.0], com__arm__x=0.1)[:, 0]) < 1e-3
    inertia = 0.02 + ARM**2 + 0.1**2
    assert period(plant, rest, com__arm__x=0.1) == pytest.approx(swing(inertia, math.hypot(ARM, 0.1)), rel=3e-3)
    assert period(plant, com__arm__y=0.3) == pytest.approx(swing(INERTIA, ARM), rel=3e-3)  # along the axis


@both
def test_tilted_gravity_tilts_the_rest(bob: Robot, engine: str) -> None:
    plant = Plant(bob(), engine=engine, randomize=False)
    angles = run(plant, 1.0, [-0.2], [0.0], gravity_tilt__y=0.2)[:, 0]
    assert np.ptp(angles) < 1e-3
    assert period(plant, gravity_tilt__x=0.5) == pytest.approx(swing(INERTIA, ARM) / math.sqrt(math.cos(0.5)), rel=3e-3)


SLIDE = """<robot name="sled">
  <link name="base"/>
  <link name="block">
    <inertial><mass value="2"/><inertia ixx="0.01" iyy="0.01" izz="0.01" ixy="0" ixz="0" iyz="0"/></inertial>
    <collision><geometry>{shape}</geometry></collision>
  </link>
  <link name="frame">
    <inertial><mass value="0.001"/><inertia ixx="1e-5" iyy="1e-5" izz="1e-5" ixy="0" ixz="0" iyz="0"/></inertial>
  </link>
  <joint name="up" type="prismatic"><parent link="base"/><child link="frame"/><axis xyz="0 0 1"/>
    <limit lower="-9" upper="9" effort="100" velocity="9"/></joint>
  <joint name="along" type="prismatic"><parent link="frame"/><child link="block"/><axis xyz="1 0 0"/>
    <limit lower="-9" upper="9" effort="100" velocity="9"/></joint>
</robot>"""


def block(folder: Path, shape: str, **changes: object) -> RobotSpec:
    """A block of 2 kg that moves up and along."""
    (folder / "sled.urdf").write_text(SLIDE.format(shape=shape))
    joints = [{"name": name, "type": "prismatic", "interface": "effort", "effort": 100.0} for name in ("up", "along")]
    robot = {"format": 1, "name": "sled", "urdf": "sled.urdf", "joints": joints, "control": {"rate": 100, "physics_rate": 2000}}
    (folder / "robot.yaml").write_text(yaml.safe_dump(robot | changes))
    return load_robot(folder)


@both
def test_the_rotor_of_a_slider_weighs_nothing(tmp_path: Path, engine: str) -> None:
    plant = Plant(block(tmp_path, '<box size="0.2 0.2 0.2"/>'), engine=engine, randomize=False)
    speeds = run(plant, 0.5, [0.0, 0.0], [10.0, 4.0], armature__up=3.0, armature__along=1.0)[-1, 2:]
    up = (10.0 - 2.001 * GRAVITY) / (2.001 + 3.0)
    assert speeds == pytest.approx([0.5 * up, 0.5 * 4.0 / 3.0], rel=1e-2)


@both
def test_link_friction_slows_what_slides(tmp_path: Path, engine: str) -> None:
    spec = block(tmp_path, '<box size="0.2 0.2 0.2"/>', ground={"height": -0.1})
    plant = Plant(spec, engine=engine, randomize=False)
    for friction in (0.0, 0.1, 0.3):
        plant.reset(0, initial=([0.0, 0.0], [0.0, 2.0]), parameters={"link_friction.block": friction})
        for _ in range(40):
            plant.step([0.0, 0.0])
        assert plant.true_state()[3] == pytest.approx(2.0 - friction * GRAVITY * 0.4, abs=0.05)


def bounce(folder: Path, engine: str, restitution: float) -> float:
    """What part of its speed comes back to a ball that falls by 0.5 m."""
    spec = block(folder, '<sphere radius="0.1"/>', ground={"height": -0.1}, control={"rate": 100, "physics_rate": 500})
    plant = Plant(spec, engine=engine, randomize=False)
    plant.reset(0, initial=([0.5, 0.0], [0.0, 0.0]), parameters={"restitution.block": restitution})
    speeds = []
    for _ in range(60):
        plant.step([0.0, 0.0])
        speeds.append(plant.true_state()[2])
    return max(speeds) / math.sqrt(2 * GRAVITY * 0.5)


def test_restitution_is_the_part_of_the_speed_that_comes_back(tmp_path: Path) -> None:
    for restitution in (0.0, 0.4, 0.8):
        assert bounce(tmp_path, "mujoco_urdf", restitution) == pytest.approx(restitution, abs=0.12)


def test_pybullet_gives_back_a_speed_that_restitution_bounds(tmp_path: Path) -> None:
    low, high = bounce(tmp_path, "bullet", 0.0), bounce(tmp_path, "bullet", 0.8)
    assert low < 0.02
    assert 0.5 < high <= 0.8


C1 = np.array([[0.171774, 0.082866], [0.082866, 0.050873]])
"""Mass matrix of the double pendulum C.1 as it hangs [kg m^2]."""
LOSSLESS = {f"{kind}.{joint}": 0.0 for kind in ("coulomb", "viscous", "damping") for joint in ("shoulder", "elbow")}


@both
@pytest.mark.parametrize("rotors", [(0.00226, 0.00226), (0.0, 0.02), (0.5, 0.5), (0.02, 50.0)])
def test_rotors_along_a_chain_resist_their_own_joint_alone(engine: str, rotors: tuple[float, float]) -> None:
    """From rest the accelerations are (M + D)^-1 t: the published rotors of C.1, and some that are far larger than its links."""
    plant = Plant(load_robot("double_pendulum"), engine=engine, randomize=False)
    changes = LOSSLESS | {"armature.shoulder": rotors[0], "armature.elbow": rotors[1], "gravity": 0.0}
    lag = {"lag.shoulder": 0.0, "lag.elbow": 0.0, "delay": 0.0}
    for effort in ([0.3, 0.0], [0.0, 0.2]):
        plant.reset(0, initial=([0.0, 0.0], [0.0, 0.0]), parameters=changes | lag)
        plant.advance(effort, 20)
        expected = np.linalg.solve(C1 + np.diag(rotors), effort) * 0.02
        assert plant.true_state()[2:] == pytest.approx(expected, rel=0.02, abs=1e-4)


@both
def test_a_swinging_chain_with_rotors_keeps_its_energy(engine: str) -> None:
    plant = Plant(load_robot("double_pendulum"), engine=engine, randomize=False)
    changes = LOSSLESS | {"armature.shoulder": 0.02, "armature.elbow": 0.02}
    states = run(plant, 2.0, [1.2, 0.4], [0.0, 0.0], **{key.replace(".", "__"): value for key, value in changes.items()})
    one, two, first, second = states.T
    coupling = 0.6256 * 0.2 * 0.2557
    lower = 0.050873
    upper = C1[0, 0] - lower - 2 * coupling
    moving = 0.5 * (upper + 0.02) * first**2 + 0.5 * lower * (first + second) ** 2 + 0.5 * 0.02 * second**2
    moving += coupling * np.cos(two) * first * (first + second)
    height = -(0.5235 * 0.2 + 0.6256 * 0.2) * np.cos(one) - 0.6256 * 0.2557 * np.cos(one + two)
    energy = moving + GRAVITY * height
    assert np.ptp(energy) < 0.03 * GRAVITY * np.ptp(height)


@both
def test_a_push_gives_its_impulse(bob: Robot, engine: str) -> None:
    spec = bob()
    plant = Plant(spec, engine=engine, randomize=False)
    body = make_engine(engine, spec)
    parameters = plant.nominal.changed({"gravity": 0.0})

    def speed(pushes: list[tuple[tuple[float, float, float], tuple[float, float, float]]], steps: int = 5) -> float:
        body.reset(parameters, [0.0], [0.0])
        for _ in range(steps):
            for force, torque in pushes:
                body.push("arm", force, torque)
            body.step([0.0])
        body.step([0.0])  # without a push nothing changes any more
        return body.states()[0][1]

    # Hanging, about -y: a force along x at the centre of mass turns by x times the arm.
    forward = speed([((3.0, 1.0, 2.0), (0.0, 0.0, 0.0))])
    assert abs(forward) == pytest.approx(3.0 * ARM * 0.005 / INERTIA, rel=1e-3)
    turned = speed([((0.0, 0.0, 0.0), (0.5, -0.7, 0.2))])
    assert turned == pytest.approx(0.7 * 0.005 / INERTIA, rel=1e-3)
    added = speed([((3.0, 0.0, 0.0), (0.0, 0.0, 0.0)), ((0.0, 0.0, 0.0), (0.0, -0.7, 0.0))])
    assert added == pytest.approx(forward + turned, rel=1e-3)
    body.push("arm", (100.0, 0.0, 0.0), (0.0, 0.0, 0.0))
    assert speed([], 1) == 0.0  # a reset forgets


@both
@pytest.mark.parametrize("name", ["double_pendulum", "cartpole"])
def test_what_was_loaded_before_leaves_no_trace(name: str, engine: str) -> None:
    spec = load_robot(name)
    link = "lower" if name == "double_pendulum" else "pole"
    joint = spec.joint_names[-1]
    commands = np.random.default_rng(0).uniform(*spec.action_limits(), (20, spec.action_size))

    def trajectory(plant: Plant, **parameters: float) -> np.ndarray:
        plant.reset(3, parameters={key.replace("__", "."): value for key, value in parameters.items()})
        for command in commands:
            plant.step(command)
        return plant.true_state()

    fresh = Plant(spec, engine=engine, randomize=False)
    plain, shifted = trajectory(fresh), trajectory(Plant(spec, engine=engine, randomize=False), **{f"com__{link}__x": 0.02})
    used = Plant(spec, engine=engine, randomize=False)
    assert not np.array_equal(plain, shifted)
    assert np.array_equal(trajectory(used, **{f"com__{link}__x": 0.02}), shifted)
    trajectory(used, **{f"armature__{joint}": 0.1, f"mass__{link}": 1.0, f"link_friction__{link}": 0.2})
    for turn in range(510):  # beyond the number of robots after which PyBullet's world is made anew
        used.reset(turn, parameters={f"com.{link}.x": 1e-4 * turn})
    assert np.array_equal(trajectory(used), plain)
    assert np.array_equal(trajectory(used, **{f"com__{link}__x": 0.02}), shifted)


@both
def test_the_rail_ends_where_the_urdf_says(engine: str) -> None:
    plant = Plant(load_robot("cartpole"), engine=engine, randomize=False)
    plant.reset(0, initial=([1.5, 0.0], [3.0, 0.0]))
    places = []
    for _ in range(100):
        plant.step([10.0])
        places.append(plant.true_state()[0])
    assert max(places) < 2.22
    assert places[-1] == pytest.approx(2.2, abs=0.002)


@pytest.mark.parametrize("engine", [*ENGINES, "mujoco"])
@pytest.mark.parametrize("absurd", [{"gravity": 1e9}, {"strength.elbow": 1e12}])
def test_exploding_physics_is_told_and_forgotten(
    engine: str, absurd: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    spec = load_robot("double_pendulum")
    plant, fresh = Plant(spec, engine=engine, randomize=False), Plant(spec, engine=engine, randomize=False)
    with pytest.raises(UnstablePhysics):
        plant.reset(0, parameters=absurd)
        for _ in range(50):
            plant.step([1.0, 1.0])
    for each in (plant, fresh):
        each.reset(1)
        for _ in range(20):
            each.step([1.0, 0.5])
    assert np.array_equal(plant.true_state(), fresh.true_state())
    assert not list(tmp_path.iterdir()), "a log file was left where the user stood"


def test_a_world_that_nobody_closed_is_given_back_with_its_engine() -> None:
    engine = BulletEngine(load_robot("pendulum"))
    client = engine.client
    assert pybullet.isConnected(client)
    del engine
    gc.collect()
    assert not pybullet.isConnected(client)
