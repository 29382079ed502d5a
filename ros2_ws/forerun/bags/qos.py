"""Quality of service as bags record it, so that ``ros2 bag play`` offers what the nodes offered."""

from __future__ import annotations

from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

FOREVER = QosTime(9223372036, 854775807)


def _profile(depth: int, durability: QosDurability, reliability: QosReliability) -> Qos:
    return Qos(
        QosHistory.KEEP_LAST, depth, reliability, durability, FOREVER, FOREVER, QosLiveliness.AUTOMATIC, FOREVER, False
    )  # fmt: skip


RELIABLE = _profile(10, QosDurability.VOLATILE, QosReliability.RELIABLE)
"""States and commands."""

BEST_EFFORT = _profile(10, QosDurability.VOLATILE, QosReliability.BEST_EFFORT)
"""Sensor streams."""

LATCHED = _profile(1, QosDurability.TRANSIENT_LOCAL, QosReliability.RELIABLE)
"""``trial`` and ``bundle``: whoever comes late gets the last message."""
