"""A bag may be larger than the memory: it is read in blocks, and what no trial is made of is passed by."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.support import logs
from tests.support.stream import SPEC, as_bag, recording

from forerun.bags import BagWriter, load_trials, read_raw
from forerun.bags.read import Reading
from forerun.bags.summary import inspect_bag

MIB = 2**20


@pytest.mark.parametrize(("seed", "most"), [(0, 250), (1, 700), (2, 5000)])
def test_bag_read_in_blocks_gives_the_same_rows(tmp_path: Path, seed: int, most: int) -> None:
    path = as_bag(tmp_path / "bag", recording(np.random.default_rng(seed), offset=3_600 * 10**9 * seed))
    expected = load_trials(path, SPEC, note=lambda text: None)
    reading = Reading(SPEC)
    trials = reading.end(read_raw(path, take=reading.take, most=most), lambda text: None)
    for whole in expected:
        parts = [trial for trial in trials if whole.start - 1e-6 <= trial.start <= whole.start + whole.duration]
        assert {part.meta.get("id") for part in parts} == {whole.meta.get("id")}
        # Where a block ended the grid begins anew, with the block's first state.
        assert sum(len(part) for part in parts) >= len(whole) - 2 * len(parts)
        for part in parts:
            times = (part.start - whole.start + SPEC.control.period * np.arange(len(part))) / SPEC.control.period
            at = np.clip(times.round().astype(int), 0, len(whole) - 1)
            moved = np.abs((part.states - whole.states[at] + np.pi) % (2 * np.pi) - np.pi)
            assert moved[:, 2:].max() < 0.1 and moved[:, :2].max() < 7.0 * SPEC.control.period
    assert (len(trials) == len(expected)) == (most == 5000)
    seen = inspect_bag(path, SPEC, most=most)
    whole = inspect_bag(path, SPEC)
    assert (seen.joints, seen.messages, seen.duration, seen.problem) == (whole.joints, whole.messages, whole.duration, None)
    assert [trial.rows for trial in seen.trials] == [len(trial) for trial in trials]


@pytest.mark.parametrize("storage", ["mcap", "sqlite3"])
def test_memory_does_not_grow_with_a_bag_of_joint_states(tmp_path: Path, storage: Any) -> None:
    peaks = []
    for count in (5_000, 20_000):
        with BagWriter(tmp_path / f"{count}", storage=storage) as bag:
            stamps = np.arange(count) * 2_000_000
            position = np.sin(stamps * 1e-9)[:, None] * np.ones((1, 2))
            bag.run(stamps, SPEC, position, 0 * position, None, np.zeros((count, 1)))
        tracemalloc.start()
        reading = Reading(SPEC)
        trials = reading.end(read_raw(tmp_path / f"{count}", take=reading.take, most=1_250), lambda text: None)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert sum(len(trial) for trial in trials) == pytest.approx(count / 10, rel=0.01)
    assert peaks[1] < 1.5 * peaks[0]


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
