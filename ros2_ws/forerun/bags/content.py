"""What the files of a bag add up to while they are read: topics, counts, and the messages of the types that Forerun reads."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

JOINT_STATE = "sensor_msgs/msg/JointState"
MULTI_ARRAY = "std_msgs/msg/Float64MultiArray"
STRING = "std_msgs/msg/String"
KEPT = frozenset({JOINT_STATE, MULTI_ARRAY, STRING})
"""Types whose messages are kept; all others are only counted."""

CUSTOM_PREFIX = "forerun."
"""Keys of what our writers store about a bag: ``forerun.robot``, ``forerun.simulated``."""


def custom_data(robot: str | None, simulated: bool | None) -> dict[str, str]:
    """What our writers store about a bag; ``Content.add_custom`` reads it back."""
    data = {"writer": "forerun"}
    if robot is not None:
        data["robot"] = robot
    if simulated is not None:
        data["simulated"] = "true" if simulated else "false"
    return {CUSTOM_PREFIX + key: value for key, value in data.items()}


@dataclass
class Rows:
    """Messages of one topic: position in the bag, receive time [ns], serialized message."""

    order: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=list)
    payloads: list[bytes] = field(default_factory=list)


@dataclass
class Content:
    """Filled by the readers of the storage formats, in the order of recording.

    Attributes:
        topics: name -> type.
        counts: name -> number of messages.
        rows: name -> the messages, of kept types.
        custom: what our writers stored about the bag, without the prefix.
        notes: what the reader should know.
        unpack: from a stored to a plain message; None where they are stored plain.
        messages: read so far, all topics that are ours together.
        full: called after a batch when more than ``most`` messages wait; to ``forget`` some.
    """

    topics: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    rows: dict[str, Rows] = field(default_factory=dict)
    custom: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    unpack: Callable[[bytes], bytes] | None = None
    messages: int = 0
    most: int = 0
    full: Callable[[], None] | None = None

    def declare(self, topic: str, msgtype: str) -> None:
        """Make a topic known; later files of a bag declare it again."""
        self.topics.setdefault(topic, msgtype)
        self.counts.setdefault(topic, 0)
        self.rows.setdefault(topic, Rows())

    def add(self, topic: str, received: int, data: bytes) -> None:
        """Add the next message of the bag."""
        self.add_batch([topic], np.zeros(1, np.int64), [received], [data])

    def add_batch(
        self, topics: Sequence[str | None], which: NDArray[np.int64], received: Sequence[int], payloads: Sequence[bytes]
    ) -> None:
        """Add the next messages of the bag, all at once: message i is on ``topics[which[i]]``; None is none of ours."""
        # The order counts messages that are ours, so that it does not depend on what is left out.
        ours = np.array([topic is not None for topic in topics], bool)[which]
        order = self.messages + np.cumsum(ours)
        self.messages += int(ours.sum())
        for number in np.unique(which).tolist():
            topic = topics[number]
            if topic is None:
                continue
            here = which == number
            self.counts[topic] += int(here.sum())
            if self.topics[topic] not in KEPT:
                continue
            rows, chosen = self.rows[topic], here.tolist()
            rows.order += order[here].tolist()
            rows.received += compress(received, chosen)
            found = compress(payloads, chosen)
            rows.payloads += found if self.unpack is None else map(self.unpack, found)
        if self.full is not None and self._waiting > self.most:
            self.full()
            # Where little could be taken the next attempt waits, so that a bag of very short trials takes no time squared.
            self.most = max(self.most, 2 * self._waiting)

    @property
    def _waiting(self) -> int:
        return sum(len(rows.order) for rows in self.rows.values())

    def forget(self, before: int, newest: str) -> None:
        """Drop the messages before bag position ``before``; of topic ``newest`` the last one of them stays."""
        for topic, rows in self.rows.items():
            count = bisect_left(rows.order, before)
            count = max(count - 1, 0) if topic == newest else count
            for column in (rows.order, rows.received, rows.payloads):
                del column[:count]

    def add_custom(self, data: Any) -> None:
        """Take what is ours from a mapping of custom data."""
        if isinstance(data, dict):
            ours = {str(key): str(value) for key, value in data.items() if str(key).startswith(CUSTOM_PREFIX)}
            self.custom.update({key[len(CUSTOM_PREFIX) :]: value for key, value in ours.items()})

    def add_metadata(self, text: str) -> None:
        """Take what is ours from a copy of metadata.yaml within a storage file, where it is not known yet.

        Raises:
            ValueError: it is no YAML.
        """
        if self.custom:
            return
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"the bag's metadata is no YAML: {error}") from error
        if isinstance(data, dict):
            self.add_custom(data.get("custom_data"))
