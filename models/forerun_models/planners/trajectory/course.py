"""What is planned ahead and followed: a trajectory, its feedback, and the way back to its beginning."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun_models.recipe import Tracking

_SETTLES = 0.1
"""Share by which the command that holds a robot where it sticks follows the one that is given there, a control step."""


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

    def arrived(self, speed: float) -> int:
        """The first row from which on no joint is to be as fast as ``speed``."""
        moving = (self.states[:, self.states.shape[1] // 2 :].abs() >= speed).any(dim=1)
        return int(torch.nonzero(moving)[-1]) + 1 if bool(moving.any()) else 0


def stands(off: Tensor, velocity: Tensor, stand: Tensor, tracking: Tracking) -> Tensor:
    """Where a robot that has arrived is to stay, as deviation [..., S+A] from the last row: where it came to rest, until it does
    so elsewhere. Feedback that pulls at dry friction breaks it loose, and then goes too far.

    Args:
        off: [..., S+A] where it is.
        velocity: [..., J] of the joints.
        stand: [..., S+A] the same before; 0 for who has not come to rest yet.
        tracking: says what sticks.
    """
    joints = velocity.shape[-1]
    here = torch.cat([off[..., :joints], torch.zeros_like(velocity), off[..., 2 * joints :]], dim=-1)
    elsewhere = (here - stand)[..., :joints].abs().amax(dim=-1, keepdim=True) > tracking.position
    first = stand.abs().amax(dim=-1, keepdim=True) == 0
    # The command on arrival is not yet the one that holds.
    settled = torch.cat([stand[..., : 2 * joints], (stand + _SETTLES * (here - stand))[..., 2 * joints :]], dim=-1)
    sticks = velocity.abs().amax(dim=-1, keepdim=True) < tracking.stuck
    return torch.where(sticks, torch.where(elsewhere | first, here, settled), stand)
