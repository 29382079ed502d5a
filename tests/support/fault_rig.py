"""A controller, a robot that goes wrong on order, and what every fault must leave whole: limits, slew, log without traceback."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.faulty_robot import FaultyRobot
from support.probe import OK, Probe, probing
from support.processes import Process, Processes, clean_shared_memory, shared_memory
from support.tiny_bundle import Body, Law, tiny_bundle

STALE_AFTER = 1.0
"""Of the robot of these tests [s]: a robot's process that has to wait on a busy machine is not the fault that is tested."""
COMMAND_TIMEOUT = 0.25
STEP = 2.0
"""N a control step: 100 N/s at 50 Hz."""
LIMIT = 10.0
PUSH = 4.0
"""N: what the bundle commands where the robot is healthy."""
HEALTHY: dict[str, Any] = {
    "names": ["slider", "hinge"],
    "position": [0.4, 0.0],
    "velocity": [0.0, 0.0],
    "rate": 50.0,
    "stamp": "now",
    "moves": False,
}


def faulty_bundle(folder: Path, law: Law | None = None, **overrides: Any) -> Path:
    """A bundle that commands ``PUSH`` where the slider is at 0.4 m, whatever order its joints come in."""
    law = law or Law(gain=((10.0, 0.0, 0.0, 0.0),), bias=(0.0,))
    nominal = {
        "position_lower": [-2.0, -math.inf],
        "position_upper": [2.0, math.inf],
        "velocity_limit": [6.0, math.inf],
        "stale_after": STALE_AFTER,
        "max_misses": 5,
    }
    return tiny_bundle(folder, law, Body(overrides=nominal | overrides))


class FaultRig:
    """One robot, one controller, and what the test hears of them."""

    def __init__(self, processes: Processes, probe: Probe, bundle: Path, robot: dict[str, Any], **parameters: Any) -> None:
        self.processes, self.probe = processes, probe
        late = robot.pop("late", False)
        self.robot = FaultyRobot(processes, probe, late=late, **(HEALTHY | robot))
        self.controller: Process = processes.node("controller", bundle=str(bundle), autostart=True, **parameters)
        if not late:
            self.healthy()

    @property
    def command(self) -> list[float]:
        """The newest one."""
        return self.probe.commands[-1][1] if self.probe.commands else []

    def says(self, part: str) -> str:
        """What the newest diagnostics say of ``part``."""
        return self.probe.parts[part].message if part in self.probe.parts else ""

    def healthy(self) -> None:
        """The robot is as it should be, a stop is released, and the plan's command flows."""
        probe = self.probe
        self.robot.order(**HEALTHY)
        probe.until(lambda: "states" in probe.parts and probe.parts["states"].level == OK, "good states arrive", 60.0)
        if self.says("control").startswith("stopped"):
            assert probe.trigger("controller/reset").success
        self.runs()

    def runs(self) -> None:
        """The plan's command flows and nothing is wrong."""
        self.probe.until(lambda: self.command == [PUSH] and self.says("control") == "running", "the controller runs")

    def stops(self, words: str, level: bytes) -> dict[str, str]:
        """The diagnostics say ``words``, and the safe action has arrived; returns the diagnostics' values."""
        values = self.probe.until_status(words, level)
        self.probe.until(lambda: self.command == [0.0], "the safe action arrives")
        return values

    def goes_on(self, ticks: int = 50) -> None:
        """That many commands come, and none is another than the plan's."""
        count = len(self.probe.commands)
        self.probe.until_commands(ticks)
        assert {tuple(command) for _, command in self.probe.commands[count:]} == {(PUSH,)}

    def whole(self, *, jumps: bool = False) -> None:
        """All commands were finite, within limits and slew, and no log holds a traceback."""
        commands_whole(self.probe, jumps=jumps)
        assert self.controller.running and "Traceback" not in self.controller.output


def commands_whole(probe: Probe, *, jumps: bool = False) -> None:
    """All commands were finite and within limits and slew; where they had timed out on the robot's side, counted from rest.

    Where the simulated clock ``jumps`` ahead they time out at once.
    """
    if not probe.commands:
        return
    # Discovery takes a while: the first one that the probe hears need not be the first one that was sent.
    before, (last, *_) = probe.commands[0]
    for moment, command in probe.commands:
        assert len(command) == 1 and math.isfinite(command[0]) and abs(command[0]) <= LIMIT
        # What comes late was not necessarily sent late: on a busy machine the test itself may have had to wait.
        from_rest = (jumps or moment - before > COMMAND_TIMEOUT) and abs(command[0]) <= STEP + 1e-9
        assert from_rest or abs(command[0] - last) <= STEP + 1e-9, (last, command)
        last, before = command[0], moment


@contextmanager
def fault_rig(
    domain: int,
    folder: Path,
    *,
    make: Callable[[Path], Path] = faulty_bundle,
    robot: dict[str, Any] | None = None,
    **parameters: Any,
) -> Iterator[FaultRig]:
    """A rig with a bundle that ``make`` writes in the ``folder``; for a module of faults or for one."""
    before = shared_memory()
    processes = Processes(folder)
    try:
        with probing(domain) as probe:
            yield FaultRig(processes, probe, make(folder / "bundle"), robot or {}, **parameters)
    finally:
        processes.end()
        clean_shared_memory(before)
