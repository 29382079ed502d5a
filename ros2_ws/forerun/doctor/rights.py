"""Whether the loop may get priority, lock its memory and open its files."""

from __future__ import annotations

import os
import resource
import threading

from forerun.doctor.checks import Check, Family

FAMILY = Family("rights")
_PRIORITY = 20
_MEMORY = 1 << 30
_FILES = 1024
_LIMITS = "/etc/security/limits.d/99-forerun.conf"


def check() -> list[Check]:
    """Priority, memory lock, open files."""
    return [_priority(), _memory(), _files()]


def _priority() -> Check:
    refused = _try_fifo()
    limit = resource.getrlimit(resource.RLIMIT_RTPRIO)[0]
    if not refused:
        return FAMILY.ok("SCHED_FIFO", f"priority {_PRIORITY} is granted (limit {_shown(limit)})")
    return FAMILY.warn(
        "SCHED_FIFO",
        f"refused: {refused} (limit {_shown(limit)})",
        "other processes delay the loop by milliseconds on a busy machine; realtime_priority stays without effect",
        f'echo "$USER - rtprio 98" | sudo tee -a {_LIMITS}, then log in again',
    )


def _try_fifo() -> str:
    """Why a thread of ours does not get SCHED_FIFO; an empty text where it does."""
    answers: list[str] = []

    def attempt() -> None:
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(_PRIORITY))
        except (OSError, AttributeError) as error:
            answers.append(str(error))
        else:
            answers.append("")

    thread = threading.Thread(target=attempt)  # its priority ends with it
    thread.start()
    thread.join()
    return answers[0]


def _memory() -> Check:
    limit = resource.getrlimit(resource.RLIMIT_MEMLOCK)[0]
    if limit == resource.RLIM_INFINITY or limit >= _MEMORY or os.geteuid() == 0:
        return FAMILY.ok("memory lock", f"limit {_shown(limit, 'B')}" + (" (root has none)" if os.geteuid() == 0 else ""))
    return FAMILY.warn(
        "memory lock",
        f"limit {_shown(limit, 'B')}",
        "the loop's memory can be swapped out, and a tick then waits for the disk",
        f'echo "$USER - memlock unlimited" | sudo tee -a {_LIMITS}, then log in again',
    )


def _files() -> Check:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= _FILES:
        return FAMILY.ok("open files", f"limit {_shown(soft)}")
    return FAMILY.warn(
        "open files",
        f"limit {soft}",
        "DDS opens sockets for each participant and runs out of them",
        f"ulimit -n {min(hard, 4096)}",
    )


def _shown(limit: int, unit: str = "") -> str:
    return "unlimited" if limit == resource.RLIM_INFINITY else f"{limit} {unit}".strip()
