"""Bags become trials on the control grid."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import numpy as np

from forerun.bags.cut import Segment, cut
from forerun.bags.quality import measure
from forerun.bags.signals import Commands, States, read_commands, read_markers, read_states
from forerun.bags.storage import RawBag, is_bag, read_raw
from forerun.bags.velocity import derive
from forerun.grid import resample, unwrap
from forerun.reach import Reach
from forerun_sim.errors import InputError
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial

Note = Callable[[str], None]
"""Takes what the user should know about a bag that was read nevertheless."""

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
    trials = []
    for path in expand(paths):
        trials += trials_of(read_raw(path), spec, note=note, quality=quality)
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


def trials_of(raw: RawBag, spec: RobotSpec, *, note: Note | None = None, quality: bool = False) -> list[Trial]:
    """The trials of one bag that has been read. Arguments and errors as in ``load_trials``."""
    if not any(topic.count for topic in raw.topics):
        raise InputError(f"{raw.path}: the bag is empty: it has no messages" + "".join(f" ({text})" for text in raw.notes))
    notes = list(raw.notes)
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
    trials: list[Trial] = []
    for segment in segments:
        trial = _trial(raw, spec, states, commands, segment, f"{raw.path}#{len(trials)}", simulated, quality)
        if trial is not None:
            trials.append(trial)
    if len(trials) < len(segments):
        notes.append(
            f"{len(segments) - len(trials)} of {len(segments)} trials are left out: too short, between jumps, or without commands"
        )
    if not trials:
        raise InputError(f"{raw.path}: holds no trial: in none of its {len(segments)} parts states and commands overlap")
    for text in notes:
        (note or _log.warning)(f"{raw.path}: {text}")
    return [replace(trial, meta={**trial.meta, "notes": notes}) for trial in trials]


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
