"""The true states of the last moments, for sensors that look back."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from forerun_sim.actuators import JointRow

Kept = tuple[int, Sequence[JointRow], Sequence[float]]
"""A physics step, states of the joints after it, and efforts of the motors in it [J]."""

_WHOLE = 1e-9
_PATTERNS = 256


class History:
    """True states after physics steps, those at which a sensor can look.

    Between two of them, positions, velocities and efforts are interpolated linearly; before the first one the robot stood still
    in it. Memory is bounded.
    """

    def __init__(self) -> None:
        self._kept: deque[Kept] = deque(maxlen=1)
        self._offsets: tuple[int, ...] = (0,)
        self._patterns: dict[tuple[int, int | None], tuple[int, ...]] = {}

    def reset(self, backs: Iterable[float], rows: Sequence[JointRow], positions: bool = False) -> None:
        """Begins at physics step 0 in the state ``rows``; readings will look at what was ``backs`` physics steps before them: at
        ``positions`` alone (``after``), or at all (``about``)."""
        offsets: set[int] = set()
        for back in backs:
            whole = int(back + _WHOLE)
            offsets |= {whole} if positions or back - whole < _WHOLE else {whole, whole + 1}
        self._offsets = tuple(sorted(offsets))
        self._patterns = {}
        self._kept = deque([(0, rows, [0.0] * len(rows))], maxlen=self._offsets[-1] + 2)

    def looks(self, count: int, again: int | None, regular: bool = False) -> tuple[int, ...]:
        """After which of the next ``count`` physics steps (counted from 1) the state has to be added, if a reading comes after
        the last of them.

        ``again`` is the number of physics steps until the reading after that one, and between all that follow where they are
        ``regular``. Where it is not known when a reading comes, every state is added that it could look at. Where readings come
        after all at other steps than ``again`` said, a state that is missing is interpolated between its neighbours.
        """
        pattern = self._patterns.get((count, again))
        if pattern is None:
            furthest = self._offsets[-1]
            wanted = {count - offset for offset in self._offsets}
            if again is None or (not regular and again < furthest):
                wanted |= set(range(count - furthest + 1, count + 1))
            else:
                later = range(count + again, count + furthest + 1, again)
                wanted |= {reading - offset for reading in later for offset in self._offsets}
            pattern = tuple(sorted(step for step in wanted if 1 <= step <= count))
            if len(self._patterns) < _PATTERNS:
                self._patterns[count, again] = pattern
        return pattern

    def add(self, step: int, rows: Sequence[JointRow], effort: Sequence[float]) -> None:
        """The state after physics step ``step`` (counted from 1), and the motors' ``effort`` [J] during it."""
        self._kept.append((step, rows, effort))

    def at(self, step: float) -> tuple[list[float], list[float]]:
        """Positions and velocities of all joints [J], ``step`` physics steps after the beginning."""
        (_, newer, _), (_, rows, _), part = self.about(step)
        if part == 0.0:
            return [row[0] for row in rows], [row[1] for row in rows]
        pairs = list(zip(rows, newer, strict=True))
        return [old[0] + part * (new[0] - old[0]) for old, new in pairs], [
            old[1] + part * (new[1] - old[1]) for old, new in pairs
        ]

    def after(self, step: float) -> tuple[Kept, float]:
        """What is known from the end of the physics step in which the moment ``step`` lies, and how many physics steps that is
        later: until then a joint moves with the velocity that it has there, as engines integrate (semi-implicit Euler)."""
        found = self._kept[-1]
        for kept in reversed(self._kept):
            if kept[0] < step - _WHOLE:
                break
            found = kept
        return found, max(found[0] - step, 0.0) if found[0] > 0 else 0.0

    def about(self, step: float) -> tuple[Kept, Kept, float]:
        """The moments that are known after and before what was ``step`` physics steps after the beginning, and how far it is from
        the latter to the former: 0 where it is known itself."""
        newer = self._kept[-1]
        for kept in reversed(self._kept):
            past = step - kept[0]
            if past > -_WHOLE:
                return newer, kept, past / (newer[0] - kept[0]) if past > _WHOLE and newer is not kept else 0.0
            newer = kept
        return newer, newer, 0.0
