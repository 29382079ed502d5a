"""What paces the controller and what may be changed while it moves, over real DDS."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue, SetParametersResult
from rcl_interfaces.srv import SetParameters

from support.probe import OK, Probe, probing
from support.processes import Process, Processes
from support.tiny_bundle import Law, tiny_bundle

from .conftest import CART


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    with probing(domain) as participant:
        yield participant


def set_number(probe: Probe, name: str, number: float) -> SetParametersResult:
    value = ParameterValue(type=ParameterType.PARAMETER_DOUBLE, double_value=number)
    request = SetParameters.Request(parameters=[Parameter(name=name, value=value)])
    return probe.call(SetParameters, "controller/set_parameters", request).results[0]


def start(processes: Processes, probe: Probe, tmp_path: Path, **parameters: object) -> Process:
    bundle = tiny_bundle(tmp_path / "pushing", Law(bias=(8.0,)), CART)
    controller = processes.node("controller", bundle=str(bundle), autostart=True, **parameters)
    probe.until_status("running", OK)
    return controller


def test_scale_is_raised_while_active(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    probe.robot()
    controller = start(processes, probe, tmp_path, safety__scale=0.2)
    probe.until_command([2.0], "a fifth of the limit is reached")
    assert set_number(probe, "safety.scale", 0.6).successful
    probe.until_command([6.0], "the new limit is reached")
    refused = set_number(probe, "safety.stale_after", 7.0)
    assert not refused.successful and "parameters may only tighten it" in refused.reason
    refused = set_number(probe, "budget", 0.5)
    assert not refused.successful and "clean up first" in refused.reason
    count = len(probe.commands)
    probe.until_commands(10)
    assert all(command == [6.0] for _, command in probe.commands[count:])
    assert "from the next tick on: safety.scale = 0.6" in controller.output


def test_states_trigger_the_ticks_and_their_absence_is_noticed(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    robot = probe.robot()  # at twice the control rate
    start(processes, probe, tmp_path, trigger="state")
    probe.until_command([8.0], "the plan's command is reached")
    begin = len(probe.commands)
    probe.until_commands(100)
    taken = probe.commands[-1][0] - probe.commands[begin][0]
    assert len(probe.commands) - begin < 75 * taken + 10
    robot.silent = True
    probe.until_command([0.0], "the safe action arrives")
    probe.until_status("stopped")


def test_rights_that_are_refused_are_told_and_the_robot_runs(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    probe.robot()
    controller = start(processes, probe, tmp_path, cpu_affinity=[4000], lock_memory=True)
    probe.until_command([8.0], "the plan's command is reached")
    assert "cpu_affinity: core 4000 is not this process's to use" in controller.output


def test_trigger_by_state_needs_real_time(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    bundle = tiny_bundle(tmp_path / "pushing", Law(), CART)
    controller = processes.node("controller", bundle=str(bundle), autostart=True, trigger="state", lockstep=True)
    assert controller.wait() == 2
    assert "trigger 'state' needs real time" in controller.output
