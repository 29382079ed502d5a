"""Where what ships beside the code (robots, recipes, agents, ready bundles) is: in a checkout, a pip or a colcon install."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path

from forerun_sim.errors import InputError

_HERE = Path(__file__).resolve()


def _roots(kind: str) -> Iterator[Path]:
    extra = os.environ.get("FORERUN_PATH", "")
    yield from (Path(part) / kind for part in extra.split(os.pathsep) if part)
    checkout = _HERE.parents[2]
    yield checkout / {"robots": "sim", "recipes": "models", "zoo": "models", "agents": "models"}.get(kind, "") / kind
    yield from (parent / "share" / "forerun" / kind for parent in _HERE.parents)
    yield Path(sys.prefix) / "share" / "forerun" / kind


def available(kind: str) -> dict[str, Path]:
    """Name -> path of every shipped resource of ``kind`` (robots, recipes, agents or zoo); ``$FORERUN_PATH`` comes first."""
    found: dict[str, Path] = {}
    for root in _roots(kind):
        if root.is_dir():
            for entry in sorted(root.iterdir()):
                if entry.is_dir() or entry.suffix == ".yaml":
                    found.setdefault(entry.stem, entry)
    return found


def bundle_folder(name_or_path: str) -> Path:
    """A bundle's folder: the one at that path, else the ready bundle of that name, else the path, wherever it leads."""
    path = Path(name_or_path)
    return path if path.exists() else available("zoo").get(name_or_path, path)


def find(kind: str, name: str) -> Path:
    """Path of the resource called ``name``.

    Raises:
        InputError: there is no such resource; the message lists the names that exist.
    """
    known = available(kind)
    if name not in known:
        raise InputError(f"no {kind.rstrip('s')} named '{name}'; shipped: {', '.join(sorted(known)) or 'none'}")
    return known[name]
