"""A base that moves: its coordinates are joints whose positions and velocities mean the same everywhere."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pybullet
import pytest
import torch
import yaml

from forerun_sim.engines.bullet import BulletEngine
from forerun_sim.errors import InputError
from forerun_sim.kinematics import Kinematics, check_frames
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.spec.scene import coordinates
from forerun_sim.urdf import robot_urdf

SLED_URDF = """<robot name="sled">
  <link name="hull">
    <inertial>
      <origin xyz="0.05 -0.02 0.03" rpy="0.2 -0.3 0.4"/><mass value="2"/>
      <inertia ixx="0.02" iyy="0.03" izz="0.04" ixy="0.001" ixz="0" iyz="0"/>
    </inertial>
    <collision><geometry><box size="0.4 0.3 0.2"/></geometry></collision>
  </link>
  <link name="mast">
    <inertial><origin xyz="0 0 0.1"/><mass value="0.3"/><inertia ixx="0.002" iyy="0.002" izz="0.001"/></inertial>
  </link>
  <joint name="turn" type="continuous">
    <parent link="hull"/><child link="mast"/><origin xyz="0.1 0 0.1" rpy="0.3 0 0"/><axis xyz="0 0 1"/>
  </joint>
</robot>
"""
PLANAR, FLOATING = coordinates("base", "planar"), coordinates("base", "floating")
Sled = Callable[..., RobotSpec]


def joint(name: str) -> dict[str, object]:
    return {"name": name, "type": "prismatic" if name[-2:] in ("_x", "_y", "_z") else "continuous"}


@pytest.fixture
def sled(tmp_path: Path) -> Sled:
    """A hull whose centre of mass and axes of inertia lie askew, with a mast that turns: ``sled("floating", **changes)``."""

    def build(base: str, names: tuple[str, ...] | None = None, **changes: object) -> RobotSpec:
        (tmp_path / "sled.urdf").write_text(SLED_URDF)
        wanted = coordinates("base", base) if names is None else names
        robot: dict[str, object] = {
            "format": 1,
            "name": "sled",
            "urdf": "sled.urdf",
            "base": base,
            "joints": [
                *map(joint, wanted[:1]),
                {"name": "turn", "type": "continuous", "interface": "effort", "effort": 5.0},
                *map(joint, wanted[1:]),
            ],
            "control": {"rate": 50, "physics_rate": 1000},
        }
        (tmp_path / "robot.yaml").write_text(yaml.safe_dump(robot | changes))
        return load_robot(tmp_path)

    return build


@pytest.fixture
def floating(sled: Sled) -> Iterator[tuple[RobotSpec, BulletEngine, Plant]]:
    """The floating sled, its engine, and a plant for its nominal parameters."""
    spec = sled("floating")
    engine, plant = BulletEngine(spec), Plant(spec, randomize=False)
    yield spec, engine, plant
    engine.close()
    plant.close()


def random_states(spec: RobotSpec, count: int, seed: int = 3) -> Iterator[tuple[list[float], list[float]]]:
    rng = np.random.default_rng(seed)
    pitch = spec.joint_names.index("base_pitch")
    for _ in range(count):
        position = rng.uniform(-5, 5, len(spec.joints))
        position[pitch] = rng.uniform(-1.4, 1.4)
        yield position.tolist(), rng.uniform(-3, 3, len(spec.joints)).tolist()


def test_a_base_is_where_it_was_put_and_moves_as_it_was_told(floating: tuple[RobotSpec, BulletEngine, Plant]) -> None:
    spec, engine, plant = floating
    for position, velocity in random_states(spec, 20):
        engine.reset(plant.nominal, position, velocity)
        rows = np.array([row[:2] for row in engine.states()])
        assert np.allclose(rows[:, 0], position, atol=1e-6)
        assert np.allclose(rows[:, 1], velocity, atol=1e-5)


def test_velocities_are_the_time_derivatives_of_the_coordinates(sled: Sled) -> None:
    """Also while it tumbles: rates of the Euler angles are no angular velocity, and the root's origin is no centre of mass."""
    spec = sled("floating", control={"rate": 50, "physics_rate": 20000})
    engine, plant = BulletEngine(spec), Plant(spec, randomize=False)
    for position, velocity in random_states(spec, 10):
        engine.reset(plant.nominal.changed({"gravity": 0.0}), position, velocity)
        rows = []
        for _ in range(3):
            rows.append(np.array([row[:2] for row in engine.states()]))
            engine.step([0.0] * len(spec.joints))
        change = (rows[2][:, 0] - rows[0][:, 0]) * 10000
        assert np.allclose(change, rows[1][:, 1], atol=0.02 * max(1.0, np.abs(rows[1][:, 1]).max()))


def test_links_of_a_moving_base_are_where_pybullet_has_them(floating: tuple[RobotSpec, BulletEngine, Plant]) -> None:
    spec, engine, plant = floating
    frames = robot_urdf(spec).frames(spec.joint_names)
    assert check_frames(frames, len(spec.joints)) == ""
    kinematics = Kinematics(frames)
    for position, velocity in random_states(spec, 10):
        engine.reset(plant.nominal, position, velocity)
        state = pybullet.getLinkState(engine._body, 0, computeForwardKinematics=1, physicsClientId=engine._client)
        assert np.allclose(kinematics.point(np, np.array(position), "mast"), state[4], atol=1e-6)
        hull = kinematics.point(np, np.array(position), "hull")
        assert np.allclose(hull, [position[spec.joint_names.index(name)] for name in FLOATING[:3]])
        batch = torch.tensor([position, position], dtype=torch.float64)
        assert np.allclose(kinematics.point(torch, batch, "mast").numpy(), [state[4], state[4]], atol=1e-6)


def test_a_planar_base_shows_its_pose_on_the_ground(sled: Sled) -> None:
    spec = sled("planar", ground={"height": -0.1, "friction": 0.0})
    plant = Plant(spec, randomize=False)
    order = spec.joint_names
    start = dict(zip(PLANAR, (1.0, 2.0, 3.0), strict=True))
    plant.reset(0, initial=([start.get(name, 0.0) for name in order], [0.5 if name == "base_yaw" else 0.0 for name in order]))
    for _ in range(50):
        plant.step([0.0])
    state = dict(zip(order, plant.true_state(), strict=False))
    assert state["base_yaw"] == pytest.approx(3.5, abs=0.03), "it turns on past half a turn"
    assert math.hypot(state["base_x"] - 1.0, state["base_y"] - 2.0) < 0.06, "about its centre of mass"
    mast = Kinematics(robot_urdf(spec).frames(order)).point(np, plant.true_state(), "mast")
    seen = pybullet.getLinkState(plant._engine._body, 0, physicsClientId=plant._engine._client)[4]  # type: ignore[attr-defined]
    assert np.allclose(mast, seen, atol=2e-3)


def test_yaw_counts_whole_turns(sled: Sled) -> None:
    spec = sled("floating")
    plant = Plant(spec, randomize=False)
    yaw = spec.joint_names.index("base_yaw")
    velocity = np.eye(len(spec.joints))[yaw] * 6.0
    plant.reset(0, initial=(np.zeros(len(spec.joints)), velocity), parameters={"gravity": 0.0})
    seen = []
    for _ in range(300):
        plant.step([0.0])
        seen.append(plant.true_state()[yaw])
    assert seen[-1] > 3 * math.tau
    assert np.abs(np.diff(seen)).max() < 0.2


def test_a_free_base_falls_as_newton_says(floating: tuple[RobotSpec, BulletEngine, Plant]) -> None:
    spec, _, plant = floating
    plant.reset(0, initial=(np.zeros(len(spec.joints)), np.zeros(len(spec.joints))))
    for _ in range(25):
        plant.step([0.0])
    z = plant.true_state()[spec.joint_names.index("base_z")]
    assert z == pytest.approx(-0.5 * 9.81 * 0.5**2, rel=5e-3)


def test_a_push_on_the_base_gives_it_its_momentum(floating: tuple[RobotSpec, BulletEngine, Plant]) -> None:
    spec, engine, plant = floating
    size = len(spec.joints)
    engine.reset(plant.nominal.changed({"gravity": 0.0}), [0.0] * size, [0.0] * size)
    for _ in range(100):
        engine.push("hull", (4.6, 0.0, 0.0), (0.0, 0.0, 0.0))
        engine.step([0.0] * size)
    hull, mast = (
        pybullet.getBaseVelocity(engine._body, engine._client)[0],
        pybullet.getLinkState(engine._body, 0, computeLinkVelocity=1, physicsClientId=engine._client)[6],
    )
    assert 2.0 * hull[0] + 0.3 * mast[0] == pytest.approx(4.6 * 0.1, rel=1e-3)
    engine.reset(plant.nominal.changed({"gravity": 0.0}), [0.0] * size, [0.0] * size)
    for _ in range(100):
        engine.push("hull", (0.0, 0.0, 0.0), (0.0, 0.0, 0.2))
        engine.step([0.0] * size)
    assert engine.states()[spec.joint_names.index("base_yaw")][1] > 0.2


def test_an_episode_on_the_ground_does_not_depend_on_those_before_it(sled: Sled) -> None:
    spec = sled("floating", ground=True)
    start = np.zeros(len(spec.joints))
    start[spec.joint_names.index("base_z")] = 0.1
    moving = np.full(len(spec.joints), 0.7)

    def run(plant: Plant, episode: int) -> np.ndarray:
        plant.reset(episode, initial=(start, moving * (1 + episode)))
        rows = []
        for _ in range(40):
            plant.step([0.3])
            rows.append(plant.true_state())
        return np.array(rows)

    fresh, used = Plant(spec, randomize=False), Plant(spec, randomize=False)
    for episode in range(3):
        run(used, episode)
    assert np.array_equal(run(fresh, 3), run(used, 3))


def test_a_base_inside_the_ground_is_lifted_onto_it(sled: Sled) -> None:
    spec = sled("floating", ground=True)
    plant = Plant(spec, randomize=False)
    plant.reset(0, initial=(np.zeros(len(spec.joints)), np.zeros(len(spec.joints))))
    for _ in range(50):
        plant.step([0.0])
        assert np.abs(plant.true_state()[len(spec.joints) :]).max() < 0.5, "nothing throws it out"
    assert plant.true_state()[spec.joint_names.index("base_z")] == pytest.approx(0.1, abs=0.01)


@pytest.mark.parametrize(
    ("base", "changes", "message"),
    [
        ("floating", {"names": PLANAR}, "needs its coordinate 'base_z': add '- { name: base_z, type: prismatic }'"),
        ("planar", {}, "a planar 'base' needs something to stand on: add 'ground: true'"),
        ("wheeled", {"names": ()}, "base"),
        ("fixed", {"objects": {"base": {"shape": "sphere", "size": [1], "mass": 1}}}, "'base' is the robot's own"),
        ("fixed", {"objects": {"puck": {"shape": "sphere", "size": [1, 2], "mass": 1}}}, "a sphere has 1 sizes, not 2"),
        ("floating", {"ground": {"hight": 1}}, "unknown key 'ground.hight'; allowed here: height, friction, restitution"),
    ],
)
def test_what_robot_yaml_says_wrong_is_explained(sled: Sled, base: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=r"robot\.yaml") as caught:
        sled(base, **changes)
    assert message in str(caught.value)


def test_coordinates_take_no_commands(sled: Sled) -> None:
    driven = {"name": "base_x", "type": "prismatic", "interface": "effort", "effort": 1.0}
    turn = {"name": "turn", "type": "continuous"}
    with pytest.raises(InputError, match="'base_x' is a coordinate of 'base', not driven"):
        sled("planar", joints=[driven, turn, joint("base_y"), joint("base_yaw")], ground=True)
