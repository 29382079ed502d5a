"""What a bag holds, for people and machines, even where no trial can be made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forerun.bags import decode
from forerun.bags.content import JOINT_STATE
from forerun.bags.quality import Quality, warnings
from forerun.bags.read import trials_of
from forerun.bags.storage import RawBag, Stream, read_raw
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec


@dataclass(frozen=True)
class TopicSummary:
    """A topic; ``rate`` [Hz] from receive times, None where there are too few messages or their content is not read."""

    name: str
    type: str
    count: int
    rate: float | None


@dataclass(frozen=True)
class JointsSummary:
    """What a JointState topic says: joints in the order of the first message, which fields are filled, ranges of positions."""

    topic: str
    names: tuple[str, ...]
    velocity: bool
    effort: bool
    lower: tuple[float, ...]
    upper: tuple[float, ...]


@dataclass(frozen=True)
class TrialSummary:
    """A trial on the control grid: ``start`` and ``duration`` in s; ``quality`` as in ``bags.quality``."""

    source: str
    id: str
    rows: int
    start: float
    duration: float
    simulated: bool
    quality: Quality


@dataclass(frozen=True)
class BagSummary:
    """What ``inspect`` shows. ``problem`` says why no trials can be made, None where they can or no robot was given.
    ``warnings`` say what of the trials' quality will limit a model.

    ``duration`` [s] is between the first and the last message of the topics that are read.
    """

    path: str
    storage: str
    bytes: int
    messages: int
    duration: float
    topics: tuple[TopicSummary, ...]
    joints: tuple[JointsSummary, ...]
    robot: str | None
    trials: tuple[TrialSummary, ...]
    problem: str | None
    notes: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as JSON values."""
        return asdict(self)


def inspect_bag(path: str | Path, spec: RobotSpec | None = None) -> BagSummary:
    """What the bag at ``path`` holds, and its trials where ``spec`` says which robot it is.

    Raises:
        InputError: there is no bag, or it cannot be read at all.
    """
    raw = read_raw(path)
    notes = list(raw.notes)
    trials: tuple[TrialSummary, ...] = ()
    problem, poor = None, list[str]()
    if spec is not None:
        try:
            found = trials_of(raw, spec, note=lambda text: notes.append(text.removeprefix(f"{raw.path}: ")), quality=True)
            poor = warnings(found, spec)
            trials = tuple(
                TrialSummary(
                    trial.source,
                    str(trial.meta.get("id", "")),
                    len(trial),
                    trial.start,
                    trial.duration,
                    bool(trial.meta["simulated"]),
                    Quality.from_data(trial.meta["quality"]),
                )
                for trial in found
            )
        except InputError as error:
            problem = str(error).removeprefix(f"{raw.path}: ")
    times = [stream.received for stream in raw.streams.values() if len(stream.received)]
    span = (max(int(time.max()) for time in times) - min(int(time.min()) for time in times)) if times else 0
    return BagSummary(
        path=str(raw.path),
        storage=raw.storage,
        bytes=sum(file.stat().st_size for file in raw.files),
        messages=sum(topic.count for topic in raw.topics),
        duration=span * 1e-9,
        topics=tuple(TopicSummary(topic.name, topic.type, topic.count, _rate(raw, topic.name)) for topic in raw.topics),
        joints=tuple(
            _joints(stream) for stream in raw.streams.values() if stream.topic.type == JOINT_STATE and len(stream.order)
        ),
        robot=raw.custom.get("robot"),
        trials=trials,
        problem=problem,
        notes=tuple(dict.fromkeys(notes)),
        warnings=tuple(poor),
    )


def _rate(raw: RawBag, topic: str) -> float | None:
    stream = raw.streams.get(topic)
    if stream is None or len(stream.received) < 3:
        return None
    step = float(np.median(np.diff(stream.received)))
    return 1e9 / step if step > 0 else None


def _joints(stream: Stream) -> JointsSummary:
    try:
        blocks = sorted(decode.joint_states(stream.payloads), key=lambda block: int(block.index[0]))
    except decode.DecodeError:
        return JointsSummary(stream.topic.name, (), False, False, (), ())
    names = tuple(dict.fromkeys(name for block in blocks for name in block.names))
    lower, upper = dict.fromkeys(names, np.nan), dict.fromkeys(names, np.nan)
    for block in blocks:
        for column in range(min(len(block.names), block.position.shape[1])):
            values, name = block.position[:, column], block.names[column]
            lower[name], upper[name] = np.fmin.reduce(values, initial=lower[name]), np.fmax.reduce(values, initial=upper[name])
    return JointsSummary(
        stream.topic.name,
        names,
        any(np.isfinite(block.velocity).any() for block in blocks),
        any(np.isfinite(block.effort).any() for block in blocks),
        tuple(float(lower[name]) for name in names),
        tuple(float(upper[name]) for name in names),
    )
