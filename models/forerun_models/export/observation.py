"""What an environment of ours would show its agent, from what the controller remembers: one definition for both, as a module."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forerun_sim.env.settings import EnvSettings


class ObservationGraph(nn.Module):
    """The observation that ``forerun_sim.env.interface.Interface`` builds, from ``history`` and ``goal`` of act.onnx.

    A row of the environment's history is a reading and the command that led to it; a row of the bundle's is a state and the
    command given in it. So the environment's command stands one row higher, and a bundle reads a row more.

    Args:
        settings: of the environment.

    Attributes:
        history: K, rows that act.onnx must get.
    """

    def __init__(self, settings: EnvSettings) -> None:
        super().__init__()
        robot = settings.robot
        lower, upper = (torch.as_tensor(limit, dtype=torch.float32) for limit in robot.action_limits(settings.task))
        self.history = settings.history + 1 if settings.history else 1
        self._rows = max(1, settings.history)
        self._joints = len(robot.joints)
        self._shows_commands = settings.history > 0
        self._shows_goal = bool(robot.task(settings.task).goal.names)
        sincos = settings.angles == "sincos"
        self._turning = [sincos and joint.type == "continuous" for joint in robot.joints]
        middle, half = 0.5 * (lower + upper), 0.5 * (upper - lower)
        if settings.actions == "physical":
            middle, half = torch.zeros_like(middle), torch.ones_like(half)
        self._middle = middle
        self._scale = torch.where(half > 0, 1.0 / half.clamp(min=1e-30), 0.0)

    def forward(self, history: Tensor, goal: Tensor) -> Tensor:
        """history [1, K, S+A] and goal [1, G] in SI units -> observation [1, O]."""
        joints, rows = self._joints, self._rows
        states = history[:, -rows:, : 2 * joints]
        columns: list[Tensor] = []
        for joint, turning in enumerate(self._turning):
            position = states[..., joint : joint + 1]
            columns += [torch.sin(position), torch.cos(position)] if turning else [position]
        columns.append(states[..., joints:])
        if self._shows_commands:
            commands = history[:, -rows - 1 : -1, 2 * joints :]
            columns.append((commands - self._middle) * self._scale)
        seen = torch.cat(columns, dim=2).flatten(1)
        return torch.cat([seen, goal], dim=1) if self._shows_goal else seen
