"""Which states can be trusted: those of this moment, and of one robot that moves as robots do.

- **Time.** A state from the past or the future is refused: stamps that stand still or jump, clocks that differ.
- **Jumps.** No joint gets further than its velocity limit allows. One that does is measured wrongly, was carried elsewhere, or
  two publishers contradict each other. After a jump states are refused for three control periods; after more than two jumps
  within a second (a single wrong value makes two) until there was none for a second.
- **Repetition.** The same numbers to the last bit, over and over, while a velocity says that a joint moves: a driver repeats the
  last thing that it heard.

The bounds are generous: they tell a broken stream from a fast robot, they are no limits of motion (those are in safety.py).
"""

from __future__ import annotations

import math
from collections import deque

import numpy as np

from forerun.control.limits import Limits, Vector
from forerun.control.states import Refusal, State
from forerun.reach import JITTER, SLACK, Reach, jump

_PEACE = 1.0
"""Seconds without a jump that end a series of them."""
_MESSAGES = 5
_MOVING = 0.1
"""Velocity [rad/s or m/s] that is no sensor's offset, and cannot be together with a position that stays the same to the bit."""
_FAR = 1.0
"""A state that is stale by more than this [s] is from another time, not just late."""


class StateWatch:
    """Judges what arrives; all in the loop's thread.

    Args:
        limits: name the joints; those without position limits may jump by whole turns.
        velocity: [J] largest velocity, not scaled by parameters (inf: unknown, the joint may be anywhere).
        period: of the control [s].

    Attributes:
        newest: the newest state that can be trusted, None before the first one.
        refused: why what came last cannot be used; empty where it can.
        anew: whether the state that was taken last has nothing to do with those before.
    """

    def __init__(self, limits: Limits, velocity: Vector, period: float) -> None:
        self._joints = limits.joints
        turning = np.isinf(limits.position_lower) & np.isinf(limits.position_upper)
        self._reach = Reach(limits.joints, velocity, turning)
        self._jitter = max(period, JITTER)
        self._isolated = 3 * period
        self._gap = 3 * period
        self.clear()

    def clear(self) -> None:
        """As at the beginning."""
        self._before: State | None = None
        self._jumps: deque[float] = deque(maxlen=3)
        self._why, self._jumped = "", False
        self._same_since, self._same = math.nan, 0
        self.forget()

    def forget(self) -> None:
        """Nothing has been taken yet; what arrived is still held against what arrives."""
        self.newest: State | None = None
        self.refused = ""
        self.anew = False

    def judge(self, item: State | Refusal, now: float, stale_after: float) -> State | None:
        """A state that can be planned from at ``now`` [s], to be ``accept``-ed if it is the newest; else ``refused`` says why."""
        if isinstance(item, Refusal):
            self.refused = item.reason
            return None
        reason = _from_another_time(now - item.time, stale_after) or self._implausible(item, stale_after)
        if reason:
            self.refused = reason
            return None
        late = self.newest is not None and item.time - self.newest.time > max(stale_after, self._gap)
        self.anew, self._jumped = late or self._jumped, False
        return item

    def accept(self, state: State) -> None:
        """``state`` was taken and is the newest one."""
        self.newest, self.refused = state, ""

    def velocity(self, now: float, stale_after: float) -> Vector | None:
        """[J] measured, where it can be trusted at ``now`` [s]."""
        if self.newest is None or self.refused or now - self.newest.time > stale_after:
            return None
        return self.newest.velocity

    # Jumps and repetition ----------------------------------------------------------------------------------------------

    def _implausible(self, state: State, stale_after: float) -> str:
        before, self._before = self._before, state
        if before is None:
            return ""
        jump = self._jump(before, state, stale_after)
        if jump:
            self._jumps.append(state.time)
            self._why, self._jumped = self._why or jump, True
        return self._unsettled(state.time) or self._repeated(before, state, stale_after)

    def _unsettled(self, time: float) -> str:
        """The first jump of those that are too recent, or nothing."""
        if not self._jumps:
            return ""
        series = len(self._jumps) == self._jumps.maxlen and self._jumps[-1] - self._jumps[0] < _PEACE
        if 0 <= time - self._jumps[-1] < (_PEACE if series else self._isolated - 1e-6):
            return self._why
        if time - self._jumps[-1] >= _PEACE or time < self._jumps[-1]:
            self._jumps.clear()
            self._why = ""
        return ""

    def _jump(self, before: State, state: State, stale_after: float) -> str:
        # Messages without stamps are known by their arrival alone, and those may come all at once.
        apart = abs(state.time - before.time) + (self._jitter if state.stamp and before.stamp else max(stale_after, self._jitter))
        far = self._reach.beyond(state.position - before.position, apart)
        if not far.any():
            return ""
        i = int(np.argmax(far))
        return jump("joint_states", self._joints[i], before.position[i], state.position[i])

    def _repeated(self, before: State, state: State, stale_after: float) -> str:
        if (state.position != before.position).any() or (state.velocity != before.velocity).any():
            self._same_since, self._same = state.time, 0
            return ""
        self._same += 1
        if math.isnan(self._same_since):
            self._same_since = before.time
        moving, since = np.abs(state.velocity), state.time - self._same_since
        # A joint that turns without end may have made whole turns from one message to the next.
        moving[self._reach.turning & (moving * (state.time - before.time) > np.pi)] = 0.0
        i = int(np.argmax(moving))
        if moving[i] < _MOVING or self._same < _MESSAGES or since <= stale_after or moving[i] * since <= SLACK:
            return ""
        return (
            f"joint_states repeats the same numbers: joint '{self._joints[i]}' would move at {state.velocity[i]:.4g} and stay at "
            f"{state.position[i]:.4g}; its driver hangs"
        )


def _from_another_time(age: float, stale_after: float) -> str:
    """Why a state of that ``age`` [s] is none of now; one that is just late is the controller's to tell."""
    advice = "synchronise the clocks of robot and controller"
    if age > stale_after + _FAR:
        return f"joint_states is stamped {age:.3g} s in the past; {advice}"
    return f"joint_states is stamped {-age:.3g} s in the future; {advice}" if -age > stale_after else ""
