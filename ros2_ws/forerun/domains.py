"""ROS domains that nobody else on this machine uses at the moment: graphs that share one answer each other's messages."""

from __future__ import annotations

import fcntl
import os
import secrets
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from forerun_sim.errors import ForerunError

# Ports of domains above 100 lie where Linux takes the ports of outgoing connections from.
_DOMAINS = range(1, 101)
_FOLDER = "forerun-domains"


@contextmanager
def own_domain() -> Iterator[int]:
    """A ROS domain of our own on this machine alone, unless the user has chosen one.

    Raises:
        ForerunError: all domains are taken.
    """
    chosen = os.environ.get("ROS_DOMAIN_ID")
    if chosen is None:
        with claimed_domain() as number:
            yield number
    else:
        with _environment({"ROS_AUTOMATIC_DISCOVERY_RANGE": os.environ.get("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")}):
            yield int(chosen)


@contextmanager
def claimed_domain() -> Iterator[int]:
    """A domain that nobody else has claimed, in the environment until the end, on this machine alone.

    Raises:
        ForerunError: all domains are taken.
    """
    folder = Path(tempfile.gettempdir()) / _FOLDER
    folder.mkdir(exist_ok=True)
    start = secrets.randbelow(len(_DOMAINS))  # not the last one again: nodes that were killed may still be seen there for a while
    for offset in range(len(_DOMAINS)):
        number = _DOMAINS[(start + offset) % len(_DOMAINS)]
        claim = _claim(folder / str(number))
        if claim is not None:
            with claim, _environment({"ROS_DOMAIN_ID": str(number), "ROS_AUTOMATIC_DISCOVERY_RANGE": "LOCALHOST"}):
                yield number
            return
    raise ForerunError(f"all ROS domains from {_DOMAINS[0]} to {_DOMAINS[-1]} are taken on this machine; set ROS_DOMAIN_ID")


def _claim(path: Path) -> IO[str] | None:
    """The file, locked while it is open; None where somebody else has locked it."""
    try:
        file = path.open("w")
    except PermissionError:  # another user's
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        file.close()
        return None
    return file


@contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    kept = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
