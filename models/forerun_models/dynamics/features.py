"""What a network sees of a history: the newest state, how it came about, and the commands. Private to the models.

Angles of continuous joints enter as sine and cosine, and so do sums of neighbouring ones (in a chain, the angle of a link to
the world); squares of velocities and of their sums span the products that centrifugal and Coriolis forces are made of, and they
and the command enter also times each sine and cosine, as they do in the equations of motion of any chain of rigid bodies. Older
rows enter as differences to the newest one, so that nothing depends on how often a joint has turned. All inputs and targets are
standardised by statistics of the training data.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

_MARGIN = 1.5
_UNBOUNDED = 1e9


class Features(nn.Module):
    """Turns rows of a history into standardised network inputs, and network outputs into the next state.

    Args:
        continuous: per joint, whether its position is an angle without limits.
        actions: A.
        history: K, rows that the network sees.
    """

    def __init__(self, continuous: Sequence[bool], actions: int, history: int):
        super().__init__()
        self.joints, self.actions, self.history = len(continuous), actions, history
        self.sliding = [i for i, flag in enumerate(continuous) if not flag]
        self.angle_map: Tensor = nn.Buffer(_angles(continuous))
        self.speed_map: Tensor = nn.Buffer(_speeds(continuous))
        angles, speeds = self.angle_map.shape[1], self.speed_map.shape[1]
        self.products = 2 * angles * (speeds + actions)
        newest = 2 * angles + speeds + len(self.sliding) + self.joints
        self.size = newest + (history - 1) * 2 * self.joints + history * actions + self.products
        self.input_mean: Tensor = nn.Buffer(torch.zeros(self.size))
        self.input_std: Tensor = nn.Buffer(torch.ones(self.size))
        self.target_mean: Tensor = nn.Buffer(torch.zeros(2 * self.joints))
        self.target_std: Tensor = nn.Buffer(torch.ones(2 * self.joints))
        # Where predictions end: the largest velocity of the training data and a margin; positions go on.
        self.fastest: Tensor = nn.Buffer(torch.full((2 * self.joints,), _UNBOUNDED))
        # Yardstick of errors: the spread of the training states, per dimension.
        self.state_std: Tensor = nn.Buffer(torch.ones(2 * self.joints))

    def raw(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        """Inputs before standardisation.

        Args:
            states: K tensors [..., S], oldest first.
            actions: K tensors [..., A]; the last one is the action to be applied now.

        Returns:
            [..., size].
        """
        newest = states[-1]
        angle, speed = newest @ self.angle_map, newest @ self.speed_map
        wave, square = torch.cat([torch.sin(angle), torch.cos(angle)], dim=-1), speed * speed
        parts = [wave, square, newest[..., self.sliding], newest[..., self.joints :]]
        parts += [older - newest for older in states[:-1]]
        parts += list(actions)
        drive = torch.cat([square, actions[-1]], dim=-1)
        parts.append((wave[..., :, None] * drive[..., None, :]).flatten(-2))
        return torch.cat(parts, dim=-1)

    def inputs(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        """Standardised inputs [..., size]."""
        return (self.raw(states, actions) - self.input_mean) / self.input_std

    def next_state(self, newest: Tensor, output: Tensor) -> Tensor:
        """The state [..., S] that follows ``newest`` when the network says ``output`` [..., S] (standardised difference).

        No velocity leaves the training data by more than a margin: beyond it a rollout would feed on its own squares until it
        overflows.
        """
        following = newest + output * self.target_std + self.target_mean
        return torch.clamp(following, min=-self.fastest, max=self.fastest)

    @torch.no_grad()
    def fit(self, states: Tensor, actions: Tensor) -> None:
        """Takes the statistics from windows: states [N, K+1, S], actions [N, K, A]."""
        inputs = self.raw(states[:, :-1].unbind(1), actions.unbind(1))
        targets = states[:, -1] - states[:, -2]
        for name, values in (("input", inputs), ("target", targets)):
            std = values.std(dim=0)
            # A quantity that never moved carries no information; 1 keeps it from being blown up.
            std = torch.where(std > 1e-6, std, torch.ones_like(std))
            getattr(self, f"{name}_mean").copy_(values.mean(dim=0))
            getattr(self, f"{name}_std").copy_(std)
        largest = states[..., self.joints :].abs().amax(dim=(0, 1))
        self.fastest[self.joints :] = torch.where(largest > 1e-6, _MARGIN * largest, _UNBOUNDED)
        spread = states[:, -1].std(dim=0)
        self.state_std.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))


def _angles(continuous: Sequence[bool]) -> Tensor:
    """[S, n]: each continuous joint, and each sum of neighbouring ones."""
    joints, columns = len(continuous), []
    for first in range(joints):
        for last in range(first, joints):
            if all(continuous[first : last + 1]):
                column = torch.zeros(2 * joints)
                column[first : last + 1] = 1.0
                columns.append(column)
    return torch.stack(columns, dim=1) if columns else torch.zeros(2 * joints, 0)


def _speeds(continuous: Sequence[bool]) -> Tensor:
    """[S, n]: each velocity, and each sum of two, for robots whose links swing freely; nothing for the others."""
    joints, columns = len(continuous), []
    for first in range(joints if any(continuous) else 0):
        for second in range(first, joints):
            column = torch.zeros(2 * joints)
            column[[joints + first, joints + second]] = 1.0
            columns.append(column)
    return torch.stack(columns, dim=1) if columns else torch.zeros(2 * joints, 0)
