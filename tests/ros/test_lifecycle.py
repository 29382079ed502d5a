"""Every transition of the controller's lifecycle over real DDS, and what the robot gets of it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetAvailableTransitions
from rcl_interfaces.msg import Parameter, ParameterDescriptor, ParameterType, ParameterValue
from rcl_interfaces.srv import DescribeParameters, ListParameters, SetParameters

from support.probe import ERROR, OK, Probe, probing
from support.processes import Process, Processes
from support.tiny_bundle import Law, tiny_bundle

from .conftest import CART

STEP = 2.0
"""N a control step: 100 N/s at 50 Hz."""
NUMBERS = (
    ParameterType.PARAMETER_INTEGER,
    ParameterType.PARAMETER_DOUBLE,
    ParameterType.PARAMETER_INTEGER_ARRAY,
    ParameterType.PARAMETER_DOUBLE_ARRAY,
)


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    with probing(domain) as participant:
        yield participant


@pytest.fixture
def pushing(tmp_path: Path) -> Path:
    """A bundle that commands 7 N, whatever happens."""
    return tiny_bundle(tmp_path / "pushing", Law(bias=(7.0,)), CART)


def to_active(probe: Probe) -> None:
    """The controller pushes the probe's robot."""
    assert probe.transition("configure") and probe.transition("activate")
    probe.until(lambda: probe.commands and probe.commands[-1][1] == [7.0], "the plan's command is reached")


def stands_safely(probe: Probe) -> None:
    """The last command is the safe one, reached within the slew limit, and none follows it."""
    probe.until_command([0.0], "the safe action arrives")
    values = [0.0, *(command[0] for _, command in probe.commands)]
    assert all(abs(after - before) <= STEP + 1e-9 for before, after in pairwise(values))
    count = len(probe.commands)
    probe.state()
    assert len(probe.commands) == count


def by_number(probe: Probe, number: int) -> bool:
    request = ChangeState.Request(transition=Transition(id=number))
    return bool(probe.call(ChangeState, "controller/change_state", request).success)


def offered(probe: Probe) -> set[str]:
    """Labels of the transitions that are possible now."""
    answer = probe.call(GetAvailableTransitions, "controller/get_available_transitions", GetAvailableTransitions.Request())
    return {entry.transition.label for entry in answer.available_transitions}


def set_parameter(probe: Probe, name: str, text: str) -> str:
    """Sets a text; returns why not."""
    value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=text)
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    result = probe.call(SetParameters, "controller/set_parameters", request).results[0]
    return "" if result.successful else str(result.reason)


def test_round_trips_move_the_robot_only_while_active(processes: Processes, probe: Probe, pushing: Path) -> None:
    probe.robot()
    controller = processes.node("controller", bundle=str(pushing))
    assert probe.state() == "unconfigured" and offered(probe) == {"configure", "shutdown"}
    for _ in range(2):
        count = len(probe.commands)
        assert probe.transition("configure") and probe.state() == "inactive"
        assert offered(probe) == {"activate", "cleanup", "shutdown"}
        assert len(probe.commands) == count
        assert probe.transition("activate") and probe.state() == "active"
        assert offered(probe) == {"deactivate", "shutdown"}
        probe.until(lambda: probe.commands and probe.commands[-1][1] == [7.0], "the plan's command is reached")
        assert probe.transition("deactivate") and probe.state() == "inactive"
        stands_safely(probe)
        probe.until_status("inactive")
        assert probe.transition("cleanup") and probe.state() == "unconfigured"
        probe.until_status("not configured", OK)
    assert "Traceback" not in controller.output


def test_impossible_transitions_are_refused_and_disturb_nothing(processes: Processes, probe: Probe, pushing: Path) -> None:
    probe.robot()
    controller = processes.node("controller", bundle=str(pushing))
    assert not probe.transition("activate") and not by_number(probe, Transition.TRANSITION_ACTIVATE)
    assert not by_number(probe, Transition.TRANSITION_CLEANUP) and not probe.transition("nonsense") and not by_number(probe, 200)
    assert probe.state() == "unconfigured"
    to_active(probe)
    for number in (Transition.TRANSITION_ACTIVATE, Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_CLEANUP):
        assert not by_number(probe, number)
    assert not probe.transition("activate")
    before = len(probe.commands)
    probe.until_commands(10)
    assert probe.state() == "active" and {tuple(command) for _, command in probe.commands[before:]} == {(7.0,)}
    assert controller.running and "refused" in controller.output and "Traceback" not in controller.output


@pytest.mark.parametrize("start", ["unconfigured", "inactive", "active"])
def test_shutdown_ends_in_finalized_and_a_standing_robot(processes: Processes, probe: Probe, pushing: Path, start: str) -> None:
    probe.robot()
    controller = processes.node("controller", bundle=str(pushing))
    if start == "active":
        to_active(probe)
    elif start == "inactive":
        assert probe.transition("configure")
    assert probe.transition("shutdown") and probe.state() == "finalized" and not offered(probe)
    if start == "active":
        stands_safely(probe)
        assert probe.until_status("shut down", OK)["reason of the last stop"] == "shut down"
    else:
        assert not probe.commands
    assert controller.running and "Traceback" not in controller.output


def test_bad_bundle_fails_to_configure_and_a_good_one_follows(
    processes: Processes, probe: Probe, tmp_path: Path, pushing: Path
) -> None:
    damaged = tiny_bundle(tmp_path / "damaged", Law(bias=(9.0,)), CART)
    (damaged / "act.onnx").write_bytes((damaged / "act.onnx").read_bytes()[:-1] + b"\x00")
    probe.robot()
    controller = processes.node("controller", bundle=str(damaged))
    assert not probe.transition("configure") and probe.state() == "unconfigured"
    probe.until_status("configure: ", ERROR)
    assert probe.statuses[-1][1].count("act.onnx")
    assert not set_parameter(probe, "bundle", str(pushing))
    to_active(probe)
    probe.until_status("running", OK)
    assert "takes effect at configure" in set_parameter(probe, "bundle", str(damaged))
    assert "Traceback" not in controller.output


def test_bug_is_processed_as_error_and_the_node_can_be_used_again(processes: Processes, probe: Probe, pushing: Path) -> None:
    probe.robot()
    script = Path(__file__).parents[1] / "support" / "failing_controller.py"
    controller: Process = processes.start([sys.executable, str(script)], "failing", bundle=str(pushing))
    to_active(probe)
    probe.until_status("ZeroDivisionError: a bug", ERROR)
    assert probe.state() == "unconfigured"
    stands_safely(probe)
    assert probe.statuses[-1][2]["reason of the last stop"] == "ZeroDivisionError: a bug"
    assert probe.transition("configure") and probe.state() == "inactive"
    assert controller.running


def test_every_parameter_is_described_and_ranged(processes: Processes, probe: Probe) -> None:
    processes.node("controller")
    names = probe.call(ListParameters, "controller/list_parameters", ListParameters.Request()).result.names
    ours = [name for name in names if name not in ("use_sim_time", "start_type_description_service")]
    answer = probe.call(DescribeParameters, "controller/describe_parameters", DescribeParameters.Request(names=ours))
    assert len(answer.descriptors) == len(ours) >= 20
    undescribed = [
        entry.name for entry in answer.descriptors if len(entry.description) < 10 or not entry.description.endswith(".")
    ]
    assert not undescribed

    def ranged(entry: ParameterDescriptor) -> bool:
        return bool(entry.integer_range or entry.floating_point_range)

    assert not [entry.name for entry in answer.descriptors if entry.type in NUMBERS and not ranged(entry)]
