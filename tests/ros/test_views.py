"""What RViz and Foxglove get from a running controller, and the ready views that show it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import Marker, MarkerArray

from forerun.nodes import qos
from forerun_models.bundle import load
from forerun_sim.spec import load_robot
from forerun_sim.urdf import robot_urdf
from support.probe import OK, WARN, Probe, probing
from support.processes import Processes
from support.tiny_bundle import Law, tiny_bundle

from .conftest import CART

LINKS = robot_urdf(load_robot("cartpole")).frames(("slider", "hinge"))
TYPES = {
    "/controller/markers": "visualization_msgs/msg/MarkerArray",
    "/joint_states": "sensor_msgs/msg/JointState",
    "/commands": "std_msgs/msg/Float64MultiArray",
    "/diagnostics": "diagnostic_msgs/msg/DiagnosticArray",
}
RVIZ_CLASSES = {
    *("rviz_common/Displays", "rviz_common/Views"),
    *(f"rviz_default_plugins/{name}" for name in ("Grid", "MarkerArray", "RobotModel", "TF", "Orbit")),
    *(f"rviz_default_plugins/{name}" for name in ("MoveCamera", "Select", "FocusCamera", "Measure")),
}
FOXGLOVE_PANELS = {"3D", "Plot", "DiagnosticSummary", "DiagnosticStatusPanel", "CallService"}


@pytest.fixture
def probe(domain: int) -> Iterator[Probe]:
    with probing(domain) as participant:
        yield participant


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    """A bundle that knows the cartpole's links and expects the cart to move 1 cm a step."""
    body = replace(CART, overrides={**CART.overrides, "links": LINKS})
    return tiny_bundle(tmp_path / "drawn", Law(bias=(0.0,), drift=(0.01, 0.0, 0.0, 0.0)), body)


def watch(probe: Probe) -> list[MarkerArray]:
    shown: list[MarkerArray] = []
    probe.listen(MarkerArray, "controller/markers", shown.append, qos.VIEWS)
    return shown


def by_key(message: MarkerArray) -> dict[tuple[str, int], Marker]:
    return {(marker.ns, marker.id): marker for marker in message.markers}


def test_markers_show_the_robot_and_what_each_member_imagines(processes: Processes, probe: Probe, drawn: Path) -> None:
    robot = probe.robot()
    robot.set(["slider", "hinge"], [0.5, math.pi / 2], [0.0, 0.0])
    processes.node("controller", bundle=str(drawn), autostart=True)
    probe.until_status("running", OK)
    shown = watch(probe)
    probe.until(lambda: shown and ("plan", 0) in by_key(shown[-1]), "the plan is drawn")
    markers = by_key(shown[-1])
    assert set(markers) == {("robot", 0), ("robot", 1), ("imagined", 0), ("plan", 0), ("text", 0)}
    assert {marker.header.frame_id for marker in markers.values()} == {"world"}
    assert all(marker.action == Marker.ADD and marker.lifetime.sec == 1 for marker in markers.values())
    path, colours = markers["imagined", 0].points, markers["imagined", 0].colors
    assert markers["imagined", 0].type == Marker.LINE_STRIP and len(path) == len(colours) >= 2
    # The pole of 0.6 m lies along x; the cart stands at 0.5 m and moves on.
    assert (path[0].x, path[0].z) == pytest.approx((1.1, 0.0), abs=1e-6) or (path[0].x, path[0].z) == pytest.approx(
        (-0.1, 0.0), abs=1e-6
    )
    assert path[-1].x - path[0].x > 0.02
    assert markers["plan", 0].scale.x > markers["imagined", 0].scale.x
    assert markers["text", 0].text.startswith("plan")
    assert probe.transition("deactivate")
    probe.until(lambda: all(marker.action == Marker.DELETE for marker in shown[-1].markers), "what was shown goes")
    assert set(by_key(shown[-1])) == set(markers)


def test_robot_without_links_is_drawn_as_rows_and_a_stop_takes_the_plan_away(
    processes: Processes, probe: Probe, bundle: Path
) -> None:
    robot = probe.robot()
    processes.node("controller", bundle=str(bundle), autostart=True, frame="base")
    shown = watch(probe)
    probe.until(lambda: shown and ("plan", 1) in by_key(shown[-1]), "a row for each joint")
    assert [by_key(shown[-1])["text", i].text for i in (1, 2)] == ["slider", "hinge"]
    assert by_key(shown[-1])["text", 0].header.frame_id == "base"
    robot.set(["slider", "hinge"], [math.nan, 0.0], [0.0, 0.0])
    probe.until(lambda: by_key(shown[-1])["text", 0].text.startswith(("safe", "stopped")), "it says why it stands")
    assert ("plan", 0) in {key for message in shown for key, marker in by_key(message).items() if marker.action == Marker.DELETE}


def test_predicted_trajectory_counts_from_the_moment_of_the_tick(processes: Processes, probe: Probe, drawn: Path) -> None:
    probe.robot()
    processes.node("controller", bundle=str(drawn), autostart=True)
    shown: list[JointTrajectory] = []
    probe.listen(JointTrajectory, "controller/predicted", shown.append, qos.VIEWS)
    probe.until(lambda: shown, "the prediction is published")
    message = shown[-1]
    assert list(message.joint_names) == ["slider", "hinge"] and message.header.stamp.sec > 0
    times = [point.time_from_start.sec + point.time_from_start.nanosec * 1e-9 for point in message.points]
    assert 0.0 < times[0] <= 0.06 and [b - a for a, b in pairwise(times)] == pytest.approx([0.02] * (len(times) - 1))
    positions = [point.positions[0] for point in message.points]
    assert positions == sorted(positions) and positions[-1] > positions[0]


def test_diagnostics_tell_rates_staleness_bundle_and_last_stop(processes: Processes, probe: Probe, drawn: Path) -> None:
    robot = probe.robot()
    processes.node("controller", bundle=str(drawn), autostart=True, safety__scale=0.5)
    probe.until_status("running", OK)
    values = probe.until_status("running")
    digest = load(drawn).digest
    assert (values["bundle"], values["robot"], values["agent"], values["path"]) == (digest, "cartpole", "linear", str(drawn))
    assert values["safety.scale"] == "0.5" and values["dry run"] == "False" and values["rate, nominal [Hz]"] == "50"
    probe.until(lambda: float(probe.statuses[-1][2]["rate of commands [Hz]"]) > 0, "commands are counted")
    for key in ("rate [Hz]", "rate of states [Hz]", "period p99 [ms]", "latency p50 [ms]", "missed ticks", "disagreement"):
        assert math.isfinite(float(probe.statuses[-1][2][key])), key
    assert set(probe.parts) == {"control", "timing", "states", "bundle"} and probe.parts["states"].level == OK
    robot.silent = True
    probe.until(lambda: probe.parts["states"].level == b"\x03", "states are stale")
    probe.until(lambda: "old" in probe.statuses[-1][2]["reason of the last stop"], "the reason is kept")
    assert probe.statuses[-1][2]["time of the last stop"].startswith("20")


def test_states_missing_from_the_start_are_stale_not_fine(processes: Processes, probe: Probe, drawn: Path) -> None:
    processes.node("controller", bundle=str(drawn), autostart=True)
    probe.until_status("no state has arrived yet", WARN)
    assert probe.parts["states"].level == b"\x03"


def panels(node: Any) -> list[str]:
    return [node] if isinstance(node, str) else [*panels(node["first"]), *panels(node["second"])]


def classes(node: Any) -> set[str]:
    if isinstance(node, dict):
        own = {node["Class"]} if node.get("Class") else set()
        return own.union(*(classes(value) for value in node.values()))
    return set().union(*(classes(value) for value in node)) if isinstance(node, list) else set()


def topics(node: Any) -> set[str]:
    """Topics of enabled RViz displays."""
    if isinstance(node, list):
        return set().union(*(topics(value) for value in node))
    return {node["Topic"]["Value"]} if node.get("Enabled") and "Topic" in node else set()


def test_every_topic_and_service_of_the_ready_views_exists(
    repository: Path, processes: Processes, probe: Probe, drawn: Path
) -> None:
    rviz = yaml.safe_load((repository / "ros2_ws/rviz/forerun.rviz").read_text())
    foxglove = json.loads((repository / "ros2_ws/foxglove/forerun.json").read_text())
    assert classes(rviz) <= RVIZ_CLASSES
    assert rviz["Visualization Manager"]["Global Options"]["Fixed Frame"] == "world"
    named = topics(rviz["Visualization Manager"]["Displays"])
    config = foxglove["configById"]
    assert sorted(panels(foxglove["layout"])) == sorted(config)
    assert {name.partition("!")[0] for name in config} == FOXGLOVE_PANELS
    named |= set(config["3D!forerun"]["topics"])
    named |= {path["value"].partition(".")[0] for panel in config.values() for path in panel.get("paths", [])}
    named |= {panel["topicToRender"] for panel in config.values() if "topicToRender" in panel}
    services = {panel["serviceName"]: json.loads(panel["requestPayload"]) for panel in config.values() if "serviceName" in panel}
    assert named == set(TYPES)
    probe.robot()
    processes.node("controller", bundle=str(drawn), autostart=True)
    probe.until_status("running", OK)
    found = dict(probe.node.get_topic_names_and_types())
    assert {topic: found.get(topic) for topic in TYPES} == {topic: [kind] for topic, kind in TYPES.items()}
    offered = dict(probe.node.get_service_names_and_types())
    assert set(services) <= set(offered)
    assert offered["/controller/estop"] == ["std_srvs/srv/SetBool"]
    assert all(offered[name] == ["std_srvs/srv/Trigger"] for name in services if name != "/controller/estop")
