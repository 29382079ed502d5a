"""The moment at which a planner decides, taken apart once for all planners."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from forerun_models.planners.problem import Problem


@dataclass(frozen=True)
class Situation:
    """Where the robot is, what is under way, and what is wanted.

    Attributes:
        states: K tensors [S], oldest first, whole turns taken out.
        past: K-1 tensors [A], the commands between them.
        under_way: [A] the command that acts until the first planned one does.
        late: [1] the share of a control step until then.
        goal: [G].
        turns: [S] whole turns [rad] taken out of the states, so that single precision is spent on the angle.
    """

    states: list[Tensor]
    past: list[Tensor]
    under_way: Tensor
    late: Tensor
    goal: Tensor
    turns: Tensor

    @classmethod
    def of(cls, problem: Problem, history: Tensor, goal: Tensor, delay: Tensor) -> Situation:
        """From the inputs of act.onnx: history [1, K, S+A], goal [1, G], delay [1] s."""
        rows, size = history[0], problem.state_size
        turning = torch.cat([problem.continuous.float(), torch.zeros(size - len(problem.continuous))])
        turns = torch.round(rows[-1, :size] / (2 * torch.pi)) * (2 * torch.pi) * turning
        commands = list(rows[:, size:].unbind(0))
        late = torch.clamp(delay / problem.period, 0.0, 1.0)
        return cls(list((rows[:, :size] - turns).unbind(0)), commands[:-1], commands[-1], late, goal[0], turns)

    def acting(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """What acts in each control step and the command before each, of the commands [H, A, N]: until a command takes over, the
        one before it acts, and the action of a step is the mean of both, as it is in a trial."""
        before = torch.cat([self.under_way[None, :, None].expand(1, -1, actions.shape[2]), actions[:-1]])
        return actions + self.late * (before - actions), before
