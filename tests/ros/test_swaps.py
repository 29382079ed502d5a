"""A hundred bundles take over while the robot moves and the machine is busy, and no tick goes without its command."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from std_msgs.msg import String

from forerun.nodes import qos
from forerun_models.bundle import load
from support.probe import OK, probing
from support.processes import Processes
from support.tiny_bundle import Law, tiny_bundle

from .conftest import CART

SWAPS = 100
STEP = 2.0
"""N a control step: 100 N/s at 50 Hz."""


def test_no_tick_is_lost_in_a_hundred_swaps_under_load(processes: Processes, domain: int, tmp_path: Path) -> None:
    # States that stay away because the simulator's process had to wait are not the swaps' doing.
    patient = replace(CART, overrides={**CART.overrides, "stale_after": 10.0, "max_misses": 500})
    laws = [Law(gain=((-20.0, 0.0, -10.0, 0.0),), bias=(bias,)) for bias in (2.0, -2.0)]
    bundles = [tiny_bundle(tmp_path / f"bundle-{number}", law, patient) for number, law in enumerate(laws)]
    digests, stats = [load(bundle).digest for bundle in bundles], tmp_path / "stats.json"
    with probing(domain) as probe:
        processes.node("simulator", robot="cartpole", randomize=False)
        settings = {"swap__shadow_ticks": 3, "swap__patience": 60.0, "autostart": True, "stats_file": str(stats)}
        controller = processes.node("controller", bundle=str(bundles[0]), **settings)
        probe.until_status("running", OK)
        publisher = probe.node.create_publisher(String, "bundle", qos.LATCHED)
        probe.until(publisher.get_subscription_count, "the controller listens")
        for _ in range(2):
            processes.start([sys.executable, "-c", "while True: pass"], "load")
        wall = time.time() - time.monotonic()
        for number in range(1, SWAPS + 1):
            announcement = {"uri": bundles[number % 2].as_uri(), "sha256": digests[number % 2]}
            publisher.publish(String(data=json.dumps(announcement)))
            probe.until(lambda: controller.output.count("swap of the bundle") >= number, f"swap {number} happens")  # noqa: B023
        probe.until_commands(5)
        assert probe.transition("deactivate")
    figures = json.loads(stats.read_text())
    swaps = [event for event in figures["events"] if event["kind"] == "swap"]
    assert len(swaps) == figures["swaps"] == SWAPS
    assert [event["reason"][:64] for event in swaps] == [digests[number % 2] for number in range(1, SWAPS + 1)]
    begin, end = swaps[0], swaps[-1]
    assert {event["kind"] for event in figures["events"] if begin["time"] <= event["time"] <= end["time"]} <= {
        "shadow", "swap", "plan", "bridged"
    }, figures["events"]  # fmt: skip
    received = [command for moment, command in probe.commands if begin["time"] <= moment + wall <= end["time"]]
    ticks = end["tick"] - begin["tick"]
    assert abs(len(received) - ticks) <= 2, f"{len(received)} commands in {ticks} ticks"
    values = [0.0, *(command[0] for _, command in probe.commands)]
    assert all(abs(after - before) <= STEP + 1e-9 for before, after in pairwise(values))
    assert "Traceback" not in controller.output
