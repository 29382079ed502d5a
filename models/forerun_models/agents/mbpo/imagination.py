"""Imagined transitions: short rollouts of the policy in the model, from states that were really visited."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from forerun_models.agents.buffer import Arrays, Buffer
from forerun_models.agents.environment_model import EnvironmentModel
from forerun_models.agents.mbpo.settings import ImaginationSettings
from forerun_models.agents.sac.agent import as_tensors
from forerun_models.agents.sac.learner import SacLearner
from forerun_models.uncertainty.use import penalised, transition_weights

_FAMILIAR = 0.99
_TELLING = 20
"""Transitions from which on a median says something."""
_LOOKED_AT = 2000
"""Real transitions whose disagreement is taken for all."""

Policy = Callable[[Tensor], Tensor]
"""[N, O] -> actions [N, A] in [-1, 1]."""


class Imagination:
    """What was imagined after the last few fits of the model.

    Args:
        settings: what to imagine.
        discount: of what is earned later.

    Attributes:
        cut: share of the rollouts begun last that were cut for disagreement before their end.
    """

    def __init__(self, settings: ImaginationSettings, discount: float) -> None:
        self.settings, self.discount = settings, discount
        self.cut = 0.0
        self._generations: list[dict[str, Tensor]] = []
        self._all: dict[str, Tensor] = {}

    def __len__(self) -> int:
        return len(self._all["reward"]) if self._all else 0

    def imagine(
        self,
        model: EnvironmentModel,
        policy: Policy,
        buffer: Buffer,
        length: int,
        numbers: np.random.Generator,
        draws: torch.Generator,
    ) -> None:
        """Begins rollouts in states of ``buffer`` and forgets those of the oldest fit.

        Args:
            model: fitted.
            policy: to follow.
            buffer: of real transitions.
            length: steps of a rollout; 0 imagines nothing.
            numbers: chooses the states.
            draws: the model's noise.
        """
        settings = self.settings
        familiar = familiar_disagreement(model, buffer.sample(min(len(buffer), _LOOKED_AT), numbers))
        starts = torch.from_numpy(buffer.sample(settings.rollouts, numbers)["observation"]).flatten(1)
        found = model.rollout(starts, policy, length, draws, most_disagreement=settings.cut_disagreement * familiar)
        columns = {name: torch.from_numpy(np.asarray(column, np.float32)) for name, column in found.items()}
        disagreement, start = columns.pop("disagreement") / familiar, columns.pop("start").long()
        columns["reward"] = penalised(columns["reward"], disagreement, -settings.disagreement_bonus)
        columns["weight"] = transition_weights(disagreement) if settings.weighted else torch.ones_like(disagreement)
        followed = len(disagreement) + (length - 1) * int(columns["terminated"].sum())
        self.cut = 1.0 - min(1.0, followed / max(1, length * settings.rollouts))
        if settings.whole:
            columns = joined(columns, start, self.discount)
        self._keep([*self._generations, columns][-settings.keep :])

    def sample(self, count: int, generator: np.random.Generator) -> dict[str, Tensor]:
        """``count`` of them, drawn uniformly with replacement, as the learner takes them."""
        rows = torch.from_numpy(generator.integers(len(self), size=count))
        return {name: column[rows] for name, column in self._all.items()}

    def batch(
        self, buffer: Buffer, size: int, ratio: float, generator: np.random.Generator, device: str | torch.device
    ) -> dict[str, Tensor]:
        """``size`` transitions as the learner takes them: ``ratio`` of them from ``buffer``, each of weight 1, the others
        imagined; all from ``buffer`` before anything was imagined."""
        real = size if not len(self) else round(ratio * size)
        ones = torch.ones(real, device=device)
        parts = as_tensors(buffer.sample(real, generator), device) | {"weight": ones, "real": ones}
        if self.settings.whole:
            parts["discount"] = torch.full((real,), self.discount, device=device)
        if real == size:
            return parts
        imagined = self.sample(size - real, generator)
        imagined["real"] = torch.zeros(size - real)
        return {name: torch.cat([parts[name], column.to(device)]) for name, column in imagined.items()}

    def _keep(self, generations: list[dict[str, Tensor]]) -> None:
        self._generations = generations
        names = generations[0] if generations else {}
        self._all = {name: torch.cat([one[name] for one in generations]) for name in names}

    def state_dict(self) -> dict[str, Any]:
        """All that is remembered."""
        return {"generations": self._generations, "cut": self.cut}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The counterpart of ``state_dict``."""
        self.cut = state["cut"]
        self._keep(state["generations"])


def joined(columns: Mapping[str, Tensor], start: Tensor, discount: float) -> dict[str, Tensor]:
    """Transitions of several steps: each goes on to where its rollout ends.

    Args:
        columns: of rollouts, a row a step, earlier steps first.
        start: [N] which rollout each row belongs to.
        discount: of what is earned later.

    Returns:
        ``columns`` with what is earned on the way as ``reward``, the last state as ``following``, whether that is an end as
        ``terminated``, the least ``weight``, and ``discount`` [N], of what follows. ``observation`` and ``action`` stay.
    """
    after = {name: columns[name].clone() for name in ("reward", "following", "terminated", "weight")}
    after["discount"] = torch.full_like(after["reward"], discount)
    # Rows of one step are consecutive, and each rollout has one at most: steps are where a number does not rise.
    bounds = [0, *(torch.nonzero(start[1:] <= start[:-1])[:, 0] + 1).tolist(), len(start)]
    later = torch.full((int(start.max()) + 1 if len(start) else 0,), -1)
    for first, last in reversed(list(itertools.pairwise(bounds))):
        rows = torch.arange(first, last)
        following = later[start[rows]]
        here, there = rows[following >= 0], following[following >= 0]
        after["reward"][here] += discount * after["reward"][there]
        after["weight"][here] = torch.minimum(after["weight"][here], after["weight"][there])
        after["discount"][here] = discount * after["discount"][there]
        for name in ("following", "terminated"):
            after[name][here] = after[name][there]
        later[start[rows]] = rows
    return {**columns, **after}


def policy_of(learner: SacLearner, draws: torch.Generator) -> Policy:
    """The learner's policy as ``imagine`` follows it, on the processor; ``draws`` its noise."""

    def act(observation: Tensor) -> Tensor:
        noise = torch.randn(len(observation), learner.action_size, generator=draws)
        return learner.act(observation.to(learner.device), noise.to(learner.device)).cpu()

    return act


def familiar_disagreement(model: EnvironmentModel, real: Arrays) -> float:
    """What 99 % of the ``real`` transitions stay below; never 0, as it serves as a unit."""
    return max(float(torch.quantile(_disagreement(model, real), _FAMILIAR)), 1e-9)


def drift(model: EnvironmentModel, buffer: Buffer, fresh: int) -> float:
    """Median disagreement on the newest ``fresh`` transitions of ``buffer``, which the model has not seen, over that on those
    before. 0 where there are too few of either to tell."""
    known = len(buffer) - fresh
    if min(known, fresh) < _TELLING:
        return 0.0
    old = _disagreement(model, buffer.rows(np.arange(max(0, known - _LOOKED_AT), known)))
    new = _disagreement(model, buffer.rows(np.arange(known, len(buffer))))
    return float(new.median() / old.median().clamp(min=1e-9))


def _disagreement(model: EnvironmentModel, real: Arrays) -> Tensor:
    """Of the members, [N], on ``real`` transitions."""
    observation, action = (torch.from_numpy(real[name]).flatten(1) for name in ("observation", "action"))
    return model.predict(observation, action).disagreement
