"""Publishers that die, freeze, come late, or are one too many (docs/faults.md)."""

from __future__ import annotations

import signal
from pathlib import Path

from std_msgs.msg import Float64MultiArray

from forerun.nodes import qos
from support.fault_rig import HEALTHY, PUSH, FaultRig, fault_rig, faulty_bundle
from support.faulty_robot import FaultyRobot
from support.probe import ERROR, OK, WARN

RESUME = {"recovery": {"stale": "resume", "misses": "latch", "disagreement": "latch"}}


def resuming(folder: Path) -> Path:
    """A bundle whose robot moves again by itself when its states are back."""
    return faulty_bundle(folder, **RESUME)


def test_killed_publisher_stops_the_robot_until_reset(domain: int, tmp_path: Path) -> None:
    with fault_rig(domain, tmp_path) as rig:
        rig.robot.process.kill()
        rig.stops("stopped: the newest state is", ERROR)
        assert rig.says("states").startswith("the newest state is")
        rig.robot.start_again()
        rig.probe.until(lambda: rig.probe.parts["states"].level in (OK, WARN), "states arrive again")
        rig.probe.until_commands(5)
        assert rig.command == [0.0] and rig.says("control").startswith("stopped")
        assert rig.probe.trigger("controller/reset").success
        rig.probe.until(lambda: rig.command == [PUSH], "it moves again")
        rig.whole()


def test_frozen_publisher_stops_the_robot_which_resumes_as_configured(domain: int, tmp_path: Path) -> None:
    with fault_rig(domain, tmp_path, make=resuming) as rig:
        rig.robot.process.send(signal.SIGSTOP)
        rig.stops("the newest state is", ERROR)
        rig.robot.process.send(signal.SIGCONT)
        rig.runs()
        assert "the newest state is" in rig.probe.statuses[-1][2]["reason of the last stop"]
        rig.whole()


def test_contradicting_publishers_stop_the_robot_until_one_is_gone(domain: int, tmp_path: Path) -> None:
    with fault_rig(domain, tmp_path, make=resuming) as rig:
        other = FaultyRobot(
            rig.processes, rig.probe, "orders:=other_orders", "__node:=impostor", **(HEALTHY | {"position": [-1.2, 0.0]})
        )
        values = rig.stops("joint 'slider' jumped from", ERROR)
        assert "two publishers contradict each other" in values["reason of the last stop"]
        rig.probe.until(lambda: "/impostor" in _value(rig, "publishers of states"), "both are named")
        count = len(rig.probe.commands)
        rig.probe.until_commands(25)
        assert {tuple(command) for _, command in rig.probe.commands[count:]} == {(0.0,)}
        other.process.kill()
        rig.probe.until(lambda: rig.command == [PUSH], "it goes on with the one that is left")
        rig.whole()


def test_others_on_the_robots_topics_are_named_and_stop_nothing(domain: int, tmp_path: Path) -> None:
    with fault_rig(domain, tmp_path) as rig:
        publisher = rig.probe.node.create_publisher(Float64MultiArray, "commands", qos.COMMANDS_OUT)
        values = rig.probe.until_status("somebody else may command the robot: /probe on commands", WARN)
        assert values["other publishers of commands"] == "/probe"
        rig.goes_on(25)
        rig.probe.node.destroy_publisher(publisher)
        rig.runs()
        FaultyRobot(rig.processes, rig.probe, "__node:=twin", **HEALTHY)
        rig.probe.until_status("2 publishers on joint_states: /robot, /twin", WARN)
        rig.goes_on(25)
        rig.whole()


def test_robot_that_comes_late_is_waited_for(domain: int, tmp_path: Path) -> None:
    with fault_rig(domain, tmp_path, robot={"late": True}) as rig:
        rig.probe.until_status("waiting: no state has arrived yet", WARN)
        rig.probe.until_commands(25)
        assert {tuple(command) for _, command in rig.probe.commands} == {(0.0,)}
        rig.robot.start_again()
        rig.runs()
        late: list[list[float]] = []
        rig.probe.listen(Float64MultiArray, "commands", lambda message: late.append(list(message.data)), qos.COMMANDS_IN)
        rig.probe.until(lambda: late, "a drive that listens late gets commands")
        assert late[0] == [PUSH]
        rig.whole()


def _value(rig: FaultRig, name: str) -> str:
    entries = [entry for status in rig.probe.parts.values() for entry in status.values if entry.key == name]
    return entries[0].value if entries else ""
