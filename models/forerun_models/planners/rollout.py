"""Rollouts of an ensemble for planning: the same predictions in fewer, larger and cheaper operators.

Sequences lie along the last axis and quantities along the one before ([..., members, quantity, sequence]), so that joining and
cutting inputs moves whole rows, sums and products of quantities run along memory, and narrow layers waste nothing.
Standardisation, differences of older rows, the linear path and all biases are folded into the weights: the last input and the
last unit of each hidden layer are the constant 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from forerun_models.dynamics.ensemble import Ensemble
from forerun_models.dynamics.library import Library
from forerun_models.dynamics.model import soft_bound
from forerun_models.planners.columns import Columns, Products
from forerun_models.planners.particles import ParticleRollout, Propagation, turned

_CACHED = 1_500_000
"""Bytes that a layer's activations may take: more of them leave a core's cache, and all operators wait for memory."""

_ONE = 1.2784645
"""silu of this is 1."""


class Particles(NamedTuple):
    """Where particles are: newest states [1, M, S, N], older rows of states and commands [1, M, (K-1)(S+A), N] (None where the
    model sees none), and the constant 1 [1, M, 1, N]."""

    newest: Tensor
    window: Tensor | None
    one: Tensor


class Rollout(ParticleRollout):
    """The first ``members`` elites of ``ensemble``, folded.

    Args:
        ensemble: trained.
        members: how many of its elites, all if None.
        propagation: where particles go.
        aleatoric: whether the members' own noise may be drawn.
    """

    def __init__(
        self, ensemble: Ensemble, members: int | None = None, propagation: Propagation = "stay", aleatoric: bool = False
    ):
        chosen = ensemble.elites[: members or len(ensemble.elites)]
        features, size = ensemble.features, ensemble.state_size
        super().__init__(len(chosen), features.history, size, propagation, aleatoric)
        columns = Products(features) if isinstance(features, Library) else Columns(features)
        self.chosen = isinstance(features, Library)
        self.derives = False
        if isinstance(features, Library):
            self.factors: Tensor = nn.Buffer(torch.stack([features.first, features.second]))
            self.derives = bool(features.derived.any())
            self.derived: Tensor = nn.Buffer(features.derived[:, None].clone())
            self.derivation: Tensor = nn.Buffer(features.derivation.T.contiguous())
        self.pairs = features.pairs
        self._window = columns.window
        self._row = size + features.actions
        fold, constant = columns.fold()
        std, mean = features.target_std, features.target_mean
        weights = [weight.detach()[chosen] for weight in ensemble.weights]
        biases = [bias.detach()[chosen][:, 0] for bias in ensemble.biases]
        linear = ensemble.linear.detach()[chosen]
        outputs = 2 * size if aleatoric else size
        first = fold @ weights[0]
        first[:, columns.one] += constant @ weights[0] + biases[0]
        straight = (fold @ linear) * std
        straight[:, columns.one] += (constant @ linear + biases[-1][:, :size]) * std + mean
        straight[:, columns.newest : columns.newest + size] += torch.eye(size)
        # The cosine is a sine, a quarter turn on: one operator for both.
        angles = features.angle_map.T
        self.angles: Tensor = nn.Buffer(torch.cat([angles, angles]))
        self.quarter: Tensor = nn.Buffer(torch.tensor([[0.0], [torch.pi / 2]]).repeat_interleave(len(angles), dim=0))
        self.speeds: Tensor = nn.Buffer(features.speed_map.T.contiguous())
        self.first: Tensor = nn.Buffer(_rows(_with_one(first, columns.one)))
        self.deeper = len(weights) - 2
        for number in range(self.deeper):
            joined = torch.cat([weights[number + 1], biases[number + 1][:, None]], dim=1)
            self.register_buffer(f"weight_{number}", _rows(_with_one(joined, -1)))
        # The last layer sees no constant: its bias is in the straight path.
        scale = torch.cat([std, torch.ones(size)])[:outputs]
        last = weights[-1][..., :outputs] * scale
        last_bias = torch.zeros(self.members, 1, outputs)
        last_bias[:, 0, size:] = biases[-1][:, size:outputs]
        self.last: Tensor = nn.Buffer(_rows(torch.cat([last, last_bias], dim=1)))
        self.straight: Tensor = nn.Buffer(_rows(straight))
        self.log_scale: Tensor = nn.Buffer(torch.log(std)[:, None])
        least, most = features.bounds
        self.least: Tensor = nn.Buffer(least[:, None].clone())
        self.most: Tensor = nn.Buffer(most[:, None].clone())

    def _blocks(self, count: int) -> int:
        """Equal blocks of particles, one after another, each with activations that a core keeps at hand."""
        least = -(-count * self.members * self.first.shape[1] * self.first.element_size() // _CACHED)
        return next((blocks for blocks in range(least, 2 * least + 1) if count % blocks == 0), 1)

    def begin(self, states: Sequence[Tensor], past: Sequence[Tensor], count: int) -> Particles:
        """``count`` particles a member that share one past: K ``states`` [S] and the K-1 commands [A] between them."""
        # All tensors keep a leading dimension of time, so that cutting and joining them costs one operator each.
        shape = (1, self.members, -1, count)
        rows = [value for pair in zip(states[:-1], past, strict=True) for value in pair]
        window = torch.cat(rows)[:, None].expand(shape) if rows else None
        return Particles(states[-1][:, None].expand(shape), window, torch.ones(1, self.members, 1, count))

    def step(self, particles: Particles, action: Tensor, kick: Tensor | None = None) -> tuple[Tensor, Particles]:
        """What each member predicts [1, M, S, N] when ``action`` [1, M, A, N] is given, and where the particles go from there."""
        inputs = self._inputs(particles, action)
        hidden = nn.functional.silu(self.first @ inputs)
        for number in range(self.deeper):
            hidden = nn.functional.silu(getattr(self, f"weight_{number}") @ hidden)
        following = self._following(self.straight @ inputs, self.last @ hidden, kick)
        if self.derives:
            moved = self.derivation @ (self._landmarks(following) - self._landmarks(particles.newest))
            following = torch.where(self.derived, particles.newest + moved, following)
        window = particles.window
        if window is not None:
            window = inputs[:, :, self._window + self._row : self._window + self.history * self._row]
        return following, self._propagate(following, window, particles.one)

    def _inputs(self, particles: Particles, action: Tensor) -> Tensor:
        """The rows that ``Columns`` or ``Products`` describes."""
        newest, window, one = particles
        if self.chosen:
            landmarks = self._landmarks(newest)
            basis = torch.cat([one, newest, action, landmarks[:, :, self.state_size :]], dim=2)
            first, second = (basis.index_select(2, places) for places in self.factors)
            return torch.cat([first * second, newest, one], dim=2)
        rows, drive = [newest] if window is None else [window, newest], [action, one]
        if self.angles.shape[0]:
            speed = self.speeds @ newest
            drive = [torch.cat([*drive, speed * speed], dim=2)]
            wave = torch.sin(self.angles @ newest + self.quarter)
            # Times one, a wave is itself.
            rows.insert(0, (drive[0][:, :, :, None] * wave[:, :, None]).flatten(2, 3))
        if self.pairs:
            every = torch.cat([newest, action], dim=2)
            drive.append((every[:, :, :, None] * newest[:, :, None]).flatten(2, 3))
        return torch.cat([*rows, *drive], dim=2)

    def _landmarks(self, state: Tensor) -> Tensor:
        """Those of a ``Library``, along the last axis but one."""
        return torch.cat([state, torch.sin(self.angles @ state + self.quarter)], dim=-2)

    def _following(self, straight: Tensor, output: Tensor, kick: Tensor | None) -> Tensor:
        if self.aleatoric:
            output, log_variance = output[:, :, : self.state_size], output[:, :, self.state_size :]
            if kick is not None:
                output = output + kick * torch.exp(0.5 * soft_bound(log_variance) + self.log_scale)
        return torch.minimum(torch.maximum(straight + output, self.least), self.most)

    def _propagate(self, following: Tensor, window: Tensor | None, one: Tensor) -> Particles:
        if self.propagation == "mean":
            following = following.mean(dim=1, keepdim=True).expand(following.shape)
        elif self.propagation == "switch":
            # Equal groups of particles move on to the next member: no random choice, so no gathering.
            following = turned(following)
            window = None if window is None else turned(window)
        return Particles(following, window, one)


def _rows(weight: Tensor) -> Tensor:
    """[M, in, out] as [M, out, in]."""
    return weight.transpose(1, 2).contiguous()


def _with_one(weight: Tensor, one: int) -> Tensor:
    """[M, in, out] with a further output that is the constant 1 after silu; ``one`` is the input that is 1."""
    constant = torch.zeros(*weight.shape[:2], 1)
    constant[:, one] = _ONE
    return torch.cat([weight, constant], dim=2)
