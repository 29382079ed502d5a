"""`forerun new-robot` makes a working robot of any URDF, or says what is wrong with it; it never loses what was there."""

from __future__ import annotations

import importlib.util
import json
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pybullet
import pybullet_data
import pytest
from numpy.typing import NDArray
from pybullet_utils.bullet_client import BulletClient
from tests.support.urdfs import ARM, binary_stl, text_stl, write_arm
from typer.testing import CliRunner, Result

from forerun.bags import load_trials
from forerun.cli.app import app
from forerun_models.recipe import load_recipe
from forerun_sim.actuators import per_joint
from forerun_sim.authoring import new_robot
from forerun_sim.authoring.portable import portable_files
from forerun_sim.engines.bullet_portrait import portrait
from forerun_sim.engines.mass_matrix import MassMatrix
from forerun_sim.errors import ForerunError, InputError
from forerun_sim.files import write_file
from forerun_sim.plant import Plant
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tasks.function import TaskFunction
from forerun_sim.urdf import load_urdf


def shipped() -> Path:
    """The folder of PyBullet's models."""
    found = importlib.util.find_spec("pybullet_data")
    assert found is not None and found.origin is not None
    return Path(found.origin).parent


def run(*args: str | Path) -> Result:
    return CliRunner().invoke(app, list(map(str, args)), env={"COLUMNS": "200"})


@pytest.fixture
def arm(tmp_path: Path) -> Path:
    """The URDF of an arm of two joints, with a mesh."""
    return write_arm(tmp_path / "source") / "arm.urdf"


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a robot made of that URDF."""
    folder = tmp_path_factory.mktemp("made")
    new_robot(write_arm(folder / "source") / "arm.urdf", folder / "mine")
    return folder / "mine"


def test_what_the_urdf_says_is_filled_in_and_the_rest_is_said_to_be_a_guess(arm: Path, tmp_path: Path) -> None:
    shown = run("new-robot", arm, "--out", tmp_path / "mine", "--name", "my_arm")
    assert shown.exit_code == 0, shown.output
    spec = load_robot(tmp_path / "mine")
    assert (spec.name, spec.joint_names) == ("my_arm", ("shoulder", "elbow"))
    shoulder, elbow = spec.joints
    assert (shoulder.position, shoulder.velocity, shoulder.effort) == ((-1.5, 2.0), 3.0, 40.0)
    assert (elbow.position, elbow.effort, elbow.interface) == ((0.2, 2.6), 20.0, "effort")
    assert next(iter(spec.tasks)) == "hold"
    assert spec.safety.action == "damp" and spec.safety.velocity_margin <= 1.1
    text = (tmp_path / "mine" / "robot.yaml").read_text()
    assert "GUESS" in text and "effort: 40 # N m\n" in text
    for told in ("forerun inspect", "forerun simulate", "forerun train", "guesses", "slew"):
        assert told in shown.output


def test_a_first_task_and_a_first_recipe_are_gentle_and_are_what_the_commands_take(mine: Path, tmp_path: Path) -> None:
    spec = load_robot(mine)
    lower, upper = spec.action_limits("hold")
    efforts = np.array([joint.effort for joint in spec.joints])
    assert (upper < 0.7 * efforts).all() and (lower == -upper).all(), "far stronger than it is heavy"
    recipe = load_recipe(None, spec.name, spec.folder)
    assert recipe == load_recipe(mine / "recipe.yaml", spec.name) and recipe.task == "hold"
    assert recipe.planner.samples * recipe.planner.iterations < 200, "plans come in time on one core"
    assert run("simulate", mine, "--episodes", 3, "--steps", 40, "--out", tmp_path / "bag").exit_code == 0
    actions = np.concatenate([trial.actions for trial in load_trials([tmp_path / "bag"], spec)])
    assert (np.abs(actions) <= upper + 1e-6).all()


def test_the_new_folder_stands_alone(arm: Path, tmp_path: Path) -> None:
    """Meshes are copied: the source may go, and the folder may move."""
    new_robot(arm, tmp_path / "mine")
    shutil.rmtree(arm.parent)
    (tmp_path / "mine").rename(tmp_path / "moved")
    plant = Plant(load_robot(tmp_path / "moved"))
    plant.step([1.0, 1.0])
    assert (tmp_path / "moved" / "meshes" / "source" / "lower.stl").read_bytes() == binary_stl()


def test_what_runs_and_bundles_keep_of_a_robot_simulates_without_the_rest(arm: Path, tmp_path: Path) -> None:
    """Its own folder is gone, and with it the meshes; a robot.yaml may name a URDF in another folder."""
    new_robot(arm, tmp_path / "mine")
    (tmp_path / "mine" / "arm.urdf").rename(tmp_path / "mine" / "meshes" / "arm.urdf")
    text = (tmp_path / "mine" / "robot.yaml").read_text()
    (tmp_path / "mine" / "robot.yaml").write_text(text.replace("urdf: arm.urdf", "urdf: meshes/arm.urdf"))
    spec = load_robot(tmp_path / "mine")
    before = _after_a_push(spec)
    for name, content in portable_files(spec).items():
        write_file(tmp_path / "kept" / name, content)
    shutil.rmtree(tmp_path / "mine")
    shutil.rmtree(arm.parent)
    np.testing.assert_array_equal(_after_a_push(load_robot(tmp_path / "kept")), before)


def _after_a_push(spec: RobotSpec) -> NDArray[np.float64]:
    plant = Plant(spec)
    for _ in range(20):
        plant.step([3.0, 1.0])
    return plant.true_state()


def test_the_new_robot_simulates_and_its_task_rewards_staying(mine: Path, tmp_path: Path) -> None:
    made = run("simulate", mine, "--episodes", "2", "--steps", "40", "--out", tmp_path / "bag", "--json", "-")
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout)["trials"] == 2
    spec = load_robot(mine)
    task = TaskFunction(spec, "hold")
    home, away = np.array([0.0, 1.4, 0.0, 0.0]), np.array([1.0, 0.5, 0.0, 0.0])
    at_home, elsewhere = (task.reward(np, state, np.zeros(2), np.zeros(2), np.zeros(0)) for state in (home, away))
    assert at_home > elsewhere


@pytest.mark.parametrize("interface", ["effort", "velocity", "position"])
def test_each_interface_holds_the_arm(arm: Path, tmp_path: Path, interface: str) -> None:
    new_robot(arm, tmp_path / "mine", interface=interface)
    spec = load_robot(tmp_path / "mine")
    planner = load_recipe(None, spec.name, spec.folder).planner
    assert (planner.std < 0.1) == (interface == "position"), "a servo is not sent from limit to limit"
    assert {joint.interface for joint in spec.joints} == {interface}
    plant = Plant(spec, randomize=False)
    plant.reset(0, initial=([0.0, 1.4], [0.0, 0.0]))
    for _ in range(100):
        plant.step([0.0, 1.4] if interface == "position" else [0.0, 0.0])
    moved = np.abs(plant.true_state()[:2] - [0.0, 1.4]).max()
    assert moved < 0.1 if interface != "effort" else moved > 0.1


@pytest.mark.parametrize("interface", ["effort", "velocity"])
def test_every_joint_moves_within_its_first_task(tmp_path: Path, interface: str) -> None:
    """KUKA's URDF gives each joint 300 N m and 10 rad/s, the wrist's last with 0.001 kg m^2, too."""
    new_robot(Path(pybullet_data.getDataPath()) / "kuka_iiwa" / "model.urdf", tmp_path / "arm", interface=interface)
    spec = load_robot(tmp_path / "arm")
    upper = spec.action_limits("hold")[1]
    assert (upper <= 4.0 if interface == "velocity" else upper < 300.0).all()
    plant = Plant(spec, randomize=False)
    for joint, name in enumerate(spec.joint_names):
        plant.reset(0)
        before = plant.true_state()[joint]
        for _ in range(25):
            plant.step(np.where(np.arange(len(upper)) == joint, 0.5 * upper, 0.0))
        assert plant.true_state()[joint] - before > 0.05, name


def test_mass_matrices_are_those_of_pybullet() -> None:
    path = shipped() / "kuka_iiwa" / "model.urdf"
    urdf = load_urdf(path)
    positions = np.random.default_rng(0).uniform(-1.0, 1.0, (3, 7))
    client = BulletClient(pybullet.DIRECT)
    try:
        body = client.loadURDF(str(path), useFixedBase=True, flags=pybullet.URDF_USE_INERTIA_FROM_FILE)
        expected = [client.calculateMassMatrix(body, list(position)) for position in positions]
    finally:
        client.disconnect()
    matrix = MassMatrix(urdf, urdf.movable)
    matrix.load({}, {}, {}, [0.0] * 7)
    found = [np.linalg.inv(matrix.inverse(position)) for position in positions]
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_a_stop_damps_every_joint_and_shakes_none(tmp_path: Path) -> None:
    """The wrist of this arm has a hundred-thousandth of the inertia of its shoulder, and commands come late."""
    new_robot(shipped() / "kuka_iiwa" / "model.urdf", tmp_path / "arm")
    spec = load_robot(tmp_path / "arm")
    gains = np.array([*per_joint(spec.safety.damp_gain, spec.joints).values()])
    limits = np.array([joint.effort for joint in spec.joints])
    for episode in range(3):
        plant = Plant(spec)
        plant.reset(episode, initial=(np.zeros(7), np.ones(7)))
        speeds = []
        for _ in range(50):
            velocity = plant.true_state()[7:]
            plant.step(np.clip(-gains * velocity, -limits, limits))
            speeds.append(np.abs(velocity))
        assert np.max(speeds[40:]) < 0.4


def test_what_is_missing_is_guessed_and_listed(arm: Path, tmp_path: Path) -> None:
    arm.write_text(ARM.replace('effort="40" velocity="3"', 'effort="0" velocity="0"').replace('effort="20" velocity="3"', ""))
    made = new_robot(arm, tmp_path / "mine")
    told = "\n".join(made.guesses)
    assert all(f"{joint}: no {what} limit" in told for joint in ("shoulder", "elbow") for what in ("effort", "velocity"))
    spec = load_robot(tmp_path / "mine")
    weight = 9.81 * (1.5 * 0.2 + 0.8 * (0.4**2 + 0.15**2) ** 0.5)
    assert spec.joints[0].effort is not None and spec.joints[0].effort > weight


def test_gears_passive_joints_and_grippers_are_told_apart(arm: Path, tmp_path: Path) -> None:
    finger = """<link name="{0}"><inertial><mass value="0.1"/><inertia ixx="1e-4" iyy="1e-4" izz="1e-4"/></inertial></link>
    <joint name="{0}" type="{1}"><parent link="tool"/><child link="{0}"/><axis xyz="1 0 0"/>{2}</joint>"""
    limit = '<limit lower="0" upper="0.04" effort="20" velocity="0.2"/>'
    more = finger.format("finger_left", "prismatic", limit)
    more += finger.format("finger_right", "prismatic", limit + '<mimic joint="finger_left"/>')
    more += finger.format("caster", "continuous", "")
    arm.write_text(ARM.replace("</robot>", more + "</robot>"))
    made = new_robot(arm, tmp_path / "mine")
    told = "\n".join(made.guesses)
    assert "finger_left: looks like a gripper" in told
    assert "finger_right: follows 'finger_left' by a gear (mimic)" in told
    assert "caster: has no effort limit" in told
    spec = load_robot(tmp_path / "mine")
    assert spec.joint_names == ("shoulder", "elbow", "finger_left", "caster")
    assert spec.action_names == ("shoulder", "elbow", "finger_left")


def test_ros2_control_says_what_is_driven_and_how(arm: Path, tmp_path: Path) -> None:
    control = (
        '<ros2_control name="c" type="system"><joint name="elbow"><command_interface name="position"/></joint></ros2_control>'
    )
    arm.write_text(ARM.replace("</robot>", control + "</robot>"))
    new_robot(arm, tmp_path / "mine")
    assert [joint.interface for joint in load_robot(tmp_path / "mine").joints] == ["none", "position"]


def test_bases_that_move_get_their_coordinates_and_ground(arm: Path, tmp_path: Path) -> None:
    new_robot(arm, tmp_path / "mine", base="floating", interface="position")
    spec = load_robot(tmp_path / "mine")
    assert spec.joint_names[:6] == ("base_x", "base_y", "base_z", "base_roll", "base_pitch", "base_yaw")
    assert spec.base == "floating" and spec.ground is not None


@pytest.mark.parametrize("variable", ["ROS_PACKAGE_PATH", "AMENT_PREFIX_PATH", "folder"])
def test_meshes_of_ros_packages_are_found(arm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    for name in ("ROS_PACKAGE_PATH", "AMENT_PREFIX_PATH"):
        monkeypatch.delenv(name, raising=False)
    root = {"ROS_PACKAGE_PATH": "ws/src/arm_description", "AMENT_PREFIX_PATH": "opt/share/arm_description"}.get(
        variable, "source"
    )
    folder = tmp_path / root / "meshes"
    folder.mkdir(parents=True)
    (arm.parent / "lower.stl").rename(folder / "lower.stl")
    arm.write_text(ARM.replace("lower.stl", "package://arm_description/meshes/lower.stl"))
    if variable == "folder":
        (arm.parent / "package.xml").write_text("<package><name>arm_description</name></package>")
    else:
        with pytest.raises(InputError, match=r"link 'lower': mesh 'package://.*ROS_PACKAGE_PATH"):
            new_robot(arm, tmp_path / "mine")
        monkeypatch.setenv(variable, str(tmp_path / ("ws/src" if variable == "ROS_PACKAGE_PATH" else "opt")))
    assert new_robot(arm, tmp_path / "mine").meshes == 1


def test_a_text_stl_becomes_a_binary_one(arm: Path, tmp_path: Path) -> None:
    (arm.parent / "lower.stl").write_text(text_stl())
    made = new_robot(arm, tmp_path / "mine")
    assert any("lower.stl became a binary one" in change for change in made.changes)
    content = (tmp_path / "mine/meshes/source/lower.stl").read_bytes()
    assert struct.unpack_from("<I", content, 80)[0] == 4 and len(content) == 84 + 4 * 50


def test_impossible_bodies_are_refused_and_repaired_when_asked(arm: Path, tmp_path: Path) -> None:
    broken = ARM.replace('ixx="0.02" iyy="0.02"', 'ixx="0.05" iyy="0.02"').replace(
        'ixx="0.008" iyy="0.008" izz="0.001"', 'ixx="0" iyy="0" izz="0"'
    )
    arm.write_text(broken)
    refused = run("new-robot", arm, "--out", tmp_path / "mine")
    assert refused.exit_code == 2 and "'upper'" in refused.stderr and "--repair" in refused.stderr and str(arm) in refused.stderr
    assert not (tmp_path / "mine").exists()
    repaired = run("new-robot", arm, "--out", tmp_path / "mine", "--repair")
    assert repaired.exit_code == 0, repaired.output
    assert "link 'upper'" in repaired.output and "link 'lower'" in repaired.output
    assert arm.read_text() == broken


def test_an_existing_folder_is_never_lost(arm: Path, tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.tex").write_text("years")
    for options in ((), ("--force",)):
        shown = run("new-robot", arm, "--out", out, *options)
        assert shown.exit_code == 2 and str(out) in shown.stderr
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    inside = run("new-robot", arm, "--out", arm.parent, "--force")
    assert inside.exit_code == 2 and "holds" in inside.stderr and arm.exists()
    new_robot(arm, tmp_path / "other")
    assert run("new-robot", arm, "--out", tmp_path / "other").exit_code == 2
    assert run("new-robot", arm, "--out", tmp_path / "other", "--force").exit_code == 0


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ('<robot name="r" xmlns:xacro="http://ros.org/wiki/xacro"><xacro:leg/></robot>', "xacro"),
        ('<robot name="r"><link name="a"/></robot>', "no joint of this URDF moves"),
        ("<sdf/>", "begins with <robot>"),
        ("", "not valid XML"),
    ],
)
def test_what_is_no_robot_is_refused_with_a_hint(tmp_path: Path, content: str, expected: str) -> None:
    (tmp_path / "r.urdf").write_text(content)
    shown = run("new-robot", tmp_path / "r.urdf", "--out", tmp_path / "mine")
    assert shown.exit_code == 2 and expected in shown.stderr and "r.urdf" in shown.stderr
    assert not (tmp_path / "mine").exists()


WORKING = (
    "kuka_iiwa/model.urdf",
    "cartpole.urdf",
    "husky/husky.urdf",
    "r2d2.urdf",
    "xarm/xarm6_robot.urdf",
    "racecar/racecar.urdf",
)


@pytest.mark.parametrize("name", WORKING)
def test_robots_that_pybullet_ships_work(tmp_path: Path, name: str) -> None:
    made = new_robot(shipped() / name, tmp_path / "robot", repair=True)
    plant = Plant(load_robot(tmp_path / "robot"))
    for _ in range(10):
        plant.step([0.0] * plant.spec.action_size)
    assert np.isfinite(plant.true_state()).all()
    assert made.driven


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("cube.urdf", "no joint of this URDF moves"),
        ("humanoid/humanoid.urdf", "not valid XML"),
        ("quadruped/microtaur/microtaur.urdf", "is not three numbers"),
        ("spherical_joint_limit.urdf", "'neck' is of type 'spherical'"),
        ("mini_cheetah/mini_cheetah.urdf", "'thigh_fr' has the principal moments"),
        ("laikago/laikago.urdf", "'FR_hip_motor'.*no inertia"),
    ],
)
def test_models_that_cannot_work_are_refused_by_name(tmp_path: Path, name: str, expected: str) -> None:
    with pytest.raises(ForerunError, match=rf"{Path(name).name}.*{expected}"):
        new_robot(shipped() / name, tmp_path / "robot")
    assert not (tmp_path / "robot").exists()


def test_inspect_shows_the_robot_in_a_picture(mine: Path, tmp_path: Path) -> None:
    shown = run("inspect", mine, "--picture", tmp_path / "one.png", "--pose", "elbow=0.5")
    assert shown.exit_code == 0, shown.output
    width, height, rgb = read_png(tmp_path / "one.png")
    drawn = (rgb != 255).any(axis=2)
    rows, columns = np.nonzero(drawn)
    filled = max((np.ptp(rows) + 1) / height, (np.ptp(columns) + 1) / width)
    assert 0.75 < filled < 0.99
    assert rows.min() > 0 and columns.min() > 0 and rows.max() < height - 1 and columns.max() < width - 1
    spec = load_robot(mine)
    bent, straight = (portrait(spec, {"elbow": angle}, 80, 60).rgb for angle in (2.0, 0.3))
    assert bent.shape == (60, 80, 3) and not np.array_equal(bent, straight)


def test_inspect_prints_what_varies_and_the_values_of_an_episode(mine: Path) -> None:
    shown = run("inspect", mine, "--episode", "3", "--seed", "1")
    assert "0.9 to 1.1 times nominal" in shown.output and "mass.upper" in shown.output and "episode 3, seed 1" in shown.output
    result = json.loads(run("inspect", mine, "--episode", "3", "--seed", "1", "--json", "-").stdout)
    plant = Plant(load_robot(mine), seed=1)
    plant.reset(3)
    assert result["sampled"] == plant.parameters


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        (("--picture", "a.jpg"), "pictures are PNG files: name it a.png"),
        (("--picture", "a.png", "--pose", "knee=1"), "no joint ['knee']; it has: shoulder, elbow"),
        (("--pose", "elbow"), "write JOINT=POSITION"),
    ],
)
def test_bad_requests_for_a_picture_are_refused(mine: Path, options: tuple[str, ...], expected: str) -> None:
    shown = run("inspect", mine, *options)
    assert shown.exit_code == 2 and expected in shown.stderr


def read_png(path: Path) -> tuple[int, int, np.ndarray]:
    """Width, height and pixels [H, W, 3] of a PNG of unfiltered RGB rows."""
    content = path.read_bytes()
    width, height = struct.unpack_from(">II", content, 16)
    begin = content.index(b"IDAT") + 4
    size = struct.unpack_from(">I", content, begin - 8)[0]
    rows = np.frombuffer(zlib.decompress(content[begin : begin + size]), np.uint8).reshape(height, 1 + 3 * width)
    return width, height, rows[:, 1:].reshape(height, width, 3)
