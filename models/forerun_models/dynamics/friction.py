"""Friction in the joints, smooth, with its slope, so that an implicit step can take it however steep it is."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from forerun_models.dynamics.rigid import per_joint
from forerun_sim.spec import RobotSpec

_WIDTH = 0.05
"""[rad/s] or [m/s]: speed at which dry friction has risen to tanh(1) of its size, at first."""

_SHARES = (0.02, 0.3)
"""Of dry friction: what viscous friction [s/rad or s/m] and stiction are at least at first."""


class Friction(nn.Module):
    """viscous * v + (coulomb + stiction * exp(-(v / speed)^2) + loss * |drive|) * tanh(v / width), each coefficient per member
    and joint (Stribeck's curve; ``loss`` is the share of the drive's effort that the gear takes).

    Args:
        robot: gives the first values.
        members: E.
        least: viscous and dry friction at first, where robot.yaml gives none [SI].
    """

    def __init__(self, robot: RobotSpec, members: int, least: float):
        super().__init__()
        actuators, names = robot.actuators, robot.joint_names

        def start(value: float | dict[str, float], floor: float) -> Tensor:
            return torch.log(per_joint(value, names).clamp_min(floor)).repeat(members, 1, 1)

        # Logarithms move slowly from next to nothing: where a joint has dry friction, the rest begins as a share of it.
        dry = per_joint(actuators.coulomb, names).max()
        self.viscous = nn.Parameter(start(actuators.viscous, max(least, _SHARES[0] * float(dry))))
        self.coulomb = nn.Parameter(start(actuators.coulomb, least))
        self.stiction = nn.Parameter(start(actuators.stiction, max(10 * least, _SHARES[1] * float(dry))))
        self.speed = nn.Parameter(start(actuators.stiction_speed, _WIDTH))
        self.width = nn.Parameter(start(_WIDTH, _WIDTH))
        self.loss = nn.Parameter(per_joint(actuators.gear_loss, names).repeat(members, 1, 1))

    def coefficients(self) -> tuple[Tensor, ...]:
        """[E, 1, J] each, from the parameters: needed once a rollout, not once a step."""
        return (torch.exp(self.viscous), torch.exp(self.coulomb), self.stiction, torch.exp(-self.speed), torch.exp(-self.width))

    def forward(self, coefficients: tuple[Tensor, ...], velocity: Tensor, drive: Tensor, scale: Tensor) -> tuple[Tensor, Tensor]:
        """Force that opposes ``velocity`` [E, N, J] under the effort ``drive`` [E, N, J], and its derivative by velocity, at
        least 0; ``scale`` [E, N, J] multiplies dry friction."""
        viscous, coulomb, stiction, slowness, steepness = coefficients
        stribeck = torch.exp(stiction - (velocity * slowness) ** 2)
        dry = (coulomb + stribeck + self.loss * drive.abs()) * scale
        sign = torch.tanh(velocity * steepness)
        slope = viscous + torch.relu(dry) * steepness * (1 - sign * sign)
        return viscous * velocity + dry * sign, slope
