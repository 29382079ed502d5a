"""The arms: a torque-driven one that balances its weight, the same driven by velocity, and one of position servos, as in logs."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pybullet
import pytest
import yaml
from numpy.typing import NDArray

from forerun_sim import resources
from forerun_sim.errors import InputError
from forerun_sim.gravity import GravityCompensation
from forerun_sim.kinematics import Kinematics
from forerun_sim.plant import Plant, Reading
from forerun_sim.spec import RobotSpec, load_robot
from forerun_sim.tasks import TaskFunction
from forerun_sim.urdf import load_urdf, robot_urdf

Array = NDArray[np.float64]
Controller = Callable[[Reading], Array]
READY = np.array([0.0, -0.7854, 0.0, -2.3562, 0.0, 1.5708, 0.7854])
STILL = np.zeros(7)


class Bullet:
    """The panda's own URDF in a PyBullet of the test's, to check against."""

    def __init__(self) -> None:
        self._client = pybullet.connect(pybullet.DIRECT)
        spec = load_robot("panda")
        assert spec.urdf is not None
        flags = pybullet.URDF_USE_INERTIA_FROM_FILE | pybullet.URDF_MAINTAIN_LINK_ORDER
        path = str(spec.file(spec.urdf))
        self._body = pybullet.loadURDF(path, useFixedBase=True, flags=flags, physicsClientId=self._client)
        pybullet.setGravity(0, 0, -9.81, self._client)

    def weight(self, position: Array) -> Array:
        """Efforts [9] that hold arm and fingers at ``position`` [9]."""
        nothing = [0.0] * 9
        found = pybullet.calculateInverseDynamics(self._body, position.tolist(), nothing, nothing, physicsClientId=self._client)
        return np.array(found)

    def inertia(self, position: Array) -> Array:
        """Mass matrix [7, 7] of the arm at ``position`` [7]."""
        found = pybullet.calculateMassMatrix(self._body, [*position.tolist(), 0.0, 0.0], physicsClientId=self._client)
        return np.array(found)[:7, :7]

    def close(self) -> None:
        pybullet.disconnect(self._client)


@pytest.fixture
def bullet() -> Bullet:
    return Bullet()


def reached(spec: RobotSpec, link: str, start: Array, goal: Array) -> Array:
    """Joint positions [J] near ``start`` at which ``link`` is at ``goal`` [3], by damped steps."""
    kinematics = Kinematics(robot_urdf(spec).frames(spec.joint_names))
    lower, upper = np.array([joint.position for joint in spec.joints]).T
    position, shifts = start.copy(), 1e-6 * np.eye(len(start))
    for _ in range(300):
        at = kinematics.point(np, position, link)
        jacobian = (kinematics.point(np, position + shifts, link) - at).T / 1e-6
        step = jacobian.T @ np.linalg.solve(jacobian @ jacobian.T + 1e-3 * np.eye(3), goal - at)
        position = np.clip(position + 0.5 * step, lower + 0.05, upper - 0.05)
    assert np.linalg.norm(kinematics.point(np, position, link) - goal) < 1e-3
    return position


def episode(name: str, make: Callable[[RobotSpec, Reading, Array], Controller], number: int, engine: str) -> tuple[float, bool]:
    """Return and success of task ``reach`` of the randomized robot ``name`` under the controller that ``make`` makes."""
    spec = load_robot(name)
    task, plant = TaskFunction(spec, "reach"), Plant(spec, engine=engine, task="reach", seed=1)
    reading, goal = plant.reset(number), task.default_goal
    control, states, total = make(spec, reading, goal), [], 0.0
    lower, upper = spec.action_limits("reach")
    last = np.clip(reading.position if spec.joints[0].interface == "position" else STILL, lower, upper)
    for _ in range(round(task.task.duration * spec.control.rate)):
        command = np.clip(control(reading), lower, upper)
        reading = plant.step(command) or reading
        states.append(plant.true_state())
        total += float(task.reward(np, states[-1], command, last, goal))
        last = command
    plant.close()
    return total, task.success(np.array(states), spec.control.period, goal)


def idle(spec: RobotSpec, reading: Reading, goal: Array) -> Controller:
    start = reading.position.copy()
    return lambda now: start if spec.joints[0].interface == "position" else STILL


def test_weight_is_balanced_as_inverse_dynamics_says(bullet: Bullet) -> None:
    spec = load_robot("panda")
    assert spec.urdf is not None
    urdf = load_urdf(spec.file(spec.urdf))
    balance = GravityCompensation(urdf, urdf.movable, 9.81)
    rng = np.random.default_rng(0)
    for _ in range(50):
        position = rng.uniform(-2.0, 2.0, 9)
        np.testing.assert_allclose(balance.efforts(position.tolist()), bullet.weight(position), atol=1e-9)
    bullet.close()


@pytest.mark.parametrize("engine", ["bullet", "mujoco_urdf"])
def test_a_panda_without_commands_floats_and_a_payload_sinks(engine: str) -> None:
    plant = Plant(load_robot("panda"), engine=engine, randomize=False)

    def fallen(payload: float) -> float:
        plant.reset(0, initial=(READY, STILL), parameters={"payload": payload})
        for _ in range(60):
            plant.step(STILL)
        return float(np.abs(plant.true_state()[:7] - READY).max())

    assert fallen(0.0) < 1e-3
    assert fallen(2.0) > 0.1  # the robot does not know what it carries
    plant.close()


def test_a_floating_panda_keeps_floating_while_it_moves() -> None:
    """Without friction and commands the energy of motion is kept: what balances the weight is neither late nor early."""
    spec = load_robot("panda")
    free = {f"{kind}.{name}": 0.0 for kind in ("coulomb", "viscous") for name in spec.joint_names}
    plant = Plant(spec, randomize=False)
    speed = np.array([0.0, 0.5, 0.0, -0.5, 0.0, 0.5, 0.0])
    plant.reset(0, initial=(READY, speed), parameters=free)
    body = Bullet()
    energies = []
    for _ in range(45):
        state = plant.true_state()
        energies.append(0.5 * state[7:] @ body.inertia(state[:7]) @ state[7:])
        plant.step(STILL)
    assert np.ptp(energies) < 0.03 * energies[0]
    body.close()


def test_torque_sensors_feel_the_weight_as_the_robot_in_the_log_does() -> None:
    """joint_states of the real arm report torques with gravity in them: 14 N m of change at the shoulder, of which friction and
    motion explain 1.5 N m."""
    plant = Plant(load_robot("panda"), randomize=False)
    plant.reset(0, initial=(READY, STILL))
    reading = plant.step(STILL)
    assert reading is not None
    body = Bullet()
    np.testing.assert_allclose(reading.effort, body.weight(np.append(READY, [0.0, 0.0]))[:7], atol=0.05)
    body.close()


def test_commands_of_the_log_reach_the_joints_that_the_urdf_calls_otherwise() -> None:
    spec = load_robot("panda")
    assert spec.joint_names == tuple(f"fer_joint{i}" for i in range(1, 8))
    assert "panda_joint1" not in robot_urdf(spec).movable and "panda_finger_joint1" in robot_urdf(spec).movable
    plant = Plant(spec, randomize=False)
    for slot in range(7):
        plant.reset(0, initial=(READY, STILL))
        plant.step(5.0 * np.eye(7)[slot])
        moved = plant.true_state()[7:]
        assert moved[slot] > 0.05 and moved[slot] == np.abs(moved).max()


def test_a_wrong_name_in_the_urdf_is_named(tmp_path: Path) -> None:
    data = yaml.safe_load((resources.find("robots", "panda") / "robot.yaml").read_text())
    data["joints"][2]["in_urdf"] = "panda_joint33"
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match=r"joints\.2\.in_urdf: no joint named 'panda_joint33' in the URDF; .* panda_joint3,"):
        load_robot(tmp_path)
    data["joints"][2] |= {"name": "panda_finger_joint1", "in_urdf": "panda_joint3"}
    data["tasks"], data["actuators"] = {}, {}
    (tmp_path / "robot.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match=r"panda_finger_joint1'\] already"):
        load_robot(tmp_path)


def torques(spec: RobotSpec, reading: Reading, goal: Array) -> Controller:
    """Computed torque with an integral, towards the inverse kinematics of the goal at 1 rad/s."""
    body, period = Bullet(), spec.control.period
    aim, wanted, summed = reached(spec, "panda_grasptarget", reading.position, goal), reading.position.copy(), STILL.copy()

    def control(now: Reading) -> Array:
        nonlocal summed, wanted
        wanted = wanted + np.clip(aim - wanted, -period, period)
        error = wanted - now.position
        summed = summed + 15.0 * period * error
        return np.asarray(body.inertia(now.position) @ (25.0 * error + summed - 8.0 * now.velocity))

    return control


@pytest.mark.parametrize("number", [0])
def test_the_hand_takes_a_pose_and_a_hand_turned_otherwise_is_not_there(number: int) -> None:
    spec = load_robot("panda_velocity")
    task, plant = TaskFunction(spec, "pose"), Plant(spec, task="pose", seed=1)
    kinematics = Kinematics(robot_urdf(spec).frames(spec.joint_names))
    goal = task.default_goal
    lower, upper = np.array([joint.position for joint in spec.joints]).T

    def pose(position: Array) -> Array:
        """Position [3] and axes z and x of the hand [6]."""
        hand = kinematics.point(np, position, "panda_hand")
        axes = [kinematics.point(np, position, "panda_hand", unit) - hand for unit in ((0.0, 0.0, 1.0), (1.0, 0.0, 0.0))]
        return np.concatenate([kinematics.point(np, position, "panda_grasptarget"), *axes], axis=-1)

    reading, aim = plant.reset(number), READY.copy()
    for _ in range(300):
        at = pose(aim)
        jacobian = (pose(aim + 1e-6 * np.eye(7)) - at).T / 1e-6
        step = np.linalg.solve(jacobian.T @ jacobian + 1e-3 * np.eye(7), jacobian.T @ (goal - at))
        aim = np.clip(aim + 0.5 * step, lower + 0.05, upper - 0.05)
    states = []
    for _ in range(round(task.task.duration * spec.control.rate)):
        reading = plant.step(np.clip(2.0 * (aim - reading.position), -1.0, 1.0)) or reading
        states.append(plant.true_state())
    plant.close()
    run, period = np.array(states), spec.control.period
    assert task.success(run, period, goal)
    turned = run + 0.3 * np.eye(14)[6]  # the last joint alone turns the hand, about the axis through the goal
    assert TaskFunction(spec, "reach").success(turned, period, goal[:3]) and not task.success(turned, period, goal)


def speeds(spec: RobotSpec, reading: Reading, goal: Array) -> Controller:
    aim = reached(spec, "panda_grasptarget", reading.position, goal)
    return lambda now: np.clip(2.0 * (aim - now.position), -1.0, 1.0)


@pytest.mark.parametrize(
    ("name", "make", "engine"),
    [("panda", torques, "bullet"), ("panda", torques, "mujoco"), ("panda_velocity", speeds, "bullet")],
    ids=["torques", "foreign", "velocities"],
)
@pytest.mark.parametrize("number", [3])
def test_the_hand_reaches_its_goal_and_that_pays(
    name: str, make: Callable[[RobotSpec, Reading, Array], Controller], engine: str, number: int
) -> None:
    total, success = episode(name, make, number, engine)
    nothing, stayed = episode(name, idle, number, engine)
    assert success and not stayed
    assert total > nothing + 100.0


def test_velocities_are_followed_against_weight_and_friction() -> None:
    plant = Plant(load_robot("panda_velocity"), randomize=False)
    plant.reset(0, initial=(READY, STILL))
    command = np.array([0.3, -0.2, 0.2, 0.3, -0.3, 0.2, 0.4])
    for _ in range(50):
        plant.step(command)
    np.testing.assert_allclose(plant.true_state()[7:], command, rtol=0.15, atol=0.02)
    before = plant.true_state()[:7]
    for _ in range(100):
        plant.step(STILL)
    assert np.abs(plant.true_state()[7:]).max() < 1e-3 and math.isfinite(before.sum())
    plant.close()


REST = np.array([0.0, 0.0, 0.57, 0.0, 0.0, 0.5])
SERVOS = ["bullet", "mujoco_urdf"]


def settled(plant: Plant, command: Array, start: Array, steps: int = 150) -> Array:
    """Positions [6] of the arm of servos, which began at ``start`` and was told ``command`` from then on."""
    plant.reset(0, initial=(start, np.zeros(6)))
    for _ in range(steps):
        plant.step(command)
    return plant.true_state()[:6]


@pytest.mark.parametrize("engine", SERVOS)
def test_servos_sag_by_the_weight_over_their_stiffness_give_or_take_stiction(engine: str) -> None:
    spec = load_robot("so101")
    plant = Plant(spec, engine=engine, randomize=False)
    weight = GravityCompensation(robot_urdf(spec), spec.joint_names, 9.81)
    reaching = np.array([0.0, 0.6, 0.2, 0.0, 0.0, 0.5])
    for above in (0.15, -0.15):  # come from above and from below
        start = reaching - above * np.array([0, 1, 1, 0, 0, 0])
        there = settled(plant, reaching, start)
        carried = weight.efforts(there.tolist())
        for joint in ("Pitch", "Elbow"):
            slot = spec.joint_names.index(joint)
            stiffness, dry = (plant.nominal.flat()[f"{kind}.{joint}"] for kind in ("stiffness", "coulomb"))
            play = 0.5 * plant.nominal.backlash[joint]
            lacking = stiffness * (reaching[slot] - there[slot])
            assert abs(lacking - carried[slot]) < dry + stiffness * play + 0.02, joint
    assert abs(carried[spec.joint_names.index("Pitch")]) > 0.3
    plant.close()


@pytest.mark.parametrize("engine", SERVOS)
def test_servos_ignore_commands_that_stiction_is_stronger_than(engine: str) -> None:
    plant = Plant(load_robot("so101"), engine=engine, randomize=False)
    turn = np.eye(6)[0]
    breaks = plant.nominal.coulomb["Rotation"] / plant.nominal.stiffness["Rotation"]
    assert abs(settled(plant, REST + 0.7 * breaks * turn, REST)[0]) < 2e-3
    assert settled(plant, REST + (4.0 * breaks + 0.02) * turn, REST)[0] > 1.5 * breaks
    plant.close()


def test_commands_become_positions_as_late_as_on_the_real_arm() -> None:
    """80 to 160 ms on fast motions, as measured on the logs."""
    spec = load_robot("so101")
    plant = Plant(spec, randomize=False)
    times = np.arange(0, 6, spec.control.period)
    wave = 0.2 * np.sin(2 * np.pi * 0.5 * times)
    plant.reset(0, initial=(REST, np.zeros(6)))
    turned = []
    for value in wave:
        turned.append(plant.true_state()[0])
        plant.step(REST + value * np.eye(6)[0])
    late = np.arange(0.0, 0.3, 0.005)
    off = [np.abs(np.interp(times[100:] - lag, times, wave) - np.array(turned)[100:]).mean() for lag in late]
    assert 0.08 <= late[int(np.argmin(off))] <= 0.16
    plant.close()


def held_out_errors(folder: Path, motion: str, rows: slice) -> tuple[Array, Array]:
    """Root mean square errors [6] over a log, in standard deviations of its own positions: of the simulated arm, which begins
    where the real one does and then gets its commands, and of taking the command for the position. Joints at rest are nan."""
    spec = load_robot("so101")
    with np.load(folder / f"so101_{motion}.npz") as log:
        time, position, command = log["t"], log["q"], log["q_cmd"]
    grid = np.arange(time[0], time[-1], spec.control.period)
    held = command[np.clip(np.searchsorted(time, grid, side="right") - 1, 0, len(time) - 1)][rows]
    real = np.stack([np.interp(grid, time, column) for column in position.T], axis=1)[rows]
    plant = Plant(spec, randomize=False)
    plant.reset(0, initial=(real[0], np.zeros(6)))
    simulated = [real[0]]
    for row in held[:-1]:
        plant.step(row)
        simulated.append(plant.true_state()[:6])
    plant.close()
    moved = np.where(np.ptp(held, axis=0) > 0.1, real.std(axis=0), np.nan)
    return tuple(np.sqrt(((found - real) ** 2).mean(axis=0)) / moved for found in (np.array(simulated), held))  # type: ignore[return-value]


@pytest.mark.parametrize(("motion", "rows"), [("figure_eight", slice(0, 1000)), ("diagonal_sweep", slice(0, 1000))])
def test_the_nominal_arm_foretells_a_log_better_than_its_commands_do(shared_data: Path, motion: str, rows: slice) -> None:
    simulated, commanded = held_out_errors(shared_data / "so101", motion, rows)
    assert np.nanmean(simulated) < 0.15
    assert np.nanmean(simulated) < 0.7 * np.nanmean(commanded)


def servoed(spec: RobotSpec, reading: Reading, goal: Array) -> Controller:
    """Towards the inverse kinematics of the goal at 1 rad/s, with an integral against the servos' sag."""
    period, start = spec.control.period, reading.position.copy()
    aim, wanted, summed = reached(spec, "tip", start, goal), start.copy(), np.zeros(6)

    def control(now: Reading) -> Array:
        nonlocal summed, wanted
        wanted = wanted + np.clip(aim - wanted, -period, period)
        summed = np.clip(summed + 2.0 * period * (wanted - now.position), -0.3, 0.3)
        return wanted + summed

    return control


@pytest.mark.parametrize("engine", ["bullet", "mujoco_urdf", "mujoco"])
@pytest.mark.parametrize("number", [0, 1])
def test_the_jaws_reach_their_goal_and_that_pays(engine: str, number: int) -> None:
    total, success = episode("so101", servoed, number, engine)
    nothing, stayed = episode("so101", idle, number, engine)
    assert success and not stayed
    assert total > nothing + 50.0
