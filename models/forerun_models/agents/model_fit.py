"""Fits a model of an environment to what its agent has seen, going on from what it has learned before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from forerun_models.agents.derived import derive
from forerun_models.agents.environment_model import EnvironmentModel
from forerun_models.agents.input_choice import choose, counted, folds
from forerun_models.agents.stops import find_stops
from forerun_models.dynamics.library import Library

_VARIANCE_WEIGHT = 0.05
"""Of the likelihood, beside the squared error: the mean does not wait for the variance (Seitzer et al. 2022)."""
_HELD_OUT = 4096
"""Transitions of the held-out ones that are looked at, at most."""


def fit(model: EnvironmentModel, data: Mapping[str, NDArray[Any]], generator: torch.Generator) -> dict[str, float]:
    """Learns the transitions ``data``, as ``Buffer.all`` gives them (oldest first, with the number of each one's ``episode``).

    Weights go on from where they are; the standardisation is taken anew. Which transitions are held out depends on their episode
    and their place in it alone, so that later fits do not learn what earlier ones were judged by. Every member keeps the weights
    with which it did best on them; the elites are ordered by that.

    Args:
        model: is changed.
        data: ``observation`` and ``following`` [N, O], ``action`` [N, A], ``reward``, ``terminated`` and ``episode`` [N].
        generator: draws batches.

    Returns:
        ``model_error`` (root mean square of one step's error on held-out transitions, in units of the steps' own size, mean over
        the members; ``settings.outliers`` bounds what single ones count), ``loss/model``, ``model_updates`` and, where learned,
        ``reward_error`` (of the rewards, all as squares).
    """
    return _Fit(model, data, generator).run()


def held_out(episode: NDArray[np.int64], share: float, stretch: int) -> NDArray[np.bool_]:
    """Which transitions [N] are kept apart: about ``share`` of stretches of ``stretch`` steps, none of them in two parts.

    Args:
        episode: number of each one's episode [N], in the order in which they came.
        share: of all.
        stretch: steps; what is left of an episode is a stretch, too.
    """
    first = np.flatnonzero(np.diff(episode, prepend=episode[:1] - 1))
    begun = np.repeat(first, np.diff(first, append=len(episode)))
    part = (np.arange(len(episode)) - begun) // stretch
    # The golden ratio spreads numbers evenly over [0, 1), whichever way they are counted: few episodes have a share, too.
    place = (episode * 0.6180339887498949 + part * 0.7548776662466927 + 0.5 * share) % 1.0
    chosen: NDArray[np.bool_] = place < share
    return chosen


class _Fit:
    def __init__(self, model: EnvironmentModel, data: Mapping[str, NDArray[Any]], generator: torch.Generator):
        self.model, self.settings, self.generator = model, model.settings, generator
        _see(model, data)
        apart = held_out(data["episode"], self.settings.holdout, self.settings.stretch)
        if apart.all() or not apart.any():
            apart = np.arange(len(apart)) % max(2, round(1 / self.settings.holdout)) == 1
        names = ("observation", "action", "following", "reward", "terminated")
        every = [torch.from_numpy(np.asarray(data[name], np.float32)) for name in names]
        self.learned = [column[torch.from_numpy(~apart)] for column in every]
        tested = [column[torch.from_numpy(apart)] for column in every]
        stride = -(-len(tested[0]) // _HELD_OUT)
        self.tested = [column[::stride] for column in tested]
        self.ends = bool(every[4].any())
        self.parts: list[nn.Module] = [model.dynamics]
        self.parts += [model.reward_heads] if model.reward_heads is not None else []
        self.parts += [model.ending_heads] if self.ends else []
        self._statistics()

    @torch.no_grad()
    def _statistics(self) -> None:
        model, (observation, action, following, reward, _) = self.model, self.learned
        features = model.dynamics.features
        features.fit(torch.stack([observation, following], dim=1), action[:, None])
        if model.reward_heads is not None:
            model.reward_heads.fit_statistics(torch.cat([observation, action, following], dim=1))
            model.reward_heads.fit_rewards(reward)
        model.ending_heads.fit_statistics(following)
        if not model.fitted:
            model.dynamics.fit_linear(features.inputs([observation], [action]), self._target(observation, following))
        model.note(self.ends)

    def run(self) -> dict[str, float]:
        settings, members = self.settings, self.model.dynamics.members
        parameters = [parameter for part in self.parts for parameter in part.parameters()]
        optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
        best, kept = [torch.full((members,), math.inf) for _ in self.parts], [_weights(part) for part in self.parts]
        since, total, update = 0, 0.0, 0
        for update in range(1, settings.updates + 1):
            for group in optimizer.param_groups:
                group["lr"] = settings.learning_rate * (0.55 + 0.45 * math.cos(math.pi * update / settings.updates))
            losses = self._losses(*self._batch(members))
            optimizer.zero_grad(set_to_none=True)
            sum(loss.sum() for loss in losses).backward()  # type: ignore[union-attr]
            optimizer.step()
            total += sum(float(loss.detach().mean()) for loss in losses)
            if update % settings.check == 0 or update == settings.updates:
                # A part is as good as it is by itself: the best dynamics may come from another look than the best reward.
                better = [_keep(*entry) for entry in zip(self.parts, self._judge(), best, kept, strict=True)]
                since = 0 if any(better) else since + 1
                if since >= settings.patience:
                    break
        with torch.no_grad():
            for part, weights in zip(self.parts, kept, strict=True):
                for name, parameter in part.named_parameters():
                    parameter.copy_(weights[name])
        self._calibrate()
        self.model.dynamics.elites = torch.argsort(best[0])[: self.settings.elites].clone()
        metrics = {"model_error": float(best[0].mean()), "loss/model": total / update, "model_updates": float(update)}
        return metrics if self.model.reward_heads is None else metrics | {"reward_error": float(best[1].mean())}

    def _batch(self, members: int) -> list[Tensor]:
        """Transitions [E, B, ...], other ones for each member."""
        count = len(self.learned[0])
        index = torch.randint(count, (members, min(self.settings.batch, count)), generator=self.generator)
        return [column[index] for column in self.learned]

    def _target(self, observation: Tensor, following: Tensor) -> Tensor:
        """Standardised differences."""
        features = self.model.dynamics.features
        return (following - observation - features.target_mean) / features.target_std

    def _error(self, mean: Tensor, observation: Tensor, following: Tensor) -> Tensor:
        """Standardised errors of the observations; none where the networks are not asked."""
        features = self.model.dynamics.features
        error = mean - self._target(observation, following)
        return torch.where(features.derived, 0.0, error) if isinstance(features, Library) else error

    def _counted(self, error: Tensor) -> Tensor:
        """What an ``error`` of the observations counts."""
        return counted(error, self.settings.outliers)

    def _losses(self, observation: Tensor, action: Tensor, following: Tensor, reward: Tensor, terminated: Tensor) -> list[Tensor]:
        """Of each part, by member [E]: they share nothing, so that the gradient of the sum is that of each alone."""
        model = self.model
        mean, log_variance = model.dynamics([observation], [action])
        error = self._error(mean, observation, following)
        losses = [_likely(self._counted(error), error, log_variance).mean(dim=(1, 2))]
        if model.reward_heads is not None:
            heads = model.reward_heads
            mean, log_variance = heads.normal(torch.cat([observation, action, following], dim=-1))
            error = mean - (reward - heads.target_mean) / heads.target_std
            losses.append(_likely(error**2, error, log_variance).mean(dim=1))
        if self.ends:
            odds = model.ending_heads(following)[..., 0]
            losses.append(nn.functional.binary_cross_entropy_with_logits(odds, terminated, reduction="none").mean(dim=1))
        return losses

    @torch.no_grad()
    def _calibrate(self) -> None:
        """Scales the variances to the held-out errors, per member and number: the best mean may be older than they are."""
        model = self.model
        observation, action, following, reward, _ = self._tested()
        for _ in range(3):  # repeated, because the soft bounds bend the scale
            mean, log_variance = model.dynamics([observation], [action])
            ratio = _ratio(self._error(mean, observation, following), log_variance)
            model.dynamics.biases[-1][..., model.observations :] += torch.log(ratio)
            if model.reward_heads is not None:
                heads = model.reward_heads
                mean, log_variance = heads.normal(torch.cat([observation, action, following], dim=-1))
                ratio = _ratio(mean - (reward - heads.target_mean) / heads.target_std, log_variance)
                heads.biases[-1][..., 1] += torch.log(ratio)

    def _tested(self) -> list[Tensor]:
        """What was held out, for each member [E, N, ...]."""
        return [column.expand(self.model.dynamics.members, *column.shape) for column in self.tested]

    @torch.no_grad()
    def _judge(self) -> list[Tensor]:
        """Errors [E] of each part on what was held out: root mean squares, and the cross-entropy of ends."""
        model, members = self.model, self.model.dynamics.members
        observation, action, following, reward, terminated = (column.expand(members, *column.shape) for column in self.tested)
        mean, _ = model.dynamics([observation], [action])
        errors = [torch.sqrt(self._counted(self._error(mean, observation, following)).mean(dim=(1, 2)))]
        if model.reward_heads is not None:
            heads = model.reward_heads
            mean, _ = heads.normal(torch.cat([observation, action, following], dim=-1))
            errors.append(torch.sqrt(((mean - (reward - heads.target_mean) / heads.target_std) ** 2).mean(dim=1)))
        if self.ends:
            odds = model.ending_heads(following)[..., 0]
            errors.append(nn.functional.binary_cross_entropy_with_logits(odds, terminated, reduction="none").mean(dim=1))
        return errors


def _see(model: EnvironmentModel, data: Mapping[str, NDArray[Any]]) -> None:
    """Finds what is derived and where stops are and, where that is due, chooses what the model sees."""
    library, episode, settings = model.dynamics.features, torch.from_numpy(data["episode"]), model.settings
    if not isinstance(library, Library):
        return
    episodes, before = len(torch.unique(episode)), library.derived
    columns = [torch.from_numpy(np.asarray(data[name], np.float32)) for name in ("observation", "action", "following")]
    library.derive(*derive(library, columns[0], columns[2], folds(episode, settings.stretch)))
    library.stops, blocked = find_stops(*columns)
    if model.due(episodes, len(episode)) or not torch.equal(before, library.derived):
        # What happens at a stop depends on other things than what happens anywhere else.
        free = [column[~blocked] for column in columns]
        kept = choose(library, free, episode[~blocked], settings.stretch, settings.outliers)
        model.see(kept, episodes, len(episode))


def _likely(counted: Tensor, error: Tensor, log_variance: Tensor) -> Tensor:
    return counted + _VARIANCE_WEIGHT * (error.detach() ** 2 * torch.exp(-log_variance) + log_variance)


def _ratio(error: Tensor, log_variance: Tensor) -> Tensor:
    """How many times larger squared errors are than said, mean over rows [E, 1, ...]."""
    squared = error**2 * torch.exp(-log_variance)
    return squared.mean(dim=1, keepdim=True).clamp(1e-6, 1e6)


def _weights(part: nn.Module) -> dict[str, Tensor]:
    return {name: parameter.detach().clone() for name, parameter in part.named_parameters()}


def _keep(part: nn.Module, errors: Tensor, best: Tensor, kept: dict[str, Tensor]) -> bool:
    """Keeps the weights of the members that are better than ever; whether there are any."""
    better = errors < best
    for name, parameter in part.named_parameters():
        kept[name][better] = parameter.detach()[better]
    best[better] = errors[better]
    return bool(better.any())
