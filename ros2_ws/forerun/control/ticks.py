"""What one tick came to."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from forerun.control.limits import Vector
from forerun.control.states import State
from forerun_models.bundle import Decision


class Verdict(Enum):
    """What a tick's command is."""

    PLAN = "plan"
    """The first command of the plan for this tick."""
    BRIDGED = "bridged"
    """A slice of an earlier plan."""
    WAITING = "waiting"
    """Safe action: no state has arrived yet."""
    SAFE = "safe"
    """Safe action, for as long as its reason lasts."""
    STOPPED = "stopped"
    """Safe action, until ``~/reset``."""


@dataclass(frozen=True)
class Tick:
    """What one tick came to.

    Attributes:
        time: controller time [s].
        command: [A] to be sent, or None (nothing safe can be said yet).
        verdict, reason: what the command is and why it is not a plan's.
        state: the newest state.
        decision: the decision that the command comes from, None for the safe action.
        age: how many control periods old that decision is.
        ahead: seconds from ``time`` until the first of its predicted states that are left, ``predicted[age]``, is to hold; each
            further one holds a control period later.
        limited: whether limits or slew changed the command.
        cause: which threshold made the robot stand (``stale``, ``misses``, ``disagreement``), empty where none did.
    """

    time: float
    command: Vector | None
    verdict: Verdict
    reason: str = ""
    state: State | None = None
    decision: Decision | None = None
    age: int = 0
    ahead: float = 0.0
    limited: bool = False
    cause: str = ""
