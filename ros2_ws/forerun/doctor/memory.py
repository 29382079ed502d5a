"""Room for the models and for the bags."""

from __future__ import annotations

import shutil
from pathlib import Path

from forerun.doctor.checks import Check, Family, Machine

FAMILY = Family("memory")
_MIB = 1 << 20
_GIB = 1 << 30


def check(machine: Machine, folder: Path) -> list[Check]:
    """Memory, swap, and the disk of ``folder``, where bags go."""
    table = machine.table("/proc/meminfo")  # kB
    return [_memory(table), _swap(table), _disk(folder)]


def _memory(table: dict[str, int]) -> Check:
    if "MemAvailable" not in table:
        return FAMILY.ok("memory", "cannot be read here")
    free = table["MemAvailable"] * 1024
    found = f"{free / _GIB:.1f} GiB free of {table.get('MemTotal', 0) * 1024 / _GIB:.1f} GiB"
    todo = "free -h; ps aux --sort=-rss | head"
    if free < 256 * _MIB:
        return FAMILY.fail("memory", found, "the controller does not start, or is killed while it runs", todo)
    if free < _GIB:
        return FAMILY.warn("memory", found, "a process may be killed while the controller runs", todo)
    return FAMILY.ok("memory", found)


def _swap(table: dict[str, int]) -> Check:
    used = 1024 * (table.get("SwapTotal", 0) - table.get("SwapFree", 0))
    found = f"{used // _MIB} MiB in use of {table.get('SwapTotal', 0) // 1024} MiB"
    if used < 64 * _MIB:
        return FAMILY.ok("swap", found)
    return FAMILY.warn(
        "swap", found, "a tick that needs what was swapped out waits for the disk", "sudo swapoff -a, with memory to spare"
    )


def _disk(folder: Path) -> Check:
    try:
        free = shutil.disk_usage(folder).free
    except OSError as error:
        return FAMILY.warn("disk", f"{folder}: {error.strerror}", "bags cannot be recorded there", f"mkdir -p {folder}")
    found = f"{free / _GIB:.1f} GiB free in {folder}"
    todo = f"du -xh {folder} | sort -h | tail, and remove what is not needed"
    if free < _GIB // 2:
        return FAMILY.fail("disk", found, "bags and bundles cannot be written", todo)
    if free < 5 * _GIB:
        return FAMILY.warn("disk", found, "a long recording ends early", todo)
    return FAMILY.ok("disk", found)
