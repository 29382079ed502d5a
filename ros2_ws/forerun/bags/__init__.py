"""Bags: rosbag2 recordings become trials on the control grid, and trials and logs become bags."""

from __future__ import annotations

from forerun.bags.read import Note, expand, load_trials, trials_of
from forerun.bags.storage import RawBag, Topic, read_raw
from forerun.bags.stream import StreamWriter
from forerun.bags.summary import BagSummary, inspect_bag
from forerun.bags.write import BagWriter, Record, write_trials

__all__ = [
    "BagSummary",
    "BagWriter",
    "Note",
    "RawBag",
    "Record",
    "StreamWriter",
    "Topic",
    "expand",
    "inspect_bag",
    "load_trials",
    "read_raw",
    "trials_of",
    "write_trials",
]
