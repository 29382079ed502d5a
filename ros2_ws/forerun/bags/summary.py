"""What a bag holds, for people and machines, even where no trial can be made of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from forerun.bags import decode
from forerun.bags.content import JOINT_STATE
from forerun.bags.quality import Quality, warnings
from forerun.bags.read import Reading, quiet_place
from forerun.bags.storage import MOST, RawBag, Stream, read_raw
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


def inspect_bag(path: str | Path, spec: RobotSpec | None = None, *, most: int = MOST) -> BagSummary:
    """What the bag at ``path`` holds, and its trials where ``spec`` says which robot it is; ``most`` as in ``read_raw``.

    Raises:
        InputError: there is no bag, or it cannot be read at all.
    """
    seen = _Seen(spec)
    raw = read_raw(path, take=seen.take, most=most)
    seen.add(raw)
    notes = list(raw.notes)
    trials, poor = seen.trials(raw, notes)
    span = max(seen.newest - seen.oldest, 0)
    return BagSummary(
        path=str(raw.path),
        storage=raw.storage,
        bytes=sum(file.stat().st_size for file in raw.files),
        messages=sum(topic.count for topic in raw.topics),
        duration=span * 1e-9,
        topics=tuple(TopicSummary(topic.name, topic.type, topic.count, seen.rates.get(topic.name)) for topic in raw.topics),
        joints=tuple(seen.joints[name] for name in sorted(seen.joints)),
        robot=raw.custom.get("robot"),
        trials=trials,
        problem=seen.problem,
        notes=tuple(dict.fromkeys(notes)),
        warnings=tuple(poor),
    )


class _Seen:
    """What the blocks of a bag add up to.

    Attributes:
        oldest, newest: receive times [ns].
        rates: by topic [Hz], of its first block.
        joints: by topic.
        problem: why no trial can be made, None where they can.
    """

    def __init__(self, spec: RobotSpec | None) -> None:
        self._spec = spec
        self._reading = None if spec is None else Reading(spec, quality=True)
        self.oldest, self.newest = np.iinfo(np.int64).max, 0
        self.rates: dict[str, float] = {}
        self.joints: dict[str, JointsSummary] = {}
        self.problem: str | None = None

    def take(self, raw: RawBag) -> tuple[int, str]:
        """As ``storage.Take``."""
        place, stays = quiet_place(raw), ""
        if self._reading is not None and self.problem is None:
            try:
                place, stays = self._reading.take(raw)
            except InputError as error:
                self._failed(raw, error)
        self.add(raw.until(place))
        return place, stays

    def add(self, raw: RawBag) -> None:
        for stream in raw.streams.values():
            if not len(stream.order):
                continue
            self.oldest, self.newest = min(self.oldest, int(stream.received.min())), max(self.newest, int(stream.received.max()))
            rate = _rate(stream)
            if rate is not None:
                self.rates.setdefault(stream.topic.name, rate)
            if stream.topic.type == JOINT_STATE:
                now = _joints(stream)
                before = self.joints.get(stream.topic.name)
                self.joints[stream.topic.name] = now if before is None else _both(before, now)

    def trials(self, raw: RawBag, notes: list[str]) -> tuple[tuple[TrialSummary, ...], list[str]]:
        """The trials, ``raw`` being the last block, and what of their quality will limit a model."""
        if self._spec is None or self._reading is None or self.problem is not None:
            return (), []
        try:
            found = self._reading.end(raw, lambda text: notes.append(text.removeprefix(f"{raw.path}: ")))
        except InputError as error:
            self._failed(raw, error)
            return (), []
        summaries = tuple(
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
        return summaries, warnings(found, self._spec)

    def _failed(self, raw: RawBag, error: InputError) -> None:
        self.problem = str(error).removeprefix(f"{raw.path}: ")


def _rate(stream: Stream) -> float | None:
    if len(stream.received) < 3:
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


def _both(one: JointsSummary, other: JointsSummary) -> JointsSummary:
    """What two blocks say of the joints of a topic."""
    ranges = {name: (low, high) for name, low, high in zip(one.names, one.lower, one.upper, strict=True)}
    for name, low, high in zip(other.names, other.lower, other.upper, strict=True):
        before = ranges.get(name, (np.nan, np.nan))
        ranges[name] = float(np.fmin(before[0], low)), float(np.fmax(before[1], high))
    lower, upper = zip(*ranges.values(), strict=True) if ranges else ((), ())
    return JointsSummary(one.topic, tuple(ranges), one.velocity or other.velocity, one.effort or other.effort, lower, upper)
