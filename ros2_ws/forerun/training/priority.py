"""Steps back behind everything else that runs: for work that has time, beside a control loop that has none.

``nice`` alone does not do it. Where the kernel groups processes by session (``sched_autogroup``), it weighs them within their
group only; so the group of this process, which must be a session of its own, steps back too. SCHED_IDLE is stronger than any
nice value, and needs no rights.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence
from pathlib import Path

from forerun.control.rights import set_affinity

_PR_SET_PDEATHSIG = 1


def step_back(cores: Sequence[int] = ()) -> list[str]:
    """Lowest priority for this process and its threads to come, on ``cores`` only (all if empty); returns what was refused."""
    refused = []
    try:
        os.nice(19)
    except OSError as error:
        refused.append(f"nice 19: {error.strerror}")
    try:
        Path("/proc/self/autogroup").write_text("19")
    except FileNotFoundError:
        pass  # no such groups here
    except OSError as error:
        refused.append(f"/proc/self/autogroup: {error.strerror}")
    try:
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    except OSError as error:
        refused.append(f"SCHED_IDLE: {error.strerror}")
    if reason := set_affinity(0, tuple(cores)):
        refused.append(f"training.cpu_affinity: {reason}")
    return refused


def die_with(parent: int) -> None:
    """The process ends when ``parent``, which started it, does, whatever the reason."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGKILL)
