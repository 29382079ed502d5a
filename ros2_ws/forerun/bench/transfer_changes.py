"""A plant that changes after a minute, and the seconds until its controller has learned what it is now.

The bundle in use goes on (0 s), and is fine-tuned on what it recorded since the change. Shares are on the scale of the changed
plant: what the oracle, which is told of the change, makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from forerun.bench.records import Row
from forerun.bench.transfer_lab import Lab, Setup
from forerun.bench.transfer_scale import Scale

BEFORE = 60
"""Seconds of the plant's life before it changes."""
SINCE = (10, 20, 30)
"""Seconds since the change after which the bundle is fine-tuned and looked at, until the return is back."""
RECOVERED = 0.95
"""Share of the changed plant's oracle with which it is."""
PAYLOAD = {"cartpole": 0.1, "pendulum": 0.2}
"""kg, at the last link's centre of mass."""


def changes(robot: str) -> dict[str, dict[str, Any]]:
    """What happens to the plant of ``robot``, each alone."""
    return {
        "payload": {"to": {"payload": PAYLOAD.get(robot, 0.2)}},
        "weak motor": {"times": {"strength": 0.7}},
        "delay": {"times": {"delay": 2.0}},
        "friction": {"times": {"damping": 3.0, "viscous": 3.0, "coulomb": 3.0}},
    }


def recoveries(setup: Setup, labs: Sequence[Lab], name: str, change: Mapping[str, Any]) -> list[Row]:
    """Rows by seconds since the change called ``name``; the first with the seconds until the return was back (-1: not within the
    last stage), by seed. Seeds that were back earlier count with what they had then."""
    key = name.replace(" ", "_")
    scale = Scale(labs[0].hanging(key, change), labs[0].oracle(key, change))
    found = [lab.recovery(key, change, lab.tuned(BEFORE), SINCE, lambda one: scale.share(one) >= RECOVERED) for lab in labs]
    back = [next((stage for stage, one in by.items() if scale.share(one) >= RECOVERED), -1) for by in found]
    rows: list[Row] = []
    if scale.oracle is not None:
        rows.append({**scale.row(setup, "oracle", 0, [scale.oracle] * len(labs)), "change": name})
    for stage in (0, *SINCE):
        there = [by[max(seen for seen in by if seen <= stage)] for by in found]
        row = {**scale.row(setup, "changes", stage, there), "change": name}
        rows.append(row | ({"recovery_s": " ".join(map(str, back))} if stage == 0 else {}))
    return rows
