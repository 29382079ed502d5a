"""Speed of reading bags into trials, against rosbags' own iteration over the same messages."""

from __future__ import annotations

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np

from forerun.bags import BagWriter, load_trials
from forerun.bags.write import Storage
from forerun.bench.records import Measurement, Options, Row
from forerun.bench.timing import medians
from forerun_sim.spec import load_robot

ROBOT = "double_pendulum"
RATE = 500.0
SECONDS = 60.0
REPEATS = 5


def measure(options: Options) -> Measurement:
    """Messages a second by storage: iterated raw and deserialised by rosbags, and read into trials on the control grid."""
    spec = load_robot(ROBOT)
    count = round(RATE * SECONDS)
    stamps = (np.arange(count) * (1e9 / RATE)).astype(np.int64) + 10**9
    random = np.random.default_rng(options.seeds[0])
    joints = (count, len(spec.joints))
    position = np.cumsum(random.normal(0, 0.01, joints), axis=0)
    velocity, effort = random.normal(0, 1, joints), random.normal(0, 1, joints)
    command = random.uniform(-1, 1, (count, spec.action_size))
    rows: list[Row] = []
    for storage in get_args(Storage):
        options.note(f"bags: {storage}")
        path = options.work / f"speed-{storage}"
        with BagWriter(path, storage=storage, robot=spec.name, simulated=True) as bag:
            bag.run(stamps, spec, position, velocity, effort, command)
        works: dict[str, Any] = {
            "trials": lambda path=path: load_trials(path, spec, note=lambda text: None),
            "rosbags": lambda path=path: _iterate(path, deserialize=True),
            "raw": lambda path=path: _iterate(path, deserialize=False),
        }
        taken = medians(works, REPEATS)
        messages = _iterate(path, deserialize=False)
        rows.append(
            {
                "storage": storage,
                "messages": messages,
                "trials_messages_per_s": round(messages / taken["trials"]),
                "rosbags_messages_per_s": round(messages / taken["rosbags"]),
                "rosbags_raw_messages_per_s": round(messages / taken["raw"]),
                "times_rosbags": round(taken["rosbags"] / taken["trials"], 2),
                "peak_bytes_per_message": round(_peak(works["trials"]) / messages),
                "bag_bytes_per_message": round(sum(file.stat().st_size for file in path.iterdir()) / messages),
                "seed": options.seeds[0],
            }
        )
    return Measurement("bags", rows, {"rate_hz": RATE, "seconds": SECONDS, "joints": len(spec.joints), "repeats": REPEATS})


def _peak(work: Callable[[], object]) -> int:
    """Bytes that ``work`` holds at most at a time."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _iterate(path: Path, *, deserialize: bool) -> int:
    """Messages of the bag, all looked at by rosbags."""
    from rosbags.highlevel import AnyReader
    from rosbags.typesys import Stores, get_typestore

    count = 0
    with AnyReader([path], default_typestore=get_typestore(Stores.ROS2_JAZZY)) as reader:
        for connection, _, content in reader.messages():
            if deserialize:
                reader.deserialize(content, connection.msgtype)
            count += 1
    return count
