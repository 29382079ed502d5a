"""What every test shares: the real logs where they exist, and one worker for everything that talks over DDS."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Two workers share two cores; a thread pool in each of them would only make them wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A job in the background of a shell inherits that Ctrl-C is ignored, and so would every process that a test sends it to.
signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile("forerun", deadline=None, derandomize=True)
settings.load_profile("forerun")

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real-robot logs: ``$FORERUN_DATA``, or ``../shared/data`` beside the checkout; skips where there is none."""
    folder = Path(os.environ.get("FORERUN_DATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"the real-robot logs are not here: {folder} does not exist (FORERUN_DATA names another folder)")
    return folder


def over_dds(item: pytest.Item) -> bool:
    """Whether a test runs nodes, which have deadlines to keep."""
    return item.path.is_relative_to(REPOSITORY / "tests" / "ros")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Nodes keep their deadlines only when one such test runs at a time: they come first, all on one worker. The others stay
    together by file, so that what a file prepares is prepared once."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group("ros" if over_dds(item) else item.path.stem))
    items.sort(key=lambda item: not over_dds(item))


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Other tests, on the other worker, step back for them."""
    if "PYTEST_XDIST_WORKER" in os.environ and not over_dds(item):
        os.setpriority(os.PRIO_PROCESS, 0, 10)
