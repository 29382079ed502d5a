"""Whether messages really travel between two processes of this machine, and what DDS needs of the system."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from typing import Any

from forerun.doctor.checks import Check, Family, Machine, quantiles

FAMILY = Family("DDS")
_BUFFER = 2 << 20
_SLOW_DISCOVERY = 5.0
_SLOW_TRIP = 0.005
_PATIENCE = 60.0


def check(machine: Machine) -> list[Check]:
    """A real exchange, what killed processes left, buffers."""
    return [*_exchange(), _left_behind(machine), _buffers(machine)]


def _exchange() -> list[Check]:
    if find_spec("rclpy") is None:
        return []  # said where ROS 2 is looked for
    try:
        found = _probe()
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        return [_silent(f"two processes could not talk: {error}")]
    if found["discovery"] is None:
        return [_silent("two processes of this machine did not find each other")]
    return [_discovery(found["discovery"]), _trips(found["trips"], found["sent"], str(found["rmw"]))]


def _probe() -> dict[str, Any]:
    command = [sys.executable, "-m", "forerun.nodes.dds_probe", f"forerun_doctor_{os.getpid()}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=_PATIENCE, stdin=subprocess.DEVNULL, check=False)
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        raise ValueError(last)
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _silent(found: str) -> Check:
    return FAMILY.fail(
        "exchange",
        found,
        "no node hears another one",
        "sudo ip link set lo multicast on; allow UDP ports 7400 to 32900 on the loopback (sudo ufw status); or, on one machine: "
        "export ROS_AUTOMATIC_DISCOVERY_RANGE=LOCALHOST",
    )


def _discovery(seconds: float) -> Check:
    found = f"found each other in {seconds:.2f} s"
    if seconds <= _SLOW_DISCOVERY:
        return FAMILY.ok("discovery", found)
    return FAMILY.warn(
        "discovery", found, "nodes start late, and a controller waits for states", "look for packet loss; ROS_STATIC_PEERS helps"
    )


def _trips(trips: list[float], sent: int, middleware: str) -> Check:
    if not trips:
        return _silent(f"two processes found each other, but none of {sent} messages came back")
    p50, p99, worst = (1000 * value for value in quantiles(trips))
    found = f"{middleware}: p50 {p50:.2f} ms, p99 {p99:.2f} ms, max {worst:.2f} ms, {sent - len(trips)} of {sent} lost"
    if p99 <= 1000 * _SLOW_TRIP and len(trips) == sent:
        return FAMILY.ok("round trip", found)
    return FAMILY.warn(
        "round trip",
        found,
        "a command answers a state that is older by this",
        "stop what loads this machine, or give the controller realtime_priority",
    )


def _left_behind(machine: Machine) -> Check:
    try:
        files = [path for path in machine.path("/dev/shm").iterdir() if "fastrtps" in path.name or "fastdds" in path.name]
    except OSError:
        files = []
    used = _mapped(machine) if files else []
    # A port's lock and semaphore belong to its segment, which alone is mapped.
    stale = [path for path in files if not any(path.name.removesuffix("_el").removeprefix("sem.") in text for text in used)]
    if not stale:
        return FAMILY.ok("shared memory", f"{len(files)} files of DDS, all in use" if files else "no files of DDS")
    return FAMILY.warn(
        "shared memory",
        f"{len(stale)} files in /dev/shm that no process uses",
        "killed processes left them: they fill memory, and now and then delay other nodes",
        "stop all ROS nodes, then: rm /dev/shm/*fastrtps*",
    )


def _mapped(machine: Machine) -> list[str]:
    """Maps of all processes that we may read."""
    try:
        processes = [path.name for path in machine.path("/proc").iterdir() if path.name.isdigit()]
    except OSError:
        return []
    return [text for text in (machine.text(f"/proc/{process}/maps") for process in processes) if text and "fast" in text]


def _buffers(machine: Machine) -> Check:
    size = machine.number("/proc/sys/net/core/rmem_max")
    if size is None:
        return FAMILY.ok("UDP buffers", "their limit cannot be read here")
    found = f"net.core.rmem_max {size // 1024} KiB"
    if size >= _BUFFER:
        return FAMILY.ok("UDP buffers", found)
    return FAMILY.warn(
        "UDP buffers",
        found,
        "images and bursts of messages are lost; joint states and commands are small enough",
        "sudo sysctl -w net.core.rmem_max=8388608 (and a line net.core.rmem_max=8388608 in /etc/sysctl.d/99-forerun.conf)",
    )
