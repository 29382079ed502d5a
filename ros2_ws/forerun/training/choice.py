"""Which pieces a training takes: the newest, and as evenly as can be some from all before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from forerun.training.pieces import read
from forerun.training.store import SHARES, Entry
from forerun_sim.errors import ForerunError


def choose(entries: Mapping[int, Entry], newest: int, earlier: int) -> dict[str, list[int]]:
    """Numbers of pieces for ``forerun_models.training.split.Split``.

    Args:
        entries: the store's.
        newest: rows up to which all of the newest pieces are taken, each for its role.
        earlier: about so many rows of the older ones are taken too, evenly spread; judges among them only say whether something
            was forgotten.
    """
    by_age = sorted(entries.values(), key=lambda entry: -entry.number)
    recent, rows = 0, 0
    while recent < len(by_age) and rows < newest:
        rows += by_age[recent].rows
        recent += 1
    new = {role: [entry for entry in by_age[:recent] if entry.role == role] for role in SHARES}
    old = {role: [entry for entry in by_age[recent:] if entry.role == role] for role in SHARES}
    for role in SHARES:
        if not new[role] and old[role]:
            new[role].append(old[role].pop(0))
    spread = {role: _evenly(old[role], round(earlier * share)) for role, share in SHARES.items()}
    pieces = {role: [*new[role], *(spread[role] if role != "judge" else [])] for role in SHARES}
    pieces["earlier"] = spread["judge"]
    return {role: sorted(entry.number for entry in chosen) for role, chosen in pieces.items()}


def everything(folder: Path) -> dict[str, list[int]]:
    """All pieces in ``folder`` by their roles, as far as they can be read; nothing is changed, a trainer may go on there."""
    pieces: dict[str, list[int]] = {role: [] for role in SHARES}
    for path in sorted(folder.glob("*.piece")):
        try:
            pieces[read(path).header.role].append(int(path.stem))
        except (ForerunError, KeyError, ValueError):
            continue
    return pieces


def lacking(entries: Mapping[int, Entry], shortest: int) -> str:
    """Why there is nothing to train on yet; empty where there is. Each role needs a piece of ``shortest`` rows."""
    missing = [role for role in SHARES if not any(e.role == role and e.rows >= shortest for e in entries.values())]
    return f"no piece of {shortest} rows yet to {' or to '.join(missing)}" if missing else ""


def _evenly(entries: Sequence[Entry], rows: int) -> list[Entry]:
    total = sum(entry.rows for entry in entries)
    if not rows:
        return []
    return list(entries[:: max(1, -(-total // rows))])
