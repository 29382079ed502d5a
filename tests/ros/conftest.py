"""Nodes in processes of their own, over real DDS, each test in a domain of its own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from forerun.domains import claimed_domain
from support.processes import Processes, clean_shared_memory, shared_memory
from support.tiny_bundle import Body, Law, tiny_bundle


@pytest.fixture
def domain() -> Iterator[int]:
    """A ROS_DOMAIN_ID that no other test on this machine uses at the moment."""
    with claimed_domain() as number:
        yield number


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
