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
from forerun_sim.spec import RobotSpec, load_robot

ROBOT = "double_pendulum"
RATE = 500.0
SECONDS = 60.0
REPEATS = 5
LONG = (600.0, 1200.0)
"""Seconds of bags that are read in blocks, to see whether memory grows with them."""


def measure(options: Options) -> Measurement:
    """Messages a second by storage: iterated raw and deserialised by rosbags, and read into trials on the control grid."""
    spec = load_robot(ROBOT)
    rows: list[Row] = []
    for storage in get_args(Storage):
        options.note(f"bags: {storage}")
        path = _record(options.work / f"speed-{storage}", spec, storage, SECONDS, options.seeds[0])
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
                **{f"peak_mib_of_{seconds:g}_s": _memory(options, spec, storage, seconds) for seconds in LONG},
                "seed": options.seeds[0],
            }
        )
    return Measurement("bags", rows, {"rate_hz": RATE, "seconds": SECONDS, "joints": len(spec.joints), "repeats": REPEATS})


def _memory(options: Options, spec: RobotSpec, storage: Storage, seconds: float) -> float:
    """MiB that reading a bag of that length holds at most."""
    path = _record(options.work / f"{storage}-{seconds:g}", spec, storage, seconds, options.seeds[0])
    return round(_peak(lambda: load_trials(path, spec, note=lambda text: None)) / 2**20, 1)


def _record(path: Path, spec: RobotSpec, storage: Storage, seconds: float, seed: int) -> Path:
    """A bag of a robot that wanders, states and commands at ``RATE``."""
    count = round(RATE * seconds)
    stamps = (np.arange(count) * (1e9 / RATE)).astype(np.int64) + 10**9
    random = np.random.default_rng(seed)
    joints = (count, len(spec.joints))
    position = np.cumsum(random.normal(0, 0.01, joints), axis=0)
    velocity, effort = random.normal(0, 1, joints), random.normal(0, 1, joints)
    with BagWriter(path, storage=storage, robot=spec.name, simulated=True) as bag:
        bag.run(stamps, spec, position, velocity, effort, random.uniform(-1, 1, (count, spec.action_size)))
    return path


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
