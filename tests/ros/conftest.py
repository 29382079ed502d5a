"""Nodes in processes of their own, over real DDS, each test in a domain of its own."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.processes import Processes, clean_shared_memory, shared_memory
from support.tiny_bundle import Body, Law, tiny_bundle

# Ports of domains above 100 lie where Linux takes the ports of outgoing connections from.
_DOMAINS = range(1, 101)


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test on this machine uses at the moment."""
    with own_domain() as number:
        yield number


@contextmanager
def own_domain() -> Iterator[int]:
    """Claims such an id and puts it into the environment."""
    folder = Path("/tmp/forerun-test-domains")
    folder.mkdir(exist_ok=True)
    start = os.getpid() % len(_DOMAINS)
    for offset in range(len(_DOMAINS)):
        number = _DOMAINS[(start + offset) % len(_DOMAINS)]
        claim = (folder / str(number)).open("w")
        try:
            fcntl.flock(claim, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            claim.close()
            continue
        with pytest.MonkeyPatch.context() as environment:
            environment.setenv("ROS_DOMAIN_ID", str(number))
            environment.setenv("ROS_AUTOMATIC_DISCOVERY_RANGE", "LOCALHOST")
            yield number
        claim.close()
        return
    pytest.fail("all domain ids are taken")


@pytest.fixture
def processes(domain: int, tmp_path: Path) -> Iterator[Processes]:
    """Starts nodes; whatever still runs at the end is killed and its shared memory removed."""
    before = shared_memory()
    started = Processes(tmp_path)
    yield started
    started.end()
    clean_shared_memory(before)


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A bundle that drives the cart to 0.3 m and leaves the pole alone."""
    law = Law(gain=((-20.0, 0.0, -10.0, 0.0),), bias=(6.0,))
    return tiny_bundle(tmp_path / "bundle", law, CART)


CART = Body(overrides={"position_lower": [-2.0, float("-inf")], "position_upper": [2.0, float("inf")], "max_misses": 5})
"""The shipped cartpole as bundles of these tests describe it: 10 N, 100 N/s, 50 Hz."""
