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


class FeatureMap(nn.Module):
    """Turns rows of a history into standardised network inputs, and network outputs into the next state.

    Args:
        angles: [S, n] sums of the state's numbers that enter as sine and cosine.
        speeds: [S, m] sums that enter as squares.
        direct: numbers of the state that enter as they are.
        bounded: numbers whose predictions stay near the training data.
        actions: A.
        history: K, rows that the network sees.
        pairs: whether each number of the newest state enters also times each other one and times each action.
    """

    def __init__(
        self,
        angles: Tensor,
        speeds: Tensor,
        direct: Sequence[int],
        bounded: Sequence[int],
        actions: int,
        history: int,
        pairs: bool = False,
    ):
        super().__init__()
        self.state_size, self.actions, self.history = len(angles), actions, history
        self.direct, self.bounded = list(direct), list(bounded)
        self.angle_map: Tensor = nn.Buffer(angles)
        self.speed_map: Tensor = nn.Buffer(speeds)
        self.products = 2 * angles.shape[1] * (speeds.shape[1] + actions)
        self.pairs = self.state_size * (self.state_size + actions) if pairs else 0
        newest = 2 * angles.shape[1] + speeds.shape[1] + len(self.direct)
        self.size = newest + (history - 1) * self.state_size + history * actions + self.products + self.pairs
        self.input_mean: Tensor = nn.Buffer(torch.zeros(self.size))
        self.input_std: Tensor = nn.Buffer(torch.ones(self.size))
        self.target_mean: Tensor = nn.Buffer(torch.zeros(self.state_size))
        self.target_std: Tensor = nn.Buffer(torch.ones(self.state_size))
        # Where predictions end: the largest value of the training data and a margin.
        self.fastest: Tensor = nn.Buffer(torch.full((self.state_size,), _UNBOUNDED))
        # Yardstick of errors: the spread of the training states, per dimension.
        self.state_std: Tensor = nn.Buffer(torch.ones(self.state_size))

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
        parts = [wave, square, newest[..., self.direct]]
        parts += [older - newest for older in states[:-1]]
        parts += list(actions)
        drive = torch.cat([square, actions[-1]], dim=-1)
        parts.append((wave[..., :, None] * drive[..., None, :]).flatten(-2))
        if self.pairs:
            every = torch.cat([newest, actions[-1]], dim=-1)
            parts.append((every[..., :, None] * newest[..., None, :]).flatten(-2))
        return torch.cat(parts, dim=-1)

    def inputs(self, states: Sequence[Tensor], actions: Sequence[Tensor]) -> Tensor:
        """Standardised inputs [..., size]."""
        return (self.raw(states, actions) - self.input_mean) / self.input_std

    def next_state(self, newest: Tensor, output: Tensor) -> Tensor:
        """The state [..., S] that follows ``newest`` when the network says ``output`` [..., S] (standardised difference).

        What is bounded leaves the training data by no more than a margin: beyond it a rollout would feed on its own squares until
        it overflows.
        """
        following = newest + output * self.target_std + self.target_mean
        least, most = self.bounds
        return torch.clamp(following, min=least, max=most)

    @property
    def bounds(self) -> tuple[Tensor, Tensor]:
        """The least and the largest [S] that is predicted of each number."""
        return -self.fastest, self.fastest

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
        self.fastest[self.bounded] = self._bounds(states)
        self.judge_by(states)

    @torch.no_grad()
    def judge_by(self, states: Tensor) -> None:
        """Measures errors by the spread of other ``states`` [N, K+1, S] from now on, and lets predictions go as far as these do.
        What the network sees and what it says mean what they meant."""
        self.fastest[self.bounded] = torch.maximum(self.fastest[self.bounded], self._bounds(states))
        spread = states[:, -1].std(dim=0)
        self.state_std.copy_(torch.where(spread > 1e-6, spread, torch.ones_like(spread)))

    def _bounds(self, states: Tensor) -> Tensor:
        """Where predictions of what is bounded end, as these states have it."""
        largest = states[..., self.bounded].abs().amax(dim=(0, 1))
        return torch.where(largest > 1e-6, _MARGIN * largest, _UNBOUNDED)


class Features(FeatureMap):
    """Of a robot's state, all positions and then all velocities; velocities are bounded, positions go on.

    Args:
        continuous: per joint, whether its position is an angle without limits.
        actions: A.
        history: K, rows that the network sees.
    """

    def __init__(self, continuous: Sequence[bool], actions: int, history: int):
        joints = len(continuous)
        sliding = [i for i, flag in enumerate(continuous) if not flag]
        velocities = range(joints, 2 * joints)
        super().__init__(_angles(continuous), _speeds(continuous), [*sliding, *velocities], velocities, actions, history)


class Vectors(FeatureMap):
    """Of states of which nothing is known but their size, such as the observations of any environment: all are bounded.

    Args:
        size: S.
        actions: A.
        history: K, rows that the network sees.
        mechanical: whether what the equations of motion of mechanisms are made of enters beside the numbers themselves: their
            sines and cosines, also times the actions, and the products of any two.
    """

    def __init__(self, size: int, actions: int, history: int = 1, mechanical: bool = False):
        waves = torch.eye(size) if mechanical else torch.zeros(size, 0)
        super().__init__(waves, torch.zeros(size, 0), range(size), range(size), actions, history, mechanical)


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
