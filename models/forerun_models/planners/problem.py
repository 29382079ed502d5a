"""What a planner is to solve: the task and the robot's limits, apart from the model and from the way of solving."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from forerun_models.planners.rows import Rows
from forerun_sim.spec import RobotSpec
from forerun_sim.tasks import TaskFunction

Reward = Callable[[Any, Any, Any, Tensor], Tensor]
"""(state reached [..., S], action [..., A], previous action [..., A], goal [G]) -> [...], physical units. States and actions are
tensors or ``Rows``."""
Transition = Callable[[Tensor, Tensor, Tensor], Tensor]
"""(state before [..., S], action [..., A], state reached [..., S]) -> reward [...]."""
Done = Callable[[Any], Tensor]
Value = Callable[[Tensor, Tensor], Tensor]
"""(state [..., S], goal [G]) -> what can still be earned from there [...]."""
Policy = Callable[[Tensor, Tensor], Tensor]
"""(state [..., S], goal [G]) -> action in [-1, 1] [..., A]."""


@dataclass(frozen=True)
class Problem:
    """Maximise over u_0..u_{H-1} the sum of discount^t r(s_{t+1}, u_t) + discount^H V(s_H), within the limits.

    Attributes:
        reward: of one step; traceable.
        done: whether a state ends the episode, None where no state does; later rewards count nothing.
        plain: whether reward and done take only tensors, as a user's own Python class may (else also ``Rows``).
        lower, upper: command limits [A].
        slew: largest change of a command from one control step to the next [A] (inf where unlimited).
        continuous: [J] whether a joint may turn for ever.
        state_std: yardstick of the disagreement [S].
        goal_size: G.
        period: control period [s].
        substeps: commands a control period.
        value: at the horizon, None for nothing.
        policy: whose actions are tried, None for none.
        transition: the reward of a whole step, which sampling planners take in place of ``reward`` where it is given; needs
            ``plain``, and its actions may lack the axis of the members.
    """

    reward: Reward
    done: Done | None
    lower: Tensor
    upper: Tensor
    slew: Tensor
    continuous: Tensor
    state_std: Tensor
    goal_size: int
    period: float
    substeps: int = 1
    plain: bool = False
    value: Value | None = None
    policy: Policy | None = None
    transition: Transition | None = None

    @property
    def state_size(self) -> int:
        """S."""
        return len(self.state_std)

    @property
    def action_size(self) -> int:
        """A."""
        return len(self.lower)

    @property
    def middle(self) -> Tensor:
        """[A] what the action 0 stands for."""
        return (self.upper + self.lower) / 2

    @property
    def half_range(self) -> Tensor:
        """[A] how far the actions -1 and 1 are from there."""
        return (self.upper - self.lower) / 2

    def along(self, tensor: Tensor) -> Any:
        """``tensor`` [..., D, N] as reward and done take it: [..., N, D] to look at."""
        return tensor.transpose(-1, -2) if self.plain else Rows(tensor)


def problem_of(
    robot: RobotSpec, task: TaskFunction, state_std: Tensor, value: Value | None = None, policy: Policy | None = None
) -> Problem:
    """``task`` on ``robot``; ``state_std`` [S] is the model's."""
    lower, upper = robot.action_limits(task.name)
    slew = [torch.inf if joint.slew is None else joint.slew * robot.control.period for joint in robot.actuated]
    return Problem(
        reward=lambda state, action, previous, goal: task.reward(torch, state, action, previous, goal),
        done=(lambda state: task.done(torch, state)) if task.task.termination else None,
        lower=torch.tensor(lower, dtype=torch.float32),
        upper=torch.tensor(upper, dtype=torch.float32),
        slew=torch.tensor(slew, dtype=torch.float32),
        continuous=torch.tensor([joint.type == "continuous" for joint in robot.joints]),
        state_std=state_std,
        goal_size=task.goal_size,
        period=robot.control.period,
        substeps=round((robot.control.command_rate or robot.control.rate) / robot.control.rate),
        plain=task.task.python is not None,
        value=value,
        policy=policy,
    )
