"""Trains a world model of any kind on windows: rollouts of growing length for the mean, likelihood for the variance.

One-step loss alone makes long predictions worse than physics, so the mean is trained on the error of open-loop rollouts
(backpropagated through time), each step measured against a yardstick of its own (``Training.yardstick``). The log-variance is
trained by the Gaussian likelihood of one step around the mean as it is (Seitzer et al. 2022 show why the mean should not wait
for the variance).
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from forerun_models.dynamics.model import WorldModel
from forerun_models.dynamics.physical import Physical
from forerun_models.recipe import Training
from forerun_models.training.least_squares import fit_physics
from forerun_models.training.windows import Windows

_VALIDATION_WINDOWS = 1000


@dataclass(frozen=True)
class Source:
    """Windows to learn from and the fraction of every batch that they fill."""

    windows: Windows
    fraction: float = 1.0


@dataclass(frozen=True)
class Epoch:
    """What happened in one epoch. ``validation`` is the mean over members of the normalised rollout error on held-out trials."""

    number: int
    horizon: int
    train: float
    validation: float
    best: float
    seconds: float
    samples: int


@dataclass
class Progress:
    """State of a training that is not in the model: plain values and tensors, so that a checkpoint can hold it."""

    epoch: int = 0
    since_better: int = 0
    best: Tensor = field(default_factory=lambda: torch.empty(0))
    best_weights: dict[str, Tensor] = field(default_factory=dict)
    average: dict[str, Tensor] = field(default_factory=dict)


class Trainer:
    """One training of one model.

    Args:
        model: is changed in place.
        sources: where batches come from; their windows hold at least the longest phase's horizon.
        validation: windows of held-out trials, of ``settings.validation_horizon`` steps.
        settings: the recipe's.
        seed: of the bootstrap and the batches.
    """

    def __init__(self, model: WorldModel, sources: Sequence[Source], validation: Windows, settings: Training, seed: int):
        self.model, self.settings = model, settings
        self.sources = [source for source in sources if source.fraction > 0]
        self.generator = torch.Generator().manual_seed(seed)
        decayed = {id(parameter) for parameter in model.decaying()}
        groups = [
            {"params": [p for p in model.parameters() if (id(p) in decayed) == decays], "weight_decay": decay}
            for decays, decay in ((True, settings.weight_decay), (False, 0.0))
        ]
        # Fused: a third of the time at small sizes.
        self.optimizer = torch.optim.AdamW([group for group in groups if group["params"]], lr=settings.learning_rate, fused=True)
        self.progress = Progress(best=torch.full((model.members,), math.inf))
        self._horizons = [phase.horizon for phase in settings.phases for _ in range(phase.epochs)]
        self._bootstrap = [
            torch.randint(len(s.windows), (model.members, len(s.windows)), generator=self.generator, dtype=torch.int32)
            for s in self.sources
        ]
        longest = max(max(self._horizons), settings.validation_horizon)
        if settings.yardstick == "spread":
            growth = (1.0 + 0.1 * torch.arange(1, longest + 1)) / 3
            self._scale = growth[:, None] * model.features.state_std
        else:
            self._scale = _displacement(self.sources, longest, self.generator)
        stride = max(1, len(validation) // _VALIDATION_WINDOWS)
        self._validation = validation.cut(torch.arange(0, len(validation), stride))

    @property
    def finished(self) -> bool:
        last = self.settings.phases[-1]
        in_last = self.progress.epoch >= len(self._horizons) - last.epochs
        return self.progress.epoch >= len(self._horizons) or (in_last and self.progress.since_better >= self.settings.patience)

    @property
    def epochs(self) -> int:
        """Epochs of all phases, if none stops early."""
        return len(self._horizons)

    def run(self, on_epoch: Callable[[Epoch], None]) -> None:
        """Trains to the end, then gives every member its best weights and ranks the elites. ``on_epoch`` may checkpoint."""
        if self.progress.epoch == 0:
            self._note_validation()
        while not self.finished:
            on_epoch(self.epoch())
        self.restore_best()

    def epoch(self) -> Epoch:
        """One epoch of optimizer steps and one look at the held-out trials."""
        began = time.perf_counter()
        number, horizon = self.progress.epoch, self._horizons[self.progress.epoch]
        if number > 0 and self._horizons[number - 1] != horizon:
            self.progress.since_better = 0
        fraction = number / max(1, len(self._horizons) - 1)
        span = self.settings.learning_rate - self.settings.final_learning_rate
        for group in self.optimizer.param_groups:
            group["lr"] = self.settings.final_learning_rate + span * 0.5 * (1 + math.cos(math.pi * fraction))
        total = 0.0
        for _ in range(self.settings.steps_per_epoch):
            loss = self._loss(*self._batch(horizon), horizon)
            self.optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            # A rollout that overflows says nothing; one step along its gradient would be the end of all members.
            if torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.gradient_norm).isfinite():
                self.optimizer.step()
            self._follow()
            total += float(loss.detach())
        self.progress.epoch += 1
        errors = self._note_validation()
        return Epoch(
            number=number,
            horizon=horizon,
            train=total / self.settings.steps_per_epoch,
            validation=float(errors.mean()),
            best=float(self.progress.best.mean()),
            seconds=time.perf_counter() - began,
            samples=self.settings.steps_per_epoch * self.settings.batch * self.model.members,
        )

    @torch.no_grad()
    def restore_best(self) -> None:
        """Every member gets the weights with which it did best on held-out trials, and then the physics that fits best, where the
        recipe wants that; elites are ordered by their error.

        The best mean may come from an epoch whose variance was not learned yet, so the variances are scaled to the held-out
        errors, per member and dimension.
        """
        self._take(self.progress.best_weights)
        if self.settings.least_squares is not None and isinstance(self.model, Physical):
            windows = max(self.sources, key=lambda source: source.fraction).windows
            fit_physics(self.model, windows, self.settings.least_squares, self.generator)
            self.progress.best = self.validate()
        order = torch.argsort(self.progress.best)
        self.model.elites = order[: len(self.model.elites)].clone()
        features = self.model.features
        states, actions = (array.expand(self.model.members, *array.shape) for array in self._validation)
        window, given = states[:, :, : features.history].unbind(2), actions[:, :, : features.history].unbind(2)
        wanted = states[:, :, features.history]
        for _ in range(3):  # repeated, because the soft bounds bend the scale
            mean, log_variance = self.model.step(window, given)
            ratio = ((wanted - mean) ** 2 * torch.exp(-log_variance)).mean(dim=1, keepdim=True)
            self.model.scale_variance(torch.log(ratio.clamp(1e-6, 1e6)))

    def state_dict(self) -> dict[str, Any]:
        """Everything that a resumed training needs to go on bit by bit as this one would, beside the data and the seed."""
        return {
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "generator": self.generator.get_state(),
            "progress": vars(self.progress),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """The counterpart of ``state_dict``."""
        self.model.load_state_dict(state["model"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.generator.set_state(state["generator"])
        self.progress = Progress(**state["progress"])

    def _batch(self, horizon: int) -> tuple[Tensor, Tensor]:
        """States [E, B, K + horizon, S] and actions [E, B, K + horizon - 1, A], each member from its own bootstrap."""
        whole = sum(source.fraction for source in self.sources)
        states, actions = [], []
        for source, bootstrap in zip(self.sources, self._bootstrap, strict=True):
            count = max(1, round(self.settings.batch * source.fraction / whole))
            draw = torch.randint(bootstrap.shape[1], (self.model.members, count), generator=self.generator)
            s, a = source.windows.cut(torch.gather(bootstrap, 1, draw).long(), horizon)
            states.append(s)
            actions.append(a)
        batch = torch.cat(states, dim=1)
        return batch, self.model.varied(batch, torch.cat(actions, dim=1), self.generator)

    def _loss(self, states: Tensor, actions: Tensor, horizon: int) -> Tensor:
        history = self.model.features.history
        truth, given = states.unbind(2), actions.unbind(2)
        memory, loss = self.model.begin(truth[:history], given[: history - 1]), torch.zeros(())
        for step in range(horizon):
            predicted, log_variance, memory = self.model.advance(memory, given[history - 1 + step])
            target = truth[history + step]
            error = (predicted - target) / self._scale[step]
            loss = loss + torch.nn.functional.huber_loss(error, torch.zeros_like(error), delta=2.0) / horizon
            if step == 0:
                log_ratio = log_variance - 2 * torch.log(self.model.features.target_std)
                squared = ((target - predicted.detach()) / self.model.features.target_std) ** 2
                loss = loss + 0.05 * (squared * torch.exp(-log_ratio) + log_ratio).mean()
        # The sum over members leaves each member's gradient as if it were trained alone.
        return loss * self.model.members

    @torch.no_grad()
    def validate(self) -> Tensor:
        """Normalised rollout error of each member [E] on held-out trials, mean over the steps of the horizon."""
        states, actions = self._validation
        history, errors = self.model.features.history, []
        members = self.model.members
        truth = [state.expand(members, -1, -1) for state in states.unbind(1)]
        given = [action.expand(members, -1, -1) for action in actions.unbind(1)]
        predicted = self.model.rollout(truth[:history], given[: history - 1], given[history - 1 :])
        for state, target in zip(predicted, truth[history:], strict=True):
            squared = ((state - target) / self.model.features.state_std) ** 2
            errors.append(torch.sqrt(squared.mean(dim=(1, 2))))
        return torch.nan_to_num(torch.stack(errors).mean(dim=0), nan=math.inf)

    @torch.no_grad()
    def _follow(self) -> None:
        """Moves the average of the weights on by one step."""
        keep = self.settings.averaging
        if not keep:
            return
        if not self.progress.average:
            self.progress.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            self.progress.average[name].lerp_(parameter.detach(), 1 - keep)

    @torch.no_grad()
    def _note_validation(self) -> Tensor:
        """Measures every member, with its averaged weights where there are any, and keeps the weights of those that are better
        than ever."""
        trained = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self._take(self.progress.average)
        errors = self.validate()
        better = errors < self.progress.best if self.settings.choose == "best" else torch.full_like(errors, 1.0, dtype=torch.bool)
        if not self.progress.best_weights:
            self.progress.best_weights = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        for name, parameter in self.model.named_parameters():
            self.progress.best_weights[name][better] = parameter.detach()[better]
        self._take(trained)
        self.progress.best = torch.where(better, errors, self.progress.best)
        self.progress.since_better = 0 if bool(better.any()) else self.progress.since_better + 1
        return errors

    def _take(self, weights: dict[str, Tensor]) -> None:
        """Gives the model the parameters ``weights``, where there are any."""
        parameters = dict(self.model.named_parameters())
        for name, value in weights.items():
            parameters[name].copy_(value)


@torch.no_grad()
def _displacement(sources: Sequence[Source], horizon: int, generator: torch.Generator) -> Tensor:
    """How far states move in 1..horizon steps: root mean square per dimension [horizon, S]."""
    windows = max(sources, key=lambda source: source.fraction).windows
    states, _ = windows.cut(torch.randint(len(windows), (4096,), generator=generator))
    history, reach = windows.history, min(horizon, windows.horizon)
    moved = states[:, history : history + reach] - states[:, history - 1 : history]
    scale = torch.sqrt((moved**2).mean(dim=0)).clamp_min(1e-4)
    return torch.cat([scale, scale[-1:].expand(horizon - reach, -1)])
