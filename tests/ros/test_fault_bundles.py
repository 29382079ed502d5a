"""Bundles that vanish or rot while the robot moves, and goals that are none (docs/faults.md)."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from std_msgs.msg import Float64MultiArray

from forerun.domains import claimed_domain
from forerun.nodes import qos
from support.fault_rig import PUSH, FaultRig, fault_rig, faulty_bundle
from support.probe import ERROR, WARN
from support.tiny_bundle import Law


def with_goal(folder: Path) -> Path:
    """A bundle whose task takes two goal numbers, whatever it does with them."""
    return faulty_bundle(folder, goal_names=("x", "y"), goal_default=[0.0, 0.0])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[FaultRig]:
    folder = tmp_path_factory.mktemp("bundles")
    with claimed_domain() as domain, fault_rig(domain, folder, make=with_goal, swap__shadow_ticks=0) as made:
        yield made


@pytest.fixture
def rig(shared: FaultRig) -> Iterator[FaultRig]:
    """Healthy before each fault; whole after it."""
    shared.healthy()
    yield shared
    shared.whole()


def test_goal_that_is_none_is_refused_and_the_one_before_holds(rig: FaultRig) -> None:
    publisher = rig.probe.node.create_publisher(Float64MultiArray, "controller/goal", qos.STAMPED)
    rig.probe.until(publisher.get_subscription_count, "the controller listens")
    for goal, words in (
        ([1.0], "a goal of 1 numbers; task 'swing_up' takes: x, y"),
        ([], "a goal of 0 numbers"),
        ([1.0, float("nan")], "goal 'y' is not finite"),
    ):
        publisher.publish(Float64MultiArray(data=goal))
        values = rig.probe.until_status(f"running; goal refused, the one before holds: {words}", WARN)
        assert words in values["refused goal"]
        rig.goes_on(5)
    before = rig.controller.output.count("goal refused")
    for _ in range(5):
        publisher.publish(Float64MultiArray(data=[1.0, float("nan")]))
    rig.goes_on(10)
    assert rig.controller.output.count("goal refused") == before  # not once a message
    publisher.publish(Float64MultiArray(data=[1.0, 2.0]))
    rig.runs()


def _gone(folder: Path) -> None:
    shutil.rmtree(folder)


def _act_gone(folder: Path) -> None:
    (folder / "act.onnx").unlink()


def _act_rotten(folder: Path) -> None:
    content = bytearray((folder / "act.onnx").read_bytes())
    content[len(content) // 2] ^= 0xFF
    (folder / "act.onnx").write_bytes(content)


def _manifest_cut(folder: Path) -> None:
    (folder / "bundle.json").write_text((folder / "bundle.json").read_text()[:100])


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (_gone, "no such bundle folder"),
        (_act_gone, "act.onnx"),
        (_act_rotten, "was changed or damaged"),
        (_manifest_cut, "bundle.json"),
    ],
    ids=["folder-deleted", "graph-deleted", "graph-corrupted", "manifest-cut"],
)
def test_announced_bundle_that_was_harmed_is_refused_and_the_running_one_goes_on(
    rig: FaultRig, tmp_path: Path, harm: Callable[[Path], None], words: str
) -> None:
    other = with_goal(tmp_path / "other")
    harm(other)
    rig.probe.announce(json.dumps({"uri": str(other)}))
    refused = rig.probe.until_status("running; bundle refused", WARN)["refused bundle"]
    assert words in refused and str(other) in refused
    rig.goes_on(25)
    good = faulty_bundle(
        tmp_path / "good",
        Law(gain=((10.0, 0.0, 0.0, 0.0),), bias=(0.0,), disagreement=0.2),
        goal_names=("x", "y"),
        goal_default=[0.0, 0.0],
    )
    rig.probe.announce(json.dumps({"uri": str(good)}))
    rig.runs()
    # The one before is in memory: the way back needs no file.
    assert rig.probe.trigger("controller/rollback").success
    rig.runs()


def test_running_bundle_outlives_its_files(domain: int, tmp_path: Path) -> None:
    with fault_rig(domain, tmp_path) as rig:
        folder = tmp_path / "bundle"
        _act_rotten(folder)
        rig.goes_on(25)
        shutil.rmtree(folder)
        rig.goes_on(25)
        assert rig.says("control") == "running"
        refused = rig.probe.trigger("controller/rollback")
        assert not refused.success and "no earlier bundle" in refused.message
        rig.goes_on(5)
        assert rig.probe.transition("deactivate")
        rig.probe.until(lambda: rig.command == [0.0], "the safe action arrives")
        assert rig.probe.transition("activate")
        rig.probe.until(lambda: rig.command == [PUSH], "what is configured still works")
        assert rig.probe.transition("deactivate") and rig.probe.transition("cleanup")
        assert not rig.probe.transition("configure") and rig.probe.state() == "unconfigured"
        rig.probe.until_status(f"configure: {folder}: no such bundle folder", ERROR)
        faulty_bundle(folder)
        assert rig.probe.transition("configure") and rig.probe.transition("activate")
        rig.probe.until(lambda: rig.command == [PUSH], "a folder that is back works")
        rig.whole()
