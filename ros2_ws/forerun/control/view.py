"""What a tick looks like: the robot as lines, and where each member of the model imagines it going. Points in space, no ROS.

A robot whose bundle carries its links is drawn as it stands, and the imagined rollouts are the paths of its tips. A robot
without links (no URDF) is drawn as one row a joint: its position over the time to come.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from forerun.control.ticks import Tick
from forerun_models.bundle import Manifest
from forerun_sim.kinematics import ORIGIN, Frame, Kinematics, Vector

Points = NDArray[np.float64]

_MOST_TIPS = 4
_MOST_MEMBERS = 10
_MOST_POINTS, _LEAST_STEPS = 240, 5
"""More than these are thinned, the steps last: publishing a point keeps the interpreter from the loop for some microseconds
(measured on a busy machine: 1.5 ms for 170 points, 11 ms for 1200)."""

_ROW, _LENGTH, _STRETCH = 0.5, 1.0, 0.2
"""Joint rows: their distance [m], how long the horizon is drawn [m], and metres drawn per rad or m of a joint's change."""


@dataclass(frozen=True)
class Scene:
    """Points in metres, in the frame of the robot's root link.

    Attributes:
        bones: [B, 2, 3] a line per link.
        pivots: [N, 3] where the joints are.
        imagined: [P, M, T, 3] per tip the path that each member expects.
        plan: [P, T, 3] per tip the path that the plan expects.
        alarm: [T] how much the members disagree along the paths, 0 (not at all) to 1 (twice the bundle's threshold, or more).
        text: verdict, reason and disagreement.
    """

    bones: Points
    pivots: Points
    imagined: Points
    plan: Points
    alarm: Points
    text: str


class View:
    """Draws the ticks of one bundle's robot.

    Attributes:
        size: about how large the robot is [m].
        text_at: where the text stands.
        labels: what else is written, and where.
    """

    def __init__(self, manifest: Manifest) -> None:
        self._joints = len(manifest.joints)
        self._frames = manifest.links
        self._kinematics = Kinematics(manifest.links)
        self._threshold = manifest.thresholds.get("disagreement", 1.0)
        self._scale = _state_scale(manifest)
        self._tips = _tips(manifest.links)
        self.labels: list[tuple[str, Vector]] = []
        if self._tips:
            self.size = _reach(manifest.links)
            self.text_at: Vector = (0.0, 0.0, 1.3 * self.size)
        else:
            self.size = _LENGTH
            self.text_at = (0.0, 0.0, _ROW)
            self.labels = [(name, (-0.2, 0.0, -_ROW * row)) for row, name in enumerate(manifest.joints)]

    def scene(self, tick: Tick) -> Scene:
        """What ``tick`` looks like; the paths are empty where there is no plan or no model."""
        present = None if tick.state is None else np.asarray(tick.state.position, dtype=float)
        bones, pivots = self._robot(present)
        predicted, imagined = self._ahead(tick)
        plan, paths = self._paths(present, predicted), self._paths(present, imagined)
        lead = 0 if present is None else 1
        alarm = np.concatenate([np.zeros(lead), self._alarm(tick, imagined)]) if plan.size else np.zeros(0)
        return Scene(bones, pivots, paths, plan, alarm, self._text(tick))

    def _ahead(self, tick: Tick) -> tuple[Points, Points]:
        """States to come of the plan [T, S] and of each member [M, T, S], thinned."""
        size, decision = 2 * self._joints, tick.decision
        if decision is None or decision.predicted.ndim != 2 or len(decision.predicted) <= tick.age:
            return np.zeros((0, size)), np.zeros((0, 0, size))
        predicted = decision.predicted[tick.age :].astype(float)
        members = _thinned(len(decision.imagined), _MOST_MEMBERS)
        paths = (len(members) + 1) * (len(self._tips) or self._joints)
        steps = _thinned(len(predicted), max(_MOST_POINTS // paths, _LEAST_STEPS))
        if decision.imagined.ndim != 3 or decision.imagined.shape[1] != len(decision.predicted):
            return predicted[steps], np.zeros((0, len(steps), size))
        return predicted[steps], decision.imagined[members, tick.age :][:, steps].astype(float)

    def _paths(self, present: Points | None, states: Points) -> Points:
        """[P, ..., T, 3] from states [..., T, S]; begins at ``present`` [J] where that is known."""
        position = states[..., : self._joints]
        if present is not None and position.size:
            start = np.broadcast_to(present, (*position.shape[:-2], 1, self._joints))
            position = np.concatenate([start, position], axis=-2)
        if not position.size:
            return np.zeros((0, *position.shape[:-1], 3))
        if self._tips:
            return np.stack([self._kinematics.point(np, position, link, offset) for link, offset in self._tips])
        return self._rows(position, present)

    def _rows(self, position: Points, present: Points | None) -> Points:
        """One row a joint: how it changes from now on, over time."""
        base = position[..., :1, :] if present is None else present
        along = np.linspace(0.0, _LENGTH, position.shape[-2])
        rows = []
        for joint in range(self._joints):
            change = _STRETCH * (position - base)[..., joint]
            rows.append(np.stack([np.broadcast_to(along, change.shape), 0.0 * change, change - _ROW * joint], axis=-1))
        return np.stack(rows)

    def _robot(self, present: Points | None) -> tuple[Points, Points]:
        if not self._tips:
            starts = np.array([[0.0, 0.0, -_ROW * joint] for joint in range(self._joints)])
            return np.stack([starts, starts + np.array([_LENGTH, 0.0, 0.0])], axis=1), starts
        if present is None:
            return np.zeros((0, 2, 3)), np.zeros((0, 3))
        at = [self._kinematics.point(np, present, frame.name) for frame in self._frames]
        bones = [(at[frame.parent], at[i]) for i, frame in enumerate(self._frames) if frame.parent >= 0]
        bones += [
            (self._kinematics.point(np, present, link), self._kinematics.point(np, present, link, offset))
            for link, offset in self._tips
            if offset != ORIGIN
        ]
        long = [bone for bone in bones if np.linalg.norm(bone[1] - bone[0]) > 1e-6]
        pivots = [at[i] for i, frame in enumerate(self._frames) if frame.joint >= 0]
        return np.array(long).reshape(-1, 2, 3), np.array(pivots).reshape(-1, 3)

    def _alarm(self, tick: Tick, imagined: Points) -> Points:
        """[T] the members' spread in standard deviations of the state, in units of twice the bundle's threshold."""
        steps = imagined.shape[1]
        if len(imagined) > 1:
            spread = np.sqrt(np.mean((imagined.std(axis=0) / self._scale) ** 2, axis=-1))
        else:
            said = math.nan if tick.decision is None else tick.decision.disagreement
            spread = np.full(steps, said if math.isfinite(said) else 0.0)
        return np.clip(spread / (2.0 * self._threshold), 0.0, 1.0) if self._threshold > 0 else np.ones(steps)

    def _text(self, tick: Tick) -> str:
        line = f"{tick.verdict.value}: {tick.reason}" if tick.reason else tick.verdict.value
        if tick.decision is not None and math.isfinite(tick.decision.disagreement):
            line += f"\ndisagreement {tick.decision.disagreement:.2g} (familiar: up to {self._threshold:.2g})"
        return line


def _state_scale(manifest: Manifest) -> Points:
    """Standard deviation of each state [S] in the training data, 1 where the bundle does not say."""
    given = manifest.metrics.get("state_std")
    usable = isinstance(given, list) and len(given) == manifest.state_size and all(isinstance(v, int | float) for v in given)
    scale = np.asarray(given, dtype=float) if usable else np.ones(manifest.state_size)
    return np.where(np.isfinite(scale) & (scale > 0), scale, 1.0)


def _tips(frames: tuple[Frame, ...]) -> list[tuple[str, Vector]]:
    """The points whose paths are worth seeing: per chain of moving links the last one's farthest frame or centre of mass."""
    tips = []
    carriers = {_mover(frames, frame.parent) for frame in frames if frame.joint >= 0}
    for index, frame in enumerate(frames):
        if frame.joint < 0 or index in carriers:
            continue
        rigid = [i for i in range(index, len(frames)) if _mover(frames, i) == index]
        far = max(rigid, key=lambda i: _distance(frames, index, i))
        tips.append((frames[far].name, frame.com if far == index else ORIGIN))
    return tips[:_MOST_TIPS]


def _mover(frames: tuple[Frame, ...], index: int) -> int:
    """The nearest frame from ``index`` up that a joint moves, -1 for none."""
    while index >= 0 and frames[index].joint < 0:
        index = frames[index].parent
    return index


def _distance(frames: tuple[Frame, ...], base: int, index: int) -> float:
    """Length of the way from frame ``base`` to ``index`` below it [m]."""
    length = 0.0
    while index != base:
        length += math.hypot(*frames[index].xyz)
        index = frames[index].parent
    return length


def _reach(frames: tuple[Frame, ...]) -> float:
    """Length of the longest chain [m], at least 0.1."""
    return max(0.1, *(_distance(frames, 0, i) + math.hypot(*frames[i].com) for i in range(1, len(frames))))


def _thinned(count: int, most: int) -> NDArray[np.intp]:
    """At most ``most`` of ``count`` indices, evenly spread, the first and the last among them."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.intp)) if count else np.zeros(0, np.intp)
