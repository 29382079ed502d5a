"""A latent world model of a robot's states, learned from trials: k-step predictions beside those of the other models."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from forerun_models.latent.learner import Learner
from forerun_models.latent.rssm import State
from forerun_models.latent.settings import LatentSettings
from forerun_models.latent.world_model import Sequences, WorldModel
from forerun_sim.spec import RobotSpec
from forerun_sim.trial import Trial

_LEAST_STD = 1e-6


class LatentStates:
    """An RSSM that sees states as standardised numbers, angles of continuous joints as sine and cosine.

    Args:
        robot: whose states.
        trials: to learn from; they also decide the scales.
        settings: of the world model; ``symlog`` is not needed, for numbers are standardised.
        seed: of weights, batches and draws.
    """

    def __init__(self, robot: RobotSpec, trials: Sequence[Trial], settings: LatentSettings, seed: int):
        self._turning = [joint.type == "continuous" for joint in robot.joints]
        self._trials = trials
        seen = self._numbers(np.concatenate([trial.states for trial in trials]))
        given = np.concatenate([trial.actions for trial in trials])
        self._mean, self._std = seen.mean(axis=0), np.maximum(seen.std(axis=0), _LEAST_STD)
        self._action_std = np.maximum(given.std(axis=0), _LEAST_STD)
        self._generator = torch.Generator().manual_seed(seed)
        self._random = np.random.default_rng(seed)
        self.model = WorldModel((seen.shape[1],), given.shape[1], settings, self._generator)

    def learn(self, updates: int, batch: int, length: int, rate: float) -> None:
        """``updates`` of ``batch`` runs of ``length`` rows; the learning rate falls to a tenth, along a cosine."""
        learner = Learner(self.model, rate, 100.0, self._generator)
        long = [trial for trial in self._trials if len(trial) > length]
        rows = np.array([len(trial) - length for trial in long], float)
        for update in range(updates):
            learner.rate = rate * (0.1 + 0.45 * (1.0 + np.cos(np.pi * update / updates)))
            chosen = self._random.choice(len(long), batch, p=rows / rows.sum())
            starts = [int(self._random.integers(int(rows[number]))) for number in chosen]
            cuts = [(long[number], slice(start, start + length)) for number, start in zip(chosen, starts, strict=True)]
            states = np.stack([trial.states[window] for trial, window in cuts])
            actions = np.stack([trial.actions[window] for trial, window in cuts])
            learner.step(self._runs(states, actions[:, :-1]))

    @torch.no_grad()
    def __call__(
        self, past_states: NDArray[np.float32], past_actions: NDArray[np.float32], actions: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """States [N, H, S] expected open loop after ``past_states`` [N, K, S], with past_actions [N, K-1, A] between them, under
        ``actions`` [N, H, A]: one draw, moved so that it begins in the newest state."""
        generator = torch.Generator().manual_seed(0)
        begin = self.model.observe(self._runs(past_states, past_actions), generator).states
        last = State(begin.h[:, -1], begin.z[:, -1])
        coming = self.model.predict(last, torch.as_tensor(actions / self._action_std, dtype=torch.float32), generator)
        decoded = torch.cat([self.model.decoder(last.features)[:, None], coming], dim=1)
        states = self._states(decoded)
        return (past_states[:, -1:] + states[:, 1:] - states[:, :1]).astype(np.float32)

    def _runs(self, states: NDArray[np.float32], actions: NDArray[np.float32]) -> Sequences:
        """Runs of states [N, L, S] and the actions [N, L-1, A] between them."""
        count, length = states.shape[:2]
        led = np.concatenate([np.zeros_like(actions[:, :1]), actions], axis=1)[:, :length] / self._action_std
        first = torch.zeros(count, length, dtype=torch.bool)
        first[:, 0] = True
        observation = torch.as_tensor((self._numbers(states) - self._mean) / self._std, dtype=torch.float32)
        nothing = torch.zeros(count, length)
        return Sequences(observation, torch.as_tensor(led, dtype=torch.float32), nothing, nothing.bool(), first)

    def _numbers(self, states: NDArray[np.float32]) -> NDArray[np.float64]:
        """What is seen of states [..., S], before standardisation."""
        joints = len(self._turning)
        columns: list[NDArray[np.float64]] = []
        for joint, turning in enumerate(self._turning):
            position = states[..., joint].astype(np.float64)
            columns += [np.sin(position), np.cos(position)] if turning else [position]
        columns += [states[..., joints + joint].astype(np.float64) for joint in range(joints)]
        return np.stack(columns, axis=-1)

    def _states(self, observation: Tensor) -> NDArray[np.float64]:
        """States [N, L, S] of observations [N, L, O]; angles go on from row to row."""
        numbers, at = observation.numpy() * self._std + self._mean, 0
        columns: list[NDArray[np.float64]] = []
        for turning in self._turning:
            if turning:
                columns.append(np.unwrap(np.arctan2(numbers[..., at], numbers[..., at + 1]), axis=1))
            else:
                columns.append(numbers[..., at])
            at += 2 if turning else 1
        return np.concatenate([np.stack(columns, axis=-1), numbers[..., at:]], axis=-1)
