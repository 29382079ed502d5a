"""Whether the clocks agree, and whether sleeping threads wake in time."""

from __future__ import annotations

import ctypes
import time
from dataclasses import dataclass

from forerun.doctor.checks import Check, Family, Machine, quantiles

FAMILY = Family("clocks")
_STA_UNSYNC = 0x40
_PERIOD = 0.002
_LATE = 0.001
_JUMP = 0.001
_SLACK = 50_000


@dataclass(frozen=True)
class Sleeps:
    """What a thread that sleeps until absolute deadlines saw: how late it woke [s], by how much the wall clock jumped [s]."""

    late: list[float]
    jump: float


def sleep_for(seconds: float) -> Sleeps:
    """Sleeps until a deadline every 2 ms, for ``seconds`` in total."""
    late: list[float] = []
    offset = time.time() - time.monotonic()
    jump = 0.0
    due = time.monotonic()
    ending = due + seconds
    while due < ending:
        due += _PERIOD
        time.sleep(max(due - time.monotonic(), 0.0))
        now = time.monotonic()
        late.append(now - due)
        # A gap between the two readings is no jump: the smallest of three counts.
        shifts = [time.time() - time.monotonic() - offset for _ in range(3)]
        jump = max(jump, min(abs(shift) for shift in shifts))
        due = max(due, now - _PERIOD)
    return Sleeps(late, jump)


def check(machine: Machine, sleeps: Sleeps) -> list[Check]:
    """Synchronisation, source, slack, jumps, jitter."""
    return [_synchronised(), _source(machine), _slack(machine), _jumps(sleeps), _jitter(sleeps)]


def _synchronised() -> Check:
    """What the kernel was told by chrony, ntpd or timesyncd; asking changes nothing."""
    buffer = ctypes.create_string_buffer(512)
    if not hasattr(ctypes.CDLL(None), "adjtimex") or ctypes.CDLL(None).adjtimex(buffer) < 0:
        return FAMILY.ok("synchronised", "the kernel does not say")
    # struct timex of 64-bit Linux: modes, offset, freq, maxerror, esterror, status.
    worst = ctypes.c_long.from_buffer(buffer, 24).value * 1e-6
    status = ctypes.c_int.from_buffer(buffer, 40).value
    if not status & _STA_UNSYNC:
        return FAMILY.ok("synchronised", f"to another clock, within {1000 * worst:.1f} ms at worst")
    return FAMILY.warn(
        "synchronised",
        "no: the kernel knows of no other clock",
        "states that another computer stamps look too old or too young; bags of two computers do not fit together",
        "sudo apt install chrony (on every computer of the robot); inside a container its host's clock counts",
    )


def _source(machine: Machine) -> Check:
    source = machine.text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
    resolution = time.get_clock_info("monotonic").resolution
    found = f"{source or 'unknown source'}, monotonic resolution {resolution * 1e9:.0f} ns"
    if resolution <= 1e-6 and source not in ("hpet", "acpi_pm", "jiffies", "refined-jiffies"):
        return FAMILY.ok("source", found)
    return FAMILY.warn(
        "source",
        found,
        "reading the time is slow or coarse, and a tick reads it often",
        "boot with clocksource=tsc, if it is stable",
    )


def _slack(machine: Machine) -> Check:
    slack = machine.number("/proc/self/timerslack_ns")
    if slack is None or slack <= _SLACK:
        return FAMILY.ok("timer slack", "unknown" if slack is None else f"{slack / 1000:g} us")
    return FAMILY.warn(
        "timer slack",
        f"{slack / 1000:g} us",
        "each tick begins late by up to this",
        "start the controller outside of that session",
    )


def _jumps(sleeps: Sleeps) -> Check:
    if sleeps.jump <= _JUMP:
        return FAMILY.ok("jumps", f"wall clock and monotonic clock agreed within {1000 * sleeps.jump:.3f} ms")
    return FAMILY.warn(
        "jumps",
        f"the wall clock moved by {1000 * sleeps.jump:.1f} ms against the monotonic one",
        "stamps jump, states look stale and the robot stops",
        "let chrony slew instead of step: in chrony.conf 'makestep 1 3'",
    )


def _jitter(sleeps: Sleeps) -> Check:
    p50, p99, worst = (1000 * value for value in quantiles(sleeps.late))
    found = f"woke late by p50 {p50:.3f} ms, p99 {p99:.3f} ms, max {worst:.2f} ms ({len(sleeps.late)} sleeps, usual priority)"
    if p99 <= 1000 * _LATE:
        return FAMILY.ok("sleep", found)
    return FAMILY.warn(
        "sleep",
        found,
        "ticks begin late by this",
        "stop what loads this machine; realtime_priority: 20 in the controller's parameters",
    )
