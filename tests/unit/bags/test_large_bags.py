"""A bag may be larger than the memory: what no trial is made of is passed by."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest
from tests.support import logs

from forerun.bags import read_raw

MIB = 2**20


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_pictures_in_a_bag_cost_no_memory(tmp_path: Path, storage: str) -> None:
    pictures = [("/camera", "std_msgs/msg/ByteMultiArray", i * 10**7, bytes(MIB)) for i in range(48)]
    states = logs.swing(logs.every(0.01, 48), command=False)
    bag = logs.foreign_bag(
        tmp_path / "bag", [message for pair in zip(states, pictures, strict=True) for message in pair], storage=storage
    )
    tracemalloc.start()
    raw = read_raw(bag)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert {topic.name: topic.count for topic in raw.topics} == {"/camera": 48, "/joint_states": 48}
    assert peak < 12 * MIB
