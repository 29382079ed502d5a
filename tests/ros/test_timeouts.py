"""What the robot's side does when commands end, and what a dry run keeps from the robot."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray

from forerun.nodes import qos
from support.probe import OK, Probe, probing
from support.processes import Processes
from support.tiny_bundle import Law, tiny_bundle

TIMEOUT = 0.25
"""The shipped cartpole's [s]."""


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    with probing(domain) as participant:
        yield participant


class Drive:
    """(stamp [s], effort [N]) of the cart's drive, state by state."""

    def __init__(self, probe: Probe) -> None:
        self.efforts: list[tuple[float, float]] = []
        probe.listen(JointState, "joint_states", self._on_state, qos.STATES_OUT)

    def _on_state(self, message: JointState) -> None:
        stamp = message.header.stamp
        self.efforts.append((stamp.sec + 1e-9 * stamp.nanosec, message.effort[message.name.index("slider")]))

    def pushes(self) -> bool:
        """Whether the drive is on (the cart's friction is below 1 N)."""
        return bool(self.efforts) and self.efforts[-1][1] > 3.0

    def stands(self) -> bool:
        """Whether it is off."""
        return bool(self.efforts) and abs(self.efforts[-1][1]) < 1.0

    def pushed_until(self) -> float:
        """Stamp [s] of the last state with the drive on."""
        return max(stamp for stamp, effort in self.efforts if effort > 3.0)


def test_simulated_drives_stop_within_the_robots_timeout_of_a_killed_controller(
    processes: Processes, probe: Probe, tmp_path: Path
) -> None:
    answered: list[float] = []
    drive = Drive(probe)
    probe.listen(JointState, "controller/command_stamped", lambda m: answered.append(_seconds(m)), qos.STAMPED)
    processes.node("simulator", robot="cartpole", randomize=False)
    bundle = tiny_bundle(tmp_path / "pushing", Law(bias=(6.0,)))  # to the end of the rail, and on
    controller = processes.node("controller", bundle=str(bundle), autostart=True)
    probe.until(lambda: len(answered) > 10 and drive.pushes(), "the cart is pushed")
    controller.kill()
    probe.until(drive.stands, "the drives have stopped")
    # Counted in the simulator's own stamps, so that a busy machine changes nothing. A command follows the state that it answers
    # within a few periods; the drive's lag and the period of the states come on top of the timeout.
    assert drive.pushed_until() - answered[-1] < TIMEOUT + 0.2
    assert "Traceback" not in controller.output


@pytest.mark.parametrize(("value", "stops"), [(0.0, False), (0.6, True)])
def test_simulators_own_timeout_replaces_the_robots(processes: Processes, probe: Probe, value: float, stops: bool) -> None:
    drive = Drive(probe)
    processes.node("simulator", robot="cartpole", randomize=False, command_timeout=value)
    commands = probe.node.create_publisher(Float64MultiArray, "commands", qos.COMMANDS_OUT)
    probe.until(lambda: drive.efforts and commands.get_subscription_count(), "it runs")
    commands.publish(Float64MultiArray(data=[5.0]))
    probe.until(drive.pushes, "the command acts")
    begin = drive.efforts[-1][0]
    probe.until(lambda: drive.efforts[-1][0] > begin + 0.4, "the robot's own timeout has passed")
    assert drive.pushed_until() > begin + 0.35
    if stops:
        probe.until(drive.stands, "the command has ended")


def test_dry_run_sends_commands_to_a_topic_beside(processes: Processes, probe: Probe, bundle: Path) -> None:
    beside: list[list[float]] = []
    probe.listen(Float64MultiArray, "controller/dry_commands", lambda m: beside.append(list(m.data)), qos.COMMANDS_OUT)
    probe.robot()
    processes.node("controller", bundle=str(bundle), autostart=True, dry_run=True)
    probe.until_status("running", OK)
    probe.until(lambda: beside and beside[-1] == [6.0], "the plan's commands flow beside")
    assert probe.node.count_publishers("commands") == 0 and not probe.commands
    assert "clean up first" in _set(probe, "dry_run", False)
    assert "clean up first" in _set(probe, "use_sim_time", True)
    assert probe.transition("deactivate")
    probe.until(lambda: beside[-1] == [0.0], "the safe action flows beside, too")
    assert "clean up first" in _set(probe, "dry_run", False)
    assert probe.transition("cleanup") and not _set(probe, "dry_run", False)
    assert probe.transition("configure") and probe.transition("activate")
    probe.until(lambda: probe.commands and probe.commands[-1][1] == [6.0], "the robot is commanded")
    assert probe.node.count_publishers("controller/dry_commands") == 0


def _set(probe: Probe, name: str, value: bool) -> str:
    """Why the parameter was refused, or nothing."""
    parameter = Parameter(name=name, value=ParameterValue(type=ParameterType.PARAMETER_BOOL, bool_value=value))
    request = SetParameters.Request(parameters=[parameter])
    return str(probe.call(SetParameters, "controller/set_parameters", request).results[0].reason)


def _seconds(message: JointState) -> float:
    return message.header.stamp.sec + 1e-9 * message.header.stamp.nanosec
