"""The guard keeps the robot's side of the contract, whatever the controller does."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from diagnostic_msgs.msg import DiagnosticArray
from std_msgs.msg import Float64MultiArray

from forerun.nodes import qos
from forerun.ros2_control import controllers_yaml
from forerun_sim.spec import load_robot
from support.probe import Probe, probing
from support.processes import Process, Processes
from support.tiny_bundle import Law, tiny_bundle

MIXED = {
    "joints": ["lift", "wheel", "turn"],
    "interfaces": ["effort", "velocity", "position"],
    "lower": [-10.0, -2.0, -1.0],
    "upper": [10.0, 2.0, 1.0],
    "rate": 50.0,
    "command_timeout": 0.25,
}


class Robot:
    """What the forward controllers of a robot get, per interface, and what the guard says about it."""

    def __init__(self, probe: Probe) -> None:
        self.got: dict[str, list[list[float]]] = {"effort": [], "velocity": [], "position": []}
        self.said: list[str] = []
        self._probe = probe
        for kind, messages in self.got.items():
            probe.listen(
                Float64MultiArray, f"forerun_{kind}/commands", lambda m, to=messages: to.append(list(m.data)), qos.COMMANDS_IN
            )
        probe.listen(DiagnosticArray, "/diagnostics", self._on_status, qos.DIAGNOSTICS)
        self._commands = probe.node.create_publisher(Float64MultiArray, "commands", qos.COMMANDS_OUT)

    def _on_status(self, message: DiagnosticArray) -> None:
        self.said += [status.message for status in message.status if status.name == "guard: guard"]

    def newest(self) -> list[float | None]:
        """The newest value of effort, velocity and position."""
        return [messages[-1][0] if messages else None for messages in self.got.values()]

    def until(self, *expected: float | None) -> None:
        """Spins until the robot has these as its newest values."""
        self._probe.until(lambda: self.newest() == list(expected), f"the robot gets {expected}")

    def until_said(self, words: str) -> None:
        """Spins until the guard's diagnostics say ``words`` from now on."""
        begin = len(self.said)
        self._probe.until(lambda: any(words in text for text in self.said[begin:]), f"the guard says '{words}'")

    def connect(self) -> None:
        """Waits until a guard hears our commands."""
        self._probe.until(self._commands.get_subscription_count, "the guard listens")

    def command(self, *values: float) -> None:
        """Sends a command."""
        self._commands.publish(Float64MultiArray(data=values))


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    with probing(domain) as participant:
        yield participant


def started(processes: Processes, robot: Robot) -> Process:
    """A guard of the mixed robot that stopped it before any command; the position is the forward controller's own."""
    guard = processes.node("guard", **MIXED)
    robot.connect()
    robot.until(0.0, 0.0, None)
    return guard


def test_commands_pass_within_limits_and_end_with_the_timeout(processes: Processes, probe: Probe) -> None:
    robot = Robot(probe)
    guard = started(processes, robot)
    robot.command(5.0, -1.0, 0.5)
    robot.until(5.0, -1.0, 0.5)
    robot.until(0.0, 0.0, 0.5)  # no further command: effort and velocity end, the position is held
    robot.until_said("the robot's timeout is 0.25 s")
    robot.command(99.0, -99.0, 99.0)
    robot.until(10.0, -2.0, 1.0)  # it goes on by itself, within the limits
    assert "Traceback" not in guard.output


def test_killed_controller_stops_the_robot(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    robot, bundle = Robot(probe), tiny_bundle(tmp_path / "pushing", Law(bias=(6.0,)))
    guard = processes.node("guard", bundle=str(bundle))
    probe.robot()
    controller = processes.node("controller", bundle=str(bundle), autostart=True)
    robot.until(6.0, None, None)
    robot.until_said("2 publishers send commands")  # the test's own is the second
    controller.kill()
    robot.until(0.0, None, None)
    robot.until_said("stopped: the newest command is")
    processes.node("controller", bundle=str(bundle), autostart=True)
    robot.until(6.0, None, None)
    assert "Traceback" not in guard.output


def test_bad_commands_do_not_keep_the_robot_moving(processes: Processes, probe: Probe) -> None:
    robot = Robot(probe)
    guard = started(processes, robot)
    for bad, reason in (
        ([float("nan"), 0.0, 0.0], "the value of joint 'lift' is nan"),
        ([1.0, float("-inf"), 0.0], "the value of joint 'wheel' is -inf"),
        ([1.0], "it has 1 values for 3 joints (lift, wheel, turn)"),
    ):
        robot.command(5.0, 1.0, 0.5)
        robot.until(5.0, 1.0, 0.5)
        timer = probe.node.create_timer(0.02, lambda bad=bad: robot.command(*bad))
        robot.until(0.0, 0.0, 0.5)
        probe.until(lambda reason=reason: f"command refused: {reason}" in guard.output, "the guard says why")
        probe.node.destroy_timer(timer)
    passed = [value for messages in robot.got.values() for message in messages for value in message]
    assert set(passed) == {0.0, 5.0, 1.0, 0.5}


def test_guard_that_ends_stops_the_robot(processes: Processes, probe: Probe) -> None:
    robot = Robot(probe)
    guard = started(processes, robot)
    probe.node.create_timer(0.02, lambda: robot.command(5.0, 1.0, 0.5))
    robot.until(5.0, 1.0, 0.5)
    guard.send(signal.SIGINT)
    robot.until(0.0, 0.0, 0.5)
    assert guard.wait() == 0 and "Traceback" not in guard.output


def test_guard_that_is_started_again_stops_what_a_killed_one_left_moving(processes: Processes, probe: Probe) -> None:
    robot = Robot(probe)
    guard = started(processes, robot)
    robot.command(5.0, 1.0, 0.5)
    robot.until(5.0, 1.0, 0.5)
    guard.kill()
    processes.node("guard", **MIXED)
    robot.until(0.0, 0.0, 0.5)


def test_the_file_for_ros2_control_starts_the_guard(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    robot, file = Robot(probe), tmp_path / "control.yaml"
    file.write_text(controllers_yaml(load_robot("cartpole"), "cartpole", file.name))
    processes.node("guard", "--params-file", str(file))
    robot.connect()
    robot.until(0.0, None, None)
    robot.command(99.0)
    robot.until(10.0, None, None)
    robot.until(0.0, None, None)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({}, "parameter 'joints' is empty; give 'bundle'"),
        ({**MIXED, "interfaces": ["effort", "torque", "position"]}, "interfaces must be of: effort, velocity, position"),
        ({**MIXED, "upper": [1.0]}, "must have one entry per actuated joint"),
        ({**MIXED, "command_timeout": 0.02}, "command_timeout must exceed the control period"),
        ({**MIXED, "bundle": "/tmp"}, "parameter 'bundle' is given, and so is 'joints'"),
        ({"bundle": "/nowhere"}, "/nowhere/bundle.json: cannot be read: No such file or directory"),
    ],
)
def test_wrong_parameters_are_named(processes: Processes, parameters: dict[str, object], words: str) -> None:
    guard = processes.node("guard", **parameters)
    assert guard.wait() == 2
    assert words in guard.output and "Traceback" not in guard.output
