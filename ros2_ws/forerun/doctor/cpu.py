"""Whether the processor is free, awake and ours."""

from __future__ import annotations

import os

from forerun.doctor.checks import Check, Family, Machine

FAMILY = Family("CPU")
_BUSY = 0.7
_STOLEN = 0.01


def ticks(machine: Machine) -> tuple[int, int]:
    """Time that the host took from us, and all time, since the start (1/100 s); zeros where unknown."""
    fields = (machine.text("/proc/stat") or "").split("\n")[0].split()[1:]
    if len(fields) < 8 or not all(field.isdigit() for field in fields[:8]):
        return 0, 0
    return int(fields[7]), sum(int(field) for field in fields[:8])


def check(machine: Machine, before: tuple[int, int]) -> list[Check]:
    """Number, load, governor, isolation, threads per core, host, kernel; ``before``: ``ticks`` of a second or two ago."""
    return [
        _number(),
        _load(machine),
        _governor(machine),
        _isolated(machine),
        _threads(machine),
        _host(machine, before),
        _kernel(machine),
    ]


def _usable() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _number() -> Check:
    count = _usable()
    if count > 1:
        return FAMILY.ok("cores", f"{count} for this process")
    return FAMILY.warn(
        "cores", "1", "loop and planner wait for each other and for all others", "give this process two cores or more"
    )


def _load(machine: Machine) -> Check:
    first = (machine.text("/proc/loadavg") or "").split()[:1]
    if not first:
        return FAMILY.ok("load", "cannot be read here")
    load, count = float(first[0]), _usable()
    found = f"{load:.2f} on {count} cores in the last minute"
    if load <= _BUSY * count:
        return FAMILY.ok("load", found)
    return FAMILY.warn(
        "load", found, "plans come late and are bridged by the last one", "top -o %CPU, and stop what is not needed"
    )


def _governor(machine: Machine) -> Check:
    try:
        cores = sorted(machine.path("/sys/devices/system/cpu").glob("cpu[0-9]*/cpufreq/scaling_governor"))
        governors = {path.read_text().strip() for path in cores}
    except OSError:
        governors = set()
    if not governors:
        return FAMILY.ok("governor", "none to be seen (in a virtual machine the host's counts)")
    found = ", ".join(sorted(governors))
    if governors == {"performance"}:
        return FAMILY.ok("governor", found)
    return FAMILY.warn(
        "governor",
        found,
        "the clock drops between ticks, and the next plan begins slowly",
        "sudo cpupower frequency-set -g performance",
    )


def _isolated(machine: Machine) -> Check:
    return FAMILY.ok("isolated cores", machine.text("/sys/devices/system/cpu/isolated") or "none")


def _threads(machine: Machine) -> Check:
    active = machine.number("/sys/devices/system/cpu/smt/active")
    return FAMILY.ok("threads per core", {None: "unknown", 0: "one"}.get(active, "two or more: they share a core's arithmetic"))


def _host(machine: Machine, before: tuple[int, int]) -> Check:
    stolen, total = (now - then for now, then in zip(ticks(machine), before, strict=True))
    virtual = "hypervisor" in (machine.text("/proc/cpuinfo") or "")
    share = stolen / total if total > 0 else 0.0
    found = ("virtual machine" if virtual else "no virtual machine to be seen") + f", {100 * share:.1f} % taken by the host now"
    if share <= _STOLEN and not virtual:
        return FAMILY.ok("host", found)
    return FAMILY.warn(
        "host", found, "the host stops all cores now and then, for milliseconds", "run the controller on real hardware"
    )


def _kernel(machine: Machine) -> Check:
    version = f"{os.uname().release} {os.uname().version}"
    if machine.text("/sys/kernel/realtime") == "1" or "PREEMPT_RT" in version:
        return FAMILY.ok("kernel", f"PREEMPT_RT: {version}")
    return FAMILY.warn(
        "kernel",
        f"not PREEMPT_RT: {version}",
        "on a busy machine a tick can be late by milliseconds, with SCHED_FIFO more rarely",
        "sudo pro enable realtime-kernel (Ubuntu), or: sudo apt install linux-image-rt-amd64 (Debian)",
    )
