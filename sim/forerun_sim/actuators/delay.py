"""The way of a command to the motor, in real time units."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence

_WHOLE = 1e-6
"""Physics steps within which a delay is meant to be a whole number of them."""


class DelayLine:
    """Commands that count from a fixed time after they were given, held until the next one does.

    The delay is exact, not rounded to physics steps: in the step within which a command takes over, the mean of both over that
    step counts, so that the impulse of an effort is that of the delayed command.
    """

    def __init__(self) -> None:
        self._delay = 0.0
        self._active: list[float] = []
        self._queue: deque[tuple[float, list[float]]] = deque()

    def reset(self, delay: float, command: Sequence[float]) -> None:
        """``delay`` in physics steps, and the command [A] that counts until another one does."""
        self._delay = round(delay) if abs(delay - round(delay)) < _WHOLE else delay
        self._active = list(command)
        self._queue.clear()

    @property
    def active(self) -> list[float]:
        """The command [A] that counts now."""
        return self._active

    def alter(self, delay: float, step: int) -> None:
        """Another ``delay`` in physics steps, from physics step ``step`` on: what is under way counts when it would have, but not
        later than what is given now."""
        self._delay = round(delay) if abs(delay - round(delay)) < _WHOLE else delay
        self._queue = deque((min(when, step + self._delay), command) for when, command in self._queue)

    def give(self, command: list[float], step: int) -> None:
        """A command [A], given at the beginning of physics step ``step``. It is kept, not copied."""
        self._queue.append((step + self._delay, command))

    def during(self, step: int, count: int) -> list[tuple[int, list[float]]]:
        """What counts in ``count`` physics steps from ``step`` on: commands [A], and for how many steps each."""
        parts: list[tuple[int, list[float]]] = []
        queue, end = self._queue, step + count
        while step < end:
            when, following = queue[0] if queue else (end, self._active)
            if when <= step:
                self._active = queue.popleft()[1]
                continue
            if when >= end:
                parts.append((end - step, self._active))
                break
            whole = int(when)
            if whole > step:
                parts.append((whole - step, self._active))
                step = whole
            share = when - step
            if share > 0:
                mean = [share * old + (1.0 - share) * new for old, new in zip(self._active, following, strict=True)]
                parts.append((1, mean))
                step += 1
        return parts
