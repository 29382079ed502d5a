"""The controller over real DDS: it starts, stops and refuses as a person at the robot needs it."""

from __future__ import annotations

import json
import math
import signal
import sys
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest
from sensor_msgs.msg import JointState

from forerun.nodes import qos
from forerun_models.bundle import load
from support.probe import ERROR, OK, Probe, probing
from support.processes import Process, Processes
from support.tiny_bundle import Law, tiny_bundle

from .conftest import CART

STEP = 2.0
"""N a control step: 100 N/s at 50 Hz."""


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    with probing(domain) as participant:
        yield participant


def assert_limits_kept(probe: Probe) -> None:
    """Everything published so far is finite, within the limits and within the slew limit of its predecessor."""
    values = [0.0, *(command[0] for _, command in probe.commands)]
    assert all(math.isfinite(value) and abs(value) <= 10.0 for value in values)
    assert all(abs(after - before) <= STEP + 1e-9 for before, after in pairwise(values))


def start(processes: Processes, probe: Probe, bundle: Path, **parameters: object) -> Process:
    """An active controller that hears the probe's robot."""
    controller = processes.node("controller", bundle=str(bundle), autostart=True, **parameters)
    probe.until_status("running", OK)
    return controller


def test_lifecycle_and_safe_action_on_deactivate(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    bundle, stats = tiny_bundle(tmp_path / "pushing", Law(bias=(7.0,)), CART), tmp_path / "stats.json"
    probe.robot()
    controller = processes.node("controller", bundle=str(bundle), stats_file=str(stats), safety__scale=1)
    assert probe.transition("configure")
    assert probe.state() == "inactive" and not probe.commands
    assert probe.transition("activate")
    probe.until(lambda: probe.commands and probe.commands[-1][1] == [7.0], "the plan's command is reached")
    assert probe.transition("deactivate")
    probe.until_command([0.0], "the safe action arrives")
    count = len(probe.commands)
    assert probe.state() == "inactive"
    assert probe.transition("activate")
    probe.until_commands(10)
    assert probe.transition("deactivate") and probe.transition("cleanup")
    assert probe.state() == "unconfigured" and len(probe.commands) > count
    assert_limits_kept(probe)
    figures = json.loads(stats.read_text())
    assert figures["summary"]["ticks"] == len(figures["compute_ms"]) == len(figures["periods_ms"]) + 1
    assert "parameters: bundle = " in controller.output and "safety.scale = 1.0" in controller.output
    assert "Traceback" not in controller.output


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_sends_the_safe_action_before_the_process_ends(
    processes: Processes, probe: Probe, tmp_path: Path, number: signal.Signals
) -> None:
    probe.robot()
    controller = start(processes, probe, tiny_bundle(tmp_path / "pushing", Law(bias=(7.0,)), CART))
    probe.until_command([7.0], "the plan's command is reached")
    controller.send(number)
    controller.send(number)
    probe.until_command([0.0], "the safe action arrives")
    assert controller.wait() == 0
    assert_limits_kept(probe)
    assert "Traceback" not in controller.output


def test_states_that_cannot_be_used_stop_the_robot(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    robot = probe.robot()
    controller = start(processes, probe, tiny_bundle(tmp_path / "b", Law(gain=((1.0, 0.0, 0.0, 0.0),), bias=(0.0,)), CART))
    robot.set(["arm", "hinge", "slider"], [9.0, 0.0, 0.5], [0.0, 0.0, 0.0])
    probe.until_command([0.5], "joints in another order are understood")
    for names, position, reason in (
        (["slider", "hinge"], [math.nan, 0.0], ": position of joint 'slider' is nan"),
        (["slider", "tilt"], [0.5, 0.0], " has no joint 'hinge'; it has: slider, tilt"),
    ):
        robot.set(names, position, [0.0, 0.0])
        values = probe.until_status(f"stopped: joint_states{reason}", ERROR)
        probe.until_command([0.0], "the robot is stopped")
        assert reason in values["reason of the last stop"]
        robot.set(["slider", "hinge"], [0.5, 0.0], [0.0, 0.0])
        assert probe.trigger("controller/reset").success
        probe.until_command([0.5], "it runs again")
    assert_limits_kept(probe)
    assert "Traceback" not in controller.output


def test_bug_in_the_loop_ends_in_the_safe_action_and_unconfigured(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    probe.robot()
    bundle = tiny_bundle(tmp_path / "pushing", Law(bias=(7.0,)), CART)
    script = Path(__file__).parents[1] / "support" / "failing_controller.py"
    controller = processes.start([sys.executable, str(script)], "failing", bundle=str(bundle), autostart=True)
    probe.until(lambda: [7.0] in [command for _, command in probe.commands], "the plan's command is reached")
    probe.until_command([0.0], "the safe action arrives")
    probe.until(lambda: probe.state() == "unconfigured", "the node is unconfigured")
    assert "ZeroDivisionError: a bug" in controller.output
    assert_limits_kept(probe)


def test_unwritable_stats_file_does_not_keep_the_robot_active(processes: Processes, probe: Probe, bundle: Path) -> None:
    controller = processes.node("controller", bundle=str(bundle), stats_file="/proc/stats.json")
    probe.robot()
    assert probe.transition("configure") and probe.transition("activate")
    probe.until_status("running", OK)
    assert probe.transition("deactivate")
    assert "/proc/stats.json" in controller.output and probe.state() == "inactive"


def test_estop_latches_until_released_and_reset(processes: Processes, probe: Probe, bundle: Path) -> None:
    probe.robot()
    start(processes, probe, bundle)
    probe.until_command([6.0], "it pushes")
    probe.estop(True)
    probe.until_status("emergency stop", ERROR)
    probe.until_command([0.0], "it stands")
    refused = probe.trigger("controller/reset")
    assert not refused.success and "release it first" in refused.message
    assert probe.transition("deactivate") and probe.transition("activate")
    probe.estop(False)
    probe.until_commands(20)
    assert {tuple(command) for _, command in probe.commands[-10:]} == {(0.0,)}
    assert probe.trigger("controller/reset").success
    probe.until_command([6.0], "it pushes again")
    assert_limits_kept(probe)


def test_bundles_are_swapped_refused_and_rolled_back(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    patient = replace(CART, overrides={**CART.overrides, "stale_after": 5.0})  # on a busy machine this robot may pause
    first = tiny_bundle(tmp_path / "first", Law(bias=(-6.0,)), patient)
    second = tiny_bundle(tmp_path / "second", Law(bias=(6.0,)), patient)
    damaged = tiny_bundle(tmp_path / "damaged", Law(bias=(9.0,)), patient)
    (damaged / "act.onnx").write_bytes((damaged / "act.onnx").read_bytes()[:-1] + b"\x00")
    stats = tmp_path / "stats.json"
    probe.robot()
    controller = start(processes, probe, first, stats_file=str(stats), realtime_priority=20)
    probe.until_command([-6.0], "the first bundle decides")
    assert not probe.trigger("controller/rollback").success
    for text in (json.dumps({"uri": str(damaged)}), json.dumps({"uri": str(second), "sha256": "00"}), "nonsense"):
        probe.announce(text)
        probe.until_status("bundle refused", None)
    probe.until_commands(5)
    assert probe.commands[-1][1] == [-6.0]
    probe.announce(json.dumps({"uri": second.as_uri(), "sha256": load(second).digest}), latched=False)
    probe.until_command([6.0], "the second bundle decides")
    assert probe.trigger("controller/rollback").success
    probe.until_command([-6.0], "the first bundle decides again")
    assert probe.transition("deactivate")
    figures = json.loads(stats.read_text())
    assert figures["swaps"] == 2 and figures["summary"]["missed"] == 0, figures["summary"]
    swaps = [event["tick"] for event in figures["events"] if event["kind"] == "swap"]
    assert not [event for event in figures["events"] if event["kind"] in ("safe", "stopped") and event["tick"] >= swaps[0]]
    assert_limits_kept(probe)
    assert "Traceback" not in controller.output


def test_bad_bundle_leaves_the_node_unconfigured(processes: Processes, probe: Probe, tmp_path: Path) -> None:
    controller = processes.node("controller", bundle=str(tmp_path / "absent"))
    assert not probe.transition("configure")
    assert probe.state() == "unconfigured"
    assert "no such bundle folder" in controller.output and "Traceback" not in controller.output
    assert controller.running


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"safety__sclae": 0.5}, "unknown parameter 'safety.sclae' of controller; it has: autostart, budget, bundle"),
        ({"safety__scale": "half"}, "parameter 'safety.scale' is 'half'; it must be of type double"),
        ({"safety__scale": 33}, "parameter 'safety.scale' is 33.0; allowed is 0.01 to 1"),
        ({"safety__slew": [1000]}, "safety.slew is 1000 for slider; the bundle says 100, and parameters may only tighten it"),
    ],
)
def test_wrong_parameters_are_named(processes: Processes, bundle: Path, parameters: dict[str, object], words: str) -> None:
    controller = processes.node("controller", bundle=str(bundle), autostart=True, **parameters)
    assert controller.wait() == 2
    assert words in controller.output and "Traceback" not in controller.output


def test_dry_run_computes_but_sends_nothing(processes: Processes, probe: Probe, bundle: Path) -> None:
    shown: list[JointState] = []
    probe.listen(JointState, "controller/command_stamped", shown.append, qos.STAMPED)
    probe.robot()
    start(processes, probe, bundle, dry_run=True)
    probe.until(lambda: len(shown) > 20, "it shows what it would send")
    assert not probe.commands
    assert shown[-1].name == ["slider"] and list(shown[-1].effort) == [6.0] and shown[-1].header.stamp.sec > 0
