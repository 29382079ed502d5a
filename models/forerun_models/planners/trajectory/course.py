"""What is planned ahead and followed: a trajectory, its feedback, and the way back to its beginning."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor


@dataclass(frozen=True)
class Course:
    """A trajectory at the control rate, and how to follow it. The last row is the target, which is held.

    Attributes:
        states: [N, S].
        before: [N, A] commands until then.
        commands: [N, A] from then on.
        free: [A] 1 where the task leaves a command free.
        gains: [N, A, S+A] of the change of the command by deviations of the state and of the command before.
        costs: [N, S+A, S+A] of coming back from such deviations.
        back: [A, S] of the command by deviations of the state from the first row, for who is lost.
        objective: J of the trajectory.
        parts: its costs by name.
        share: of the robots that were held at its end when it was rehearsed.
        lost: cost of coming back above which none did.
    """

    states: Tensor
    before: Tensor
    commands: Tensor
    free: Tensor
    gains: Tensor
    costs: Tensor
    back: Tensor
    objective: float
    parts: dict[str, float]
    share: float = 1.0
    lost: float = float("inf")
