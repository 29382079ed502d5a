"""Clocks that pause and jump, the loop's own pauses, and what the simulator makes of them (docs/faults.md)."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from sensor_msgs.msg import JointState

from forerun.domains import claimed_domain
from forerun.nodes import qos
from support.fault_rig import COMMAND_TIMEOUT, HEALTHY, PUSH, STEP, FaultRig, commands_whole, fault_rig, faulty_bundle
from support.faulty_robot import FaultyRobot
from support.probe import ERROR, WARN, probing
from support.processes import Processes
from support.tiny_bundle import Law

HOUR = 3600.0


def resuming(folder: Path) -> Path:
    """A bundle whose robot moves again by itself."""
    return faulty_bundle(folder, recovery={"stale": "resume", "misses": "resume", "disagreement": "latch"})


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRig]:
    folder = tmp_path_factory.mktemp("clock")
    with claimed_domain() as domain, fault_rig(domain, folder, make=resuming, robot={"sim": True}, use_sim_time=True) as made:
        yield made


@pytest.fixture
def rig(shared: FaultRig) -> Iterator[FaultRig]:
    """In simulated time; healthy before each fault and whole after it."""
    shared.robot.order(runs=True)
    shared.healthy()
    yield shared
    shared.whole(jumps=True)


def test_nothing_is_sent_while_simulated_time_is_paused(rig: FaultRig) -> None:
    rig.robot.order(runs=False)
    rig.probe.until_status("paused: /clock stands still at", WARN)
    count = len(rig.probe.commands)
    rig.probe.until_status("paused: /clock stands still at", WARN)
    assert len(rig.probe.commands) == count
    rig.robot.order(runs=True)
    rig.runs()
    # What was commanded before the pause still acts in simulated time: the first command after it continues there.
    assert rig.probe.commands[count][1] == [PUSH]


@pytest.mark.parametrize("seconds", [HOUR, -50.0, 5.0, -0.5], ids=["ahead", "back", "a-little-ahead", "a-little-back"])
def test_controller_follows_a_simulated_clock_that_jumps(rig: FaultRig, seconds: float) -> None:
    count = len(rig.probe.commands)
    rig.robot.order(jump=seconds)
    rig.probe.until_commands(60)
    rig.runs()
    # No burst makes up for the time that never was: 60 commands stand for more than a second.
    taken = rig.probe.commands[-1][0] - rig.probe.commands[count][0]
    assert len(rig.probe.commands) - count < 60 * taken + 10


def test_states_that_do_not_follow_the_clock_stop_the_robot(rig: FaultRig) -> None:
    rig.robot.order(stamp=-HOUR)
    assert "in the past" in rig.stops("s in the past; synchronise", ERROR)["reason of the last stop"]
    rig.robot.order(stamp=HOUR)
    rig.stops("s in the future; synchronise", ERROR)
    rig.robot.order(stamp="zero")
    rig.runs()


def test_controller_that_was_frozen_begins_from_a_fresh_state_and_from_rest(domain: int, tmp_path: Path) -> None:
    with fault_rig(domain, tmp_path, make=resuming) as rig:
        answered: list[tuple[float, float]] = []
        rig.probe.listen(
            JointState, "controller/command_stamped", lambda m: answered.append((_stamp(m), m.effort[0])), qos.STAMPED
        )
        rig.probe.until(lambda: answered, "answers are heard")
        rig.controller.send(signal.SIGSTOP)
        rig.probe.until(lambda: _now(rig) - answered[-1][0] > 1.5, "the controller has been frozen for a while")
        count = len(answered)
        rig.controller.send(signal.SIGCONT)
        rig.probe.until(lambda: len(answered) > count + 60, "commands come again")
        rig.runs()
        # From the robot's side: its drives timed out, so the first command must be near rest, and moves on from there.
        efforts = [0.0, *(effort for _, effort in answered[count + 1 :])]
        assert abs(efforts[1]) <= STEP + 1e-9
        # The commands that move the robot answer states of after the pause, and none of what was missed is sent later.
        resumed = next(i for i, (_, effort) in enumerate(answered) if i > count and effort)
        assert answered[resumed][0] > answered[count - 1][0] + 1.0
        rig.probe.until_status("running")
        rig.whole()


def test_loop_that_hangs_is_told_and_the_robot_can_still_be_stopped(processes: Processes, domain: int, tmp_path: Path) -> None:
    bundle = faulty_bundle(tmp_path / "bundle")
    with probing(domain) as probe:
        FaultyRobot(processes, probe, **HEALTHY)
        script = Path(__file__).parents[1] / "support" / "hanging_controller.py"
        controller = processes.start([sys.executable, str(script)], "hanging", bundle=str(bundle), autostart=True)
        probe.until(lambda: probe.commands and probe.commands[-1][1] == [PUSH], "the robot is pushed")
        controller.send(signal.SIGUSR1)
        probe.until_status("the control loop hangs; no commands are sent", ERROR)
        assert probe.commands[-1][1] == [PUSH]
        controller.send(signal.SIGTERM)
        probe.until_command([0.0], "the safe action arrives")
        assert controller.wait() == 0
        commands_whole(probe)
        assert "Traceback" not in controller.output


def test_simulator_and_controller_survive_each_others_pauses(processes: Processes, domain: int, tmp_path: Path) -> None:
    bundle = faulty_bundle(tmp_path / "still", Law(gain=((-20.0, 0.0, -10.0, 0.0),), bias=(6.0,)), stale_after=0.5)
    with probing(domain) as probe:
        simulator = processes.node("simulator", robot="cartpole", randomize=False, publish_clock=True)
        controller = processes.node("controller", bundle=str(bundle), autostart=True, use_sim_time=True)
        drive: list[tuple[float, float]] = []
        probe.listen(JointState, "joint_states", lambda m: drive.append((_stamp(m), m.effort[0])), qos.STATES_OUT)
        probe.until_status("running")
        simulator.send(signal.SIGSTOP)
        probe.until_status("paused: /clock stands still", WARN)
        simulator.send(signal.SIGCONT)
        probe.until_status("running")
        probe.until(lambda: len(drive) > 50, "the drives' efforts are heard")
        controller.kill()
        count = len(drive)
        end = drive[-1][0]
        probe.until(lambda: drive[-1][0] > end + COMMAND_TIMEOUT + 1.0, "simulated time goes on")
        # The drive is off (what is left is the cart's friction, below 1 N).
        assert all(abs(effort) < 1.0 for stamp, effort in drive[count:] if stamp > end + COMMAND_TIMEOUT + 0.5)
        commands_whole(probe)
        assert "Traceback" not in controller.output + simulator.output


def test_lockstep_simulator_that_starts_anew_is_followed(processes: Processes, domain: int, tmp_path: Path) -> None:
    bundle = faulty_bundle(tmp_path / "still", Law(gain=((-20.0, 0.0, -10.0, 0.0),), bias=(6.0,)))
    with probing(domain) as probe:
        settings = {"robot": "cartpole", "randomize": False, "lockstep": True}
        simulator = processes.node("simulator", **settings)
        controller = processes.node("controller", bundle=str(bundle), autostart=True, lockstep=True)
        stamps: list[float] = []
        probe.listen(JointState, "joint_states", lambda m: stamps.append(_stamp(m)), qos.STATES_OUT)
        probe.until(lambda: stamps and stamps[-1] > 5.0, "simulated time has advanced")
        simulator.kill()
        probe.until_status("paused: in lockstep no state comes", WARN)
        stamps.clear()
        # While nobody answers, the new one stays at its first state until the probe has found it, however busy the machine is.
        controller.send(signal.SIGSTOP)
        processes.node("simulator", **settings)
        probe.until(lambda: stamps, "the new one is heard")
        controller.send(signal.SIGCONT)
        probe.until(lambda: len(stamps) > 100 and stamps[0] < 2.0 < stamps[-1], "the new one's time advances, too")
        probe.until_status("running")
        assert "Traceback" not in controller.output


def _stamp(message: JointState) -> float:
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec


def _now(rig: FaultRig) -> float:
    return rig.probe.node.get_clock().now().nanoseconds * 1e-9
