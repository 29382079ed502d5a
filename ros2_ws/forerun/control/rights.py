"""What the operating system must allow a loop that keeps its deadlines: priority, cores of its own, memory that stays.

Each function asks for one thing and returns why it was refused, with what to do about it, or an empty text. A loop works
without any of them; on a busy machine it then is late more often.
"""

from __future__ import annotations

import ctypes
import os
import resource
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

_MCL_CURRENT, _MCL_FUTURE = 1, 2
_PR_SET_TIMERSLACK = 29
_CAP_IPC_LOCK = 14


@dataclass(frozen=True)
class Rights:
    """What a controller asks for.

    Attributes:
        priority: SCHED_FIFO priority of the loop; 0: normal scheduling.
        cores: numbers of the cores that loop and planner may run on; empty: all.
        lock_memory: keep the process' memory in RAM, so that no tick waits for a page.
    """

    priority: int = 0
    cores: tuple[int, ...] = ()
    lock_memory: bool = False

    @property
    def helper(self) -> Rights:
        """For a thread that the loop waits for, but not for ever: among equals the one that runs would keep a shared core."""
        return replace(self, priority=max(self.priority - 1, min(self.priority, 1)))

    def claim(self, thread_id: int) -> list[str]:
        """Priority and cores for a thread (0: the calling one); returns what was refused, each with the parameter's name."""
        refused = {
            "realtime_priority": set_priority(thread_id, self.priority),
            "cpu_affinity": set_affinity(thread_id, self.cores),
        }
        return [f"{name}: {reason}" for name, reason in refused.items() if reason]


def reset_priority(thread_id: int) -> None:
    """Gives a thread (0: the calling one) the normal scheduling back."""
    os.sched_setscheduler(thread_id, os.SCHED_OTHER, os.sched_param(0))


def set_priority(thread_id: int, priority: int) -> str:
    """Gives a thread (0: the calling one) the SCHED_FIFO ``priority``; 0 changes nothing."""
    if priority <= 0:
        return ""
    try:
        os.sched_setscheduler(thread_id, os.SCHED_FIFO, os.sched_param(priority))
    except OSError as error:
        return f"SCHED_FIFO {priority} was refused ({error.strerror}); allow it with 'ulimit -r {priority}' or CAP_SYS_NICE"
    return ""


def set_affinity(thread_id: int, cores: Sequence[int]) -> str:
    """Keeps a thread (0: the calling one) on ``cores``; none changes nothing.

    The system drops cores that are not there from a list without a word, so what came of it is read back.
    """
    if not cores:
        return ""
    before = os.sched_getaffinity(thread_id)
    try:
        os.sched_setaffinity(thread_id, cores)
        lacking = sorted(set(cores) - os.sched_getaffinity(thread_id))
    except (OSError, OverflowError):
        lacking = sorted(set(cores) - before) or list(cores)
    if not lacking:
        return ""
    names = ", ".join(str(core) for core in lacking)
    there = ", ".join(str(core) for core in sorted(before))
    return f"core {names} is not this process's to use; give some of: {there} (a container or taskset may hold back others)"


def lock_memory() -> str:
    """Locks all memory that the process has, and what it will have where its limit allows for that, into RAM."""
    soft, hard = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (hard, hard))
    # Under a limit, later allocations would fail once it is reached: only what is there now is locked.
    unlimited = hard == resource.RLIM_INFINITY or _may_lock_anything()
    flags = _MCL_CURRENT | (_MCL_FUTURE if unlimited else 0)
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.mlockall(flags) == 0:
        return ""
    reason = os.strerror(ctypes.get_errno())
    limit = "unlimited" if hard == resource.RLIM_INFINITY else f"{hard >> 20} MiB"
    return (
        f"memory could not be locked ({reason}; the limit is {limit}); allow it with 'ulimit -l unlimited', with "
        "LimitMEMLOCK=infinity in a systemd unit, or with CAP_IPC_LOCK"
    )


def unlock_memory() -> None:
    """Gives back what ``lock_memory`` locked."""
    ctypes.CDLL(None, use_errno=True).munlockall()


def wake_precisely() -> None:
    """The calling thread's sleeps end on time: the kernel may otherwise add 50 us, to wake several threads at once."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_TIMERSLACK, ctypes.c_ulong(1), 0, 0, 0)


def _may_lock_anything() -> bool:
    """Whether CAP_IPC_LOCK is in effect."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            return bool(int(line.split()[1], 16) >> _CAP_IPC_LOCK & 1)
    return False
