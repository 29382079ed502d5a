"""Bags become trials on the control grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from forerun.bags.cut import IN_FLIGHT, Segment, cut
from forerun.bags.quality import measure
from forerun.bags.signals import Commands, States, read_commands, read_markers, read_states, streams_of
from forerun.bags.storage import RawBag, is_bag, read_raw
from forerun.bags.velocity import derive
from forerun.grid import resample, unwrap
from forerun.reach import Reach
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial

Note = Callable[[str], None]
"""Takes what the user should know about a bag that was read nevertheless."""

_APART = 4 * IN_FLIGHT
"""Messages between a ``trial`` message and where a block of a large bag ends."""
SHORTEST = 2
"""Rows of a trial: fewer hold no transition."""

_log = logging.getLogger("forerun.bags")


def load_trials(
    paths: str | Path | Iterable[str | Path], spec: RobotSpec, *, note: Note | None = None, quality: bool = False
) -> list[Trial]:
    """All trials of the bags at ``paths``, in order.

    Args:
        paths: bag folders, lone ``.mcap`` or ``.db3`` files, folders of bags; one or several.
        spec: the robot; gives topics, joints and the control rate.
        note: gets warnings (end missing, gaps, velocity derived, ...), each naming the bag; logged if absent.
            They stand in ``Trial.meta["notes"]`` too.
        quality: measure each trial's quality on its raw samples, into ``Trial.meta["quality"]`` (``bags.quality``).

    Returns:
        Trials; ``meta`` has what the ``trial`` message said, and always ``simulated`` (False unless the bag says otherwise),
        ``velocity`` (``measured`` or ``derived``) and ``notes``.

    Raises:
        InputError: a bag is missing, damaged, of another robot, without commands, or without a trial; it says which and why.
    """
    trials: list[Trial] = []
    for path in expand(paths):
        reading = Reading(spec, quality)
        trials += reading.end(read_raw(path, take=reading.take), note)
    return trials


def expand(paths: str | Path | Iterable[str | Path]) -> list[Path]:
    """The single bags at ``paths``; a folder that holds bags stands for all of them, by name.

    Raises:
        InputError: there is nothing, or no bag, at a path.
    """
    found: list[Path] = []
    for path in [Path(paths)] if isinstance(paths, str | Path) else [Path(item) for item in paths]:
        if not path.exists():
            raise InputError(f"{path}: no such bag")
        if is_bag(path):
            found.append(path)
            continue
        children = sorted(path.iterdir()) if path.is_dir() else []
        inside = [child for child in children if not child.name.startswith(".") and is_bag(child)]
        if not inside:
            raise InputError(f"{path}: is no bag and no folder of bags (a folder with metadata.yaml, or a .mcap or .db3 file)")
        found += inside
    if not found:
        raise InputError("no bag was named")
    return found


class Reading:
    """Makes the trials of one bag, whole or block by block; a run that goes on in the next block does so as its next part.

    Args:
        spec, quality: as in ``load_trials``.
    """

    def __init__(self, spec: RobotSpec, quality: bool = False) -> None:
        self._spec, self._quality = spec, quality
        self._trials: list[Trial] = []
        self._notes: dict[str, None] = {}
        self._segments = 0
        self._taken = False
        self._said: dict[str, Any] = {}
        self._part = 0

    def take(self, raw: RawBag) -> tuple[int, str]:
        """Takes the messages read so far, up to a place where no trial begins (``storage.Take``).

        Raises:
            InputError: as ``load_trials``.
        """
        position = quiet_place(raw)
        block = raw.until(position)
        states, commands = streams_of(block, self._spec)
        if states is not None and commands is not None:
            self._add(block)
        self._taken = True
        return position, "" if commands is None else commands.topic.name

    def end(self, raw: RawBag, note: Note | None) -> list[Trial]:
        """All trials, with those of the last block, ``raw``; ``note`` as in ``load_trials``.

        Raises:
            InputError: as ``load_trials``.
        """
        if not any(topic.count for topic in raw.topics):
            raise InputError(f"{raw.path}: the bag is empty: it has no messages" + "".join(f" ({text})" for text in raw.notes))
        if not self._taken or None not in streams_of(raw, self._spec):
            self._add(raw)
        notes, trials = list(dict.fromkeys([*raw.notes, *self._notes])), self._trials
        if len(trials) < self._segments:
            notes.append(
                f"{self._segments - len(trials)} of {self._segments} trials are left out: "
                "too short, between jumps, or without commands"
            )
        if not trials:
            raise InputError(f"{raw.path}: holds no trial: in none of its {self._segments} parts states and commands overlap")
        for text in notes:
            (note or _log.warning)(f"{raw.path}: {text}")
        return [replace(trial, meta={**trial.meta, "notes": notes}) for trial in trials]

    def _add(self, raw: RawBag) -> None:
        spec, notes = self._spec, list[str]()
        if raw.custom.get("robot", spec.name) != spec.name:
            notes.append(f"the bag was recorded from robot '{raw.custom['robot']}' and is read as '{spec.name}'")
        states = read_states(raw, spec, notes)
        commands = read_commands(raw, spec, states.topic, notes)
        if states.derive.any():
            names = ", ".join(name for name, lacking in zip(spec.joint_names, states.derive, strict=True) if lacking)
            notes.append(f"no velocity was recorded for {names}; it is derived from the positions")
        if states.effort is None:
            notes.append("no efforts were recorded")
        segments = cut(raw.path, states, commands, read_markers(raw, notes), spec.control.period, notes, reach=Reach.of(spec))
        simulated = raw.custom.get("simulated") == "true"
        for segment in segments:
            segment = self._following(segment)
            source = f"{raw.path}#{len(self._trials)}"
            trial = _trial(raw, spec, states, commands, segment, source, simulated, self._quality)
            if trial is not None:
                self._trials.append(trial)
        self._segments += len(segments)
        self._notes.update(dict.fromkeys(notes))

    def _following(self, segment: Segment) -> Segment:
        """``segment``, as the next part of the run before where that went on beyond its block."""
        said = {key: value for key, value in segment.data.items() if key != "part"}
        part = int(segment.data.get("part", 0))
        if self._taken and not said:
            said, part = self._said, self._part + 1
            segment = replace(segment, data={**said, "part": part})
        self._said, self._part = said, part
        return segment


def trials_of(raw: RawBag, spec: RobotSpec, *, note: Note | None = None, quality: bool = False) -> list[Trial]:
    """The trials of one bag that has been read. Arguments and errors as in ``load_trials``."""
    return Reading(spec, quality).end(raw, note)


def quiet_place(raw: RawBag) -> int:
    """A position near the bag's end so far that is far from every ``trial`` message: what belongs together stays together."""
    newest = max(int(stream.order[-1]) for stream in raw.streams.values() if len(stream.order))
    place = newest - _APART
    for marker in sorted((marker.order for marker in read_markers(raw, [])), reverse=True):
        if abs(marker - place) <= _APART:
            place = marker - _APART - 1
    return place


def _trial(
    raw: RawBag,
    spec: RobotSpec,
    states: States,
    commands: Commands,
    segment: Segment,
    source: str,
    simulated: bool,
    quality: bool,
) -> Trial | None:
    """The trial of one segment, or None if it has no complete row after the first, or lies between jumps."""
    if segment.fragment or not len(segment.commands):
        return None
    origin = int(segment.time[0])
    times = np.asarray((segment.time - origin) * 1e-9, np.float64)
    continuous = np.array([joint.type == "continuous" for joint in spec.joints])
    position = unwrap(states.position[segment.states], continuous)
    velocity = states.velocity[segment.states]
    if states.derive.any():
        velocity = np.where(states.derive, derive(times, position, spec.control.period), velocity)
    given, told = np.asarray((segment.command_time - origin) * 1e-9, np.float64), commands.values[segment.commands]
    measured = np.concatenate([position, velocity], axis=1)
    rows, grid_states, actions = resample(times, measured, given, told, spec.control.period)
    if len(rows) < SHORTEST:
        return None
    meta = {
        **segment.data,
        "simulated": segment.data.get("simulated", simulated) is True,
        "velocity": "derived" if states.derive.any() else "measured",
        "effort": states.effort is not None,
    }
    if quality:
        effort = None if states.effort is None else states.effort[segment.states]
        meta["quality"] = measure(times, position, velocity, effort, given, told, spec).as_data()
    return Trial(
        states=grid_states.astype(np.float32),
        actions=actions.astype(np.float32),
        period=spec.control.period,
        robot=spec.name,
        start=origin * 1e-9 + float(rows[0]),
        source=source,
        meta=meta,
    )
