"""A recorded stream of a cartpole, as messages in the order of their arrival, and as a bag."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forerun.bags import encode
from forerun.bags.content import JOINT_STATE, MULTI_ARRAY, STRING
from forerun.bags.stream import StreamWriter
from forerun_sim.spec import load_robot

SPEC = load_robot("cartpole")
NAMES = list(reversed(SPEC.joint_names))
EPOCH = 1_700_000_000 * 10**9


@dataclass(frozen=True)
class Message:
    """What arrived at ``received`` [ns]: a state with its ``stamp``, a command or a trial's data."""

    received: int
    kind: str
    stamp: int = 0
    values: Any = None


def recording(rng: np.random.Generator, *, offset: int = 0, noise: float = 1.0) -> list[Message]:
    """Three trials of a cart whose pole turns round and is measured within half a turn: two announced, one after a gap.

    States come at 100 Hz, jittered, up to 30 ms late and out of order between topics; ``offset`` [ns] is between the clocks.
    Commands are a sine, with ``noise``.
    """
    messages, begin = [], 1.0
    for number in range(3):
        length = (4.0, 3.0, 2.5)[number]
        times = begin + np.cumsum(rng.uniform(0.006, 0.014, round(100 * length)))
        if number != 1:
            stamp = EPOCH + round(begin * 1e9)
            data = {"id": f"t{number}", "stamp_ns": stamp + offset}
            messages.append(Message(stamp + round(rng.uniform(0, 3e7)), "trial", 0, data))
        angle = 7.0 * times * rng.choice([-1, 1])
        for t, hinge in zip(times, angle, strict=True):
            wrapped = (hinge + np.pi) % (2 * np.pi) - np.pi
            stamp = EPOCH + round(t * 1e9)
            values = ([wrapped, np.sin(t)], [7.0, np.cos(t)])
            messages.append(Message(stamp + round(rng.uniform(1e6, 1.5e7)), "state", stamp + offset, values))
        for t in np.arange(begin + 0.05 * (number != 1), times[-1], 0.02):
            arrived = EPOCH + round((t + rng.uniform(0.002, 0.01)) * 1e9)
            messages.append(Message(arrived, "command", 0, [float(np.sin(3 * t) + noise * rng.normal())]))
        begin = times[-1] + (1.0 if number == 0 else 0.3)
    return sorted(messages, key=lambda message: message.received)


def as_bag(path: Path, messages: list[Message]) -> Path:
    with StreamWriter(path, robot=SPEC.name) as bag:
        for message in messages:
            if message.kind == "state":
                position, velocity = (np.array([values]) for values in message.values)
                (data,) = encode.joint_states(np.array([message.stamp]), NAMES, position, velocity)
                bag.write_raw("joint_states", JOINT_STATE, message.received, data)
            elif message.kind == "command":
                bag.write_raw("commands", MULTI_ARRAY, message.received, encode.multi_arrays([message.values])[0])
            else:
                bag.write_raw("trial", STRING, message.received, encode.string(json.dumps(message.values)))
    return path
